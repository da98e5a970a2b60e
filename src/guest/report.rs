//! What people and programs read: the listing and the verdict.

use std::fmt::Write as _;

use serde::Serialize;

use super::delivery::{Delivery, Entry};
use super::finding::{Finding, FindingKind, Place, Severity};
use super::sink::State;
use crate::oem_string::Encoding;

/// One line of the listing.
#[derive(Serialize)]
pub struct Row<'a> {
    /// Name, escaped for printing.
    name: Option<&'a str>,
    /// Bytes of the value; `None` if it could not be decoded.
    size: Option<u64>,
    encoding: Encoding,
    state: &'static str,
    source: Place,
}

/// The listing of a delivery, in table order, with a state for each entry.
pub fn rows<'a>(delivery: &'a Delivery, states: impl IntoIterator<Item = &'static str>) -> Vec<Row<'a>> {
    let row = |(entry, state): (&'a Entry, _)| Row {
        name: entry.name.as_deref(),
        size: entry.credential.as_ref().map(|credential| credential.value.len() as u64),
        encoding: entry.encoding,
        state,
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

/// The listing as text, in aligned columns as `systemd-creds list` has them; nothing if there is nothing.
#[must_use]
pub fn table(rows: &[Row<'_>], legend: bool) -> String {
    let cells: Vec<[String; 5]> = (legend && !rows.is_empty())
        .then(|| ["NAME", "SIZE", "ENCODING", "STATE", "SOURCE"].map(str::to_owned))
        .into_iter()
        .chain(rows.iter().map(|row| {
            [
                row.name.unwrap_or("-").to_owned(),
                row.size.map_or("-".to_owned(), human_size),
                row.encoding.to_string(),
                row.state.to_owned(),
                row.source.short(),
            ]
        }))
        .collect();
    let mut width = [0; 5];
    for line in &cells {
        for (width, cell) in width.iter_mut().zip(line) {
            *width = cell.len().max(*width);
        }
    }
    let [name_width, size_width, encoding_width, state_width, _] = width;
    cells.iter().fold(String::new(), |mut text, [name, size, encoding, state, source]| {
        _ = writeln!(
            text,
            "{name:name_width$} {size:>size_width$} {encoding:encoding_width$} {state:state_width$} {source}"
        );
        text
    })
}

/// A size as systemd writes it (`format_bytes()`, `src/basic/format-util.c`): base 1024, one decimal, cut off.
fn human_size(bytes: u64) -> String {
    let (unit, suffix) = match bytes {
        0..1024 => return format!("{bytes}B"),
        1024..1_048_576 => (1024, 'K'),
        _ => (1_048_576, 'M'),
    };
    match bytes % unit * 10 / unit {
        0 => format!("{}{suffix}", bytes / unit),
        tenth => format!("{}.{tenth}{suffix}", bytes / unit),
    }
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

/// The verdict as text: one line, then each finding and what to do about it.
#[must_use]
pub fn verdict(delivery: &Delivery) -> String {
    let mut text = format!("{}: {}\n", word(delivery), summary(delivery));
    for finding in &delivery.findings {
        _ = writeln!(text, "{}: {finding}\n    {}", finding.severity, finding.advice());
    }
    text
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
