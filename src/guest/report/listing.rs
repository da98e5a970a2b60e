//! What people and programs read: the listing and the verdict.

use std::fmt::Write as _;

use serde::Serialize;

use crate::format::oem_string::Encoding;
use crate::guest::place::State;
use crate::guest::verify::delivery::{Delivery, Entry, Refusal};
use crate::guest::verify::finding::{Finding, FindingKind, Place, Severity};
use crate::text::listing::{self, Cell, Text, Tone};

/// One line of the listing.
#[derive(Serialize)]
pub struct Row<'a> {
    /// Name, escaped for printing.
    name: Option<&'a str>,
    /// Bytes of the value; `None` if it could not be decoded.
    size: Option<u64>,
    encoding: Encoding,
    state: &'static str,
    /// Why it is refused, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    source: Place,
}

impl Row<'_> {
    fn tone(&self) -> Option<Tone> {
        match self.state {
            _ if self.reason.is_some() => Some(Tone::Bad),
            "imported" => Some(Tone::Good),
            "differs" => Some(Tone::Bad),
            "missing" => Some(Tone::Doubtful),
            _ => None,
        }
    }
}

/// The listing of a delivery, in table order, with a state for each entry.
pub fn rows<'a>(delivery: &'a Delivery, states: impl IntoIterator<Item = &'static str>) -> Vec<Row<'a>> {
    let row = |(entry, state): (&'a Entry, _)| Row {
        name: entry.name.as_deref(),
        size: entry.credential.as_ref().map(|credential| credential.value.len() as u64),
        encoding: entry.encoding,
        state,
        reason: entry.refusal.map(Refusal::reason),
        source: entry.place,
    };
    delivery.entries.iter().zip(states).map(row).collect()
}

/// The states of a delivery that nobody has imported yet.
pub fn verified_states(delivery: &Delivery) -> impl Iterator<Item = &'static str> {
    delivery
        .entries
        .iter()
        .map(|entry| entry.refusal.map_or("intact", |refusal| State::Refused(refusal).as_str()))
}

/// The listing as text, in aligned columns as `systemd-creds list` has them; nothing if there is nothing. Why
/// something is refused is in a column that is there if anything is.
#[must_use]
pub fn table(rows: &[Row<'_>], legend: bool) -> Text {
    let cell = |text: &str| Cell::new(text, None);
    let any_reason = rows.iter().any(|row| row.reason.is_some());
    let headings = ["NAME", "SIZE", "ENCODING", "STATE", "SOURCE", if any_reason { "REASON" } else { "" }];
    let lines: Vec<_> = (legend && !rows.is_empty())
        .then(|| Cell::headings(headings))
        .into_iter()
        .chain(rows.iter().map(|row| {
            [
                cell(row.name.unwrap_or("-")),
                Cell::new(row.size.map_or("-".to_owned(), listing::size), None),
                Cell::new(row.encoding.to_string(), None),
                Cell::new(row.state, row.tone()),
                Cell::new(row.source.short(), None),
                cell(row.reason.unwrap_or_default()),
            ]
        }))
        .collect();
    let mut text = Text::default();
    text.push_columns(&lines, &[1]);
    text
}

/// A delivery as `check` shows it to programs.
#[derive(Serialize)]
pub struct Verdict<'a> {
    #[serde(rename = "verdict")]
    word: &'static str,
    /// Whether a manifest proved that the set is the one that was sent.
    proven: bool,
    credentials: Vec<Row<'a>>,
    findings: Vec<FindingRow<'a>>,
}

/// A finding as programs see it.
#[derive(Serialize)]
struct FindingRow<'a> {
    severity: Severity,
    #[serde(flatten)]
    kind: &'a FindingKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a str>,
    place: Place,
    message: String,
    advice: &'static str,
}

impl<'a> Verdict<'a> {
    /// The verdict on a delivery.
    #[must_use]
    pub fn new(delivery: &'a Delivery) -> Self {
        let row = |finding: &'a Finding| FindingRow {
            severity: finding.severity,
            kind: &finding.kind,
            credential: finding.credential.as_deref(),
            place: finding.place,
            message: finding.to_string(),
            advice: finding.advice(),
        };
        Self {
            word: word(delivery),
            proven: delivery.proven,
            credentials: rows(delivery, verified_states(delivery)),
            findings: delivery.findings.iter().map(row).collect(),
        }
    }
}

/// The verdict in a word.
fn word(delivery: &Delivery) -> &'static str {
    if !delivery.passed() {
        "failed"
    } else if delivery.has_oem_strings {
        "passed"
    } else {
        "nothing-sent"
    }
}

/// The verdict as text: one line, then the findings, what weighs most first, then what to do.
#[must_use]
pub fn verdict(delivery: &Delivery) -> Text {
    let mut text = Text::default();
    let word = word(delivery);
    let tone = match word {
        "passed" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Doubtful,
    };
    text.push(word, Some(tone));
    // Writing to a string cannot fail.
    _ = writeln!(text, ": {}", summary(delivery));
    if delivery.findings.is_empty() {
        return text;
    }
    let mut findings: Vec<&Finding> = delivery.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    text.push("\n", None);
    for finding in &findings {
        let tone = match finding.severity {
            Severity::Error => Some(Tone::Bad),
            Severity::Warning => Some(Tone::Doubtful),
            Severity::Note => None,
        };
        text.push(&finding.severity.to_string(), tone);
        _ = writeln!(text, ": {finding}");
    }
    text.push("\n", None);
    text.push("What to do", Some(Tone::Heading));
    text.push("\n", None);
    for (advice, credentials) in advice(&findings) {
        text.push("  ", None);
        for (index, name) in credentials.iter().take(NAMES_MAX).enumerate() {
            _ = write!(text, "{}{name}", if index == 0 { "" } else { ", " });
        }
        match credentials.len() {
            0 => {}
            number if number > NAMES_MAX => _ = write!(text, " and {} more: ", number - NAMES_MAX),
            _ => text.push(": ", None),
        }
        _ = writeln!(text, "{advice}");
    }
    text
}

/// Names that are written out in front of an advice.
const NAMES_MAX: usize = 4;

/// Each advice once, with the credentials it is for; none of them if it is for more than credentials.
fn advice<'a>(findings: &[&'a Finding]) -> Vec<(&'static str, Vec<&'a str>)> {
    let mut all: Vec<(&'static str, Vec<&'a str>)> = Vec::new();
    for finding in findings {
        let (advice, name) = (finding.advice(), finding.credential.as_deref());
        match all.iter_mut().find(|(known, _)| *known == advice) {
            None => all.push((advice, name.into_iter().collect())),
            Some((_, names)) => match name {
                None => names.clear(),
                Some(name) if !names.is_empty() => names.push(name),
                Some(_) => {}
            },
        }
    }
    for (_, names) in &mut all {
        names.sort_unstable();
        names.dedup();
    }
    all
}

/// How many arrived, and what is known of the rest.
#[must_use]
pub fn summary(delivery: &Delivery) -> String {
    let (intact, all) = (delivery.intact().count(), delivery.entries.len());
    let mut text = format!("{intact} {}", if intact == 1 { "credential" } else { "credentials" });
    if intact < all {
        _ = write!(text, ", {} refused", all - intact);
    }
    text.push_str(if delivery.proven {
        ", the manifest proves the set whole"
    } else {
        ", no proof by a manifest"
    });
    text
}
