//! The list of credentials and the verdict, as text for people and as data for programs.

use std::borrow::Cow;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt::Write as _;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::bounded;
use super::known::Known;
use crate::format::credential::Name;
use crate::format::oem_string::Encoding;
use crate::format::smbios::machine::Machine;
use crate::guest::place::outcome::State;
use crate::guest::verify::delivery::{Delivery, Entry, Refusal, Signed, Verdict};
use crate::guest::verify::finding::{Finding, FindingKind, Severity};
use crate::guest::verify::origin::Origin;
use crate::guest::verify::sealed_entry::SealedEntry;
use crate::text::listing::{self, Cell, Parts, Size, Text, Tone};

/// The order in which findings are shown: the most serious ones first. Code that sorts the findings by severity would
/// make the program file of `smbios-creds` 5 KB larger.
const HEAVIEST_FIRST: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Note];

/// One line of the list of credentials.
#[derive(Serialize)]
pub struct Row<'a> {
    pub(super) name: Option<&'a Name>,
    /// Size of the value in bytes; `None` if the value could not be decoded.
    pub(super) size: Option<u64>,
    pub(super) encoding: Cow<'a, str>,
    state: State,
    /// Why the credential is refused, if it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    pub(super) source: &'a Origin,
    /// The kind of key that encrypts the credential, if it is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// Makes the line for a credential from what the last report says about it. `state` is the present state of the
    /// credential in its place, which the report does not contain.
    pub(super) fn known(known: &'a Known, state: State) -> Self {
        let Known { name, size, encoding, source, key, .. } = known;
        let (name, key, encoding) = (name.as_ref(), key.as_deref(), encoding.into());
        Self { name, size: *size, encoding, state, reason: None, source, key }
    }
}

impl Row<'_> {
    fn encoding_and_key(&self) -> Cow<'_, str> {
        match self.key {
            Some(key) => format!("{}:{key}", self.encoding).into(),
            None => (*self.encoding).into(),
        }
    }

    fn tone(&self) -> Option<Tone> {
        match self.state {
            State::Imported => Some(Tone::Good),
            State::Refused(Refusal::Copy) | State::Intact | State::Closed | State::Unknown => None,
            State::Differs | State::Refused(_) => Some(Tone::Bad),
            State::Ineffective | State::Missing => Some(Tone::Doubtful),
        }
    }
}

/// Returns one line for each credential of a delivery, in the order in which the host sent them. The encrypted
/// credentials come last. `states` has one state for each line, in the same order.
pub fn rows<'a>(delivery: &'a Delivery, states: impl IntoIterator<Item = State>) -> Vec<Row<'a>> {
    let row = |(entry, state): (&'a Entry, _)| Row {
        name: entry.name.as_ref(),
        size: entry.size().map(|size| size as u64),
        encoding: entry.encoding.map_or("raw", Encoding::as_str).into(),
        state,
        reason: entry.refusal().map(Refusal::reason),
        source: &entry.origin,
        key: None,
    };
    let sealed_row = |(entry, state): (&'a SealedEntry, _)| Row {
        name: entry.name.as_ref(),
        size: entry.sealed().map(|sealed| sealed.blob.text().len() as u64),
        encoding: "encrypted".into(),
        state,
        reason: entry.intact().err().map(Refusal::reason),
        source: &entry.origin,
        key: entry.sealed().map(|sealed| sealed.blob.key().as_str()),
    };
    let mut states = states.into_iter();
    // The states of the plain credentials come first, then the states of the encrypted credentials.
    let mut rows: Vec<_> = delivery.entries.iter().zip(states.by_ref()).map(row).collect();
    rows.extend(delivery.sealed.iter().zip(states).map(sealed_row));
    rows
}

/// Returns one state for each credential of a delivery: the parameter `intact` for each intact credential, and the
/// reason of the refusal for each refused one.
pub fn states(delivery: &Delivery, intact: State) -> impl Iterator<Item = State> {
    let plain = delivery.entries.iter().map(Entry::refusal);
    let sealed = delivery.sealed.iter().map(|entry| entry.intact().err());
    plain.chain(sealed).map(move |refusal| refusal.map_or(intact, State::Refused))
}

/// Whether a listing has a line with the column names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Legend {
    /// The listing has a line with the column names, unless it lists nothing.
    Shown,
    /// The listing does not have a line with the column names.
    Hidden,
}

/// Returns the listing as text, in aligned columns like `systemd-creds list`; empty if there is nothing to list. If an
/// entry is refused, the listing also has the column REASON.
#[must_use]
pub fn table(rows: &[Row<'_>], legend: Legend) -> Text {
    let any_reason = rows.iter().any(|row| row.reason.is_some());
    let headings = ["NAME", "SIZE", "ENCODING", "STATE", "SOURCE", if any_reason { "REASON" } else { "" }];
    let mut parts = Parts::with_capacity(2 * rows.len());
    for row in rows {
        match row.size {
            Some(size) => parts.push(Size(size)),
            None => parts.push("-"),
        }
        parts.push(row.source.short());
    }
    let mut parts = parts.iter();
    let mut part = || Cell::new(parts.next().unwrap_or_default(), None);
    let lines: Vec<_> = (legend == Legend::Shown && !rows.is_empty())
        .then(|| Cell::headings(headings))
        .into_iter()
        .chain(rows.iter().map(|row| {
            [
                Cell::new(row.name.map_or(Cow::Borrowed("-"), Name::shown), None),
                part(),
                Cell::new(row.encoding_and_key(), None),
                Cell::new(row.state.as_str(), row.tone()),
                part(),
                Cell::new(row.reason.unwrap_or_default(), None),
            ]
        }))
        .collect();
    let mut text = Text::default();
    text.push_columns(&lines, &[1]);
    text
}

/// The data about a delivery that `check --json` prints.
#[derive(Serialize)]
pub struct Judged<'a> {
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'a Machine>,
    /// Whether a manifest proves that the received set is the one that was sent.
    proven: bool,
    /// Who signed the set; `None` if no trusted signature proves that the received set is the one that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a Signed>,
    credentials: Vec<Row<'a>>,
    findings: Vec<FindingRow<'a>>,
}

/// The data about a finding that `check --json` prints.
#[derive(Serialize)]
pub(super) struct FindingRow<'a> {
    severity: Severity,
    #[serde(flatten)]
    kind: &'a FindingKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<&'a Name>,
    place: Place<'a>,
    /// Number of similar findings that are not listed; `None` if all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<usize>,
    message: String,
    advice: Cow<'static, str>,
}

impl<'a> FindingRow<'a> {
    pub(super) fn new(finding: &'a Finding, delivery: &Delivery) -> Self {
        Self {
            severity: finding.severity,
            kind: &finding.kind,
            credential: finding.credential.as_ref(),
            place: Place(finding.origin.as_ref()),
            more: (finding.more > 0).then_some(finding.more),
            message: finding.to_string(),
            advice: finding.advice(&delivery.machine),
        }
    }
}

/// The origin of a finding; an empty JSON object if the finding has no origin.
struct Place<'a>(Option<&'a Origin>);

impl Serialize for Place<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(origin) => origin.serialize(serializer),
            None => serializer.serialize_map(Some(0))?.end(),
        }
    }
}

impl<'a> Judged<'a> {
    /// Makes the verdict on a delivery, with its credentials and findings.
    #[must_use]
    pub fn new(delivery: &'a Delivery) -> Self {
        Self {
            verdict: delivery.verdict(),
            machine: (delivery.machine != Machine::default()).then_some(&delivery.machine),
            proven: delivery.proof.is_proven(),
            signature: delivery.proof.signed(),
            credentials: rows(delivery, states(delivery, State::Intact)),
            findings: delivery.findings.iter().map(|finding| FindingRow::new(finding, delivery)).collect(),
        }
    }

    /// Shortens the list of credentials to `credentials` bytes of JSON, and the list of findings to `findings` bytes.
    /// Leaves out the last credentials and the least serious findings. Returns the numbers of credentials and findings
    /// that were left out.
    pub(super) fn shorten(&mut self, credentials: usize, findings: usize) -> (usize, usize) {
        let rest = &mut self.findings;
        let sorted = HEAVIEST_FIRST.into_iter().flat_map(|severity| {
            let rows: Vec<_> = rest.extract_if(.., |row| row.severity == severity).collect();
            rows
        });
        self.findings = sorted.collect();
        let before = (self.credentials.len(), self.findings.len());
        self.credentials.truncate(bounded::fitting(&self.credentials, credentials));
        self.findings.truncate(bounded::fitting(&self.findings, findings));
        (before.0 - self.credentials.len(), before.1 - self.findings.len())
    }
}

/// Returns the verdict as text: one line, then the findings with the most serious ones first, then what to do.
#[must_use]
pub fn verdict(delivery: &Delivery) -> Text {
    let mut text = Text::default();
    let verdict = delivery.verdict();
    let tone = match verdict {
        Verdict::Passed => Tone::Good,
        Verdict::Failed => Tone::Bad,
        Verdict::NothingSent => Tone::Doubtful,
    };
    text.push(verdict.as_str(), Some(tone));
    // Writing to a string cannot fail.
    _ = writeln!(text, ": {}", summary(delivery));
    if delivery.machine != Machine::default() {
        _ = writeln!(text, "machine: {}", delivery.machine);
    }
    if delivery.findings.is_empty() {
        return text;
    }
    let of = |severity| delivery.findings.iter().filter(move |finding| finding.severity == severity);
    let findings: Vec<&Finding> = HEAVIEST_FIRST.into_iter().flat_map(of).collect();
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
    for Advice { text: advice, names, more } in advice(&findings, &delivery.machine) {
        text.push("  ", None);
        for (index, name) in names.iter().take(NAMES_MAX).enumerate() {
            _ = write!(text, "{}{name}", if index == 0 { "" } else { ", " });
        }
        match (names.len(), names.len().saturating_sub(NAMES_MAX) + more) {
            (0, _) => {}
            (_, 0) => text.push(": ", None),
            (_, more) => _ = write!(text, " and {more} more: "),
        }
        _ = writeln!(text, "{advice}");
    }
    text
}

/// Maximum number of credential names that are printed before an advice.
const NAMES_MAX: usize = 4;

/// An advice that is printed once for all findings that need the same action.
struct Advice<'a> {
    text: Cow<'static, str>,
    /// The names of the credentials that need this action; empty if a finding that is not about a credential needs this
    /// action too.
    names: Vec<&'a Name>,
    /// Number of further findings with this advice, which are counted but not listed.
    more: usize,
}

/// Returns every advice on these findings once, with the names of the credentials that need the action.
fn advice<'a>(findings: &[&'a Finding], machine: &Machine) -> Vec<Advice<'a>> {
    let mut all: Vec<Advice<'a>> = Vec::new();
    for finding in findings {
        let (text, name, more) = (finding.advice(machine), finding.credential.as_ref(), finding.more);
        match all.iter_mut().find(|known| known.text == text) {
            None => all.push(Advice { text, names: name.into_iter().collect(), more }),
            Some(known) => match name {
                None => known.names.clear(),
                Some(name) if !known.names.is_empty() => {
                    known.names.push(name);
                    known.more += more;
                }
                Some(_) => {}
            },
        }
    }
    for Advice { names, .. } in &mut all {
        *names = BinaryHeap::from(std::mem::take(names)).into_sorted_vec();
        names.dedup();
    }
    all
}

/// Returns how many credentials arrived, and what proves that they are complete.
#[must_use]
pub fn summary(delivery: &Delivery) -> String {
    let is_sent_once = |entry: &&Entry| entry.refusal() != Some(Refusal::Copy);
    let (intact, all) = (delivery.intact().count(), delivery.entries.iter().filter(is_sent_once).count());
    let mut text = listing::count(intact, "credential");
    let is_refused = |entry: &&SealedEntry| entry.intact().is_err();
    let refused = all - intact + delivery.sealed.iter().filter(is_refused).count();
    if refused > 0 {
        _ = write!(text, ", {refused} refused");
    }
    let is_any_sealed = delivery.intact_sealed().next().is_some();
    if is_any_sealed {
        _ = write!(text, ", {}", sealed(delivery));
    }
    if delivery.proof.is_proven() {
        _ = write!(text, ", {}", delivery.proof);
    } else if intact > 0 || is_any_sealed {
        _ = write!(text, ", and {}", delivery.proof);
    }
    text
}

/// Returns the number of encrypted credentials, and the kinds of keys that encrypt them.
pub(super) fn sealed(delivery: &Delivery) -> String {
    let keys: BTreeSet<&str> = delivery.intact_sealed().map(|sealed| sealed.blob.key().as_str()).collect();
    let keys: Vec<&str> = keys.into_iter().collect();
    format!("{} encrypted ({})", delivery.intact_sealed().count(), keys.join(", "))
}
