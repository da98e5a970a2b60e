//! `check NAME`: shows what happened to one credential: whether the host sent it, whether it arrived, in which files it
//! is, and which units ask for it.

use std::fmt::{Arguments, Write as _};

use serde::Serialize;

use super::listing::{self, FindingRow, Row};
use crate::format::credential::Name;
use crate::guest::place::found::{self, FoundFile};
use crate::guest::place::outcome::State;
use crate::guest::system::System;
use crate::guest::units::{self, Asking};
use crate::guest::verify::delivery::{Delivery, Entry, Listed, Verdict};
use crate::guest::verify::finding::Finding;
use crate::guest::verify::sealed_entry::SealedEntry;
use crate::text::listing::{Text, Tone, count};

/// Maximum number of units that are listed by name.
const UNITS_MAX: usize = 8;

/// What is known about one credential, from the host to the units that ask for it.
#[derive(Serialize)]
pub struct Way<'a> {
    name: &'a Name,
    arrival: Arrival,
    /// Whether a valid manifest arrived.
    manifest: bool,
    /// Number of bytes that the host sent for this credential, according to the manifest; `None` if the manifest does
    /// not list the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
    /// Every OEM string and every `fw_cfg` item with a credential of this name.
    credentials: Vec<Row<'a>>,
    /// Whether a manifest proves that the received set is the one that was sent.
    proven: bool,
    /// The verdict on the whole set.
    verdict: Verdict,
    /// Files with this name in the directories of credentials; `None` if the set came from a recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<FoundFile>>,
    /// Units that ask for the credential; `None` if systemd does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    units: Option<Vec<Asking>>,
    /// The findings of verification about this credential.
    findings: Vec<FindingRow<'a>>,
    #[serde(skip)]
    delivery: &'a Delivery,
}

/// Whether a credential of this name arrived on this system.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Arrival {
    /// The credential arrived, and an import accepts it.
    Whole,
    /// A credential of this name arrived, but an import refuses it.
    Refused,
    /// No credential of this name arrived.
    Missing,
}

impl<'a> Way<'a> {
    /// Collects what is known about a credential. `delivery` must have been verified with a policy whose field `about`
    /// contains this name. `system` is `None` for a recording, which may come from another machine.
    pub fn look(
        system: Option<&System>,
        name: &'a Name,
        delivery: &'a Delivery,
        states: impl IntoIterator<Item = State>,
    ) -> Self {
        let of_name = |entry: &&Entry| entry.name.as_ref() == Some(name);
        let of_name_sealed = |entry: &&SealedEntry| entry.name.as_ref() == Some(name);
        let (plain, sealed) =
            (delivery.entries.iter().find(of_name), delivery.sealed.iter().find(of_name_sealed));
        let is_whole = plain.is_some_and(|entry| entry.intact().is_ok())
            || sealed.is_some_and(|entry| entry.intact().is_ok());
        let (plain, sealed) = (plain.and_then(Entry::credential), sealed.and_then(SealedEntry::sealed));
        let mut credentials = listing::rows(delivery, states);
        credentials.retain(|row| row.name == Some(name));
        let arrival = match credentials.as_slice() {
            _ if is_whole => Arrival::Whole,
            [] => Arrival::Missing,
            _ => Arrival::Refused,
        };
        let sent = if let Listed::Size(size) = delivery.listed { Some(size) } else { None };
        Self {
            name,
            arrival,
            manifest: delivery.listed != Listed::NoManifest,
            sent,
            credentials,
            proven: delivery.proof.is_proven(),
            verdict: delivery.verdict(),
            files: system.map(|system| found::find(system, name, plain, sealed)),
            units: system.and_then(|system| units::asking_for(system, name)),
            findings: of_it(delivery, name).map(|finding| FindingRow::new(finding, delivery)).collect(),
            delivery,
        }
    }

    /// Whether the credential arrived and is not refused.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.arrival == Arrival::Whole
    }

    /// Returns the text for people: a line for each step from the host to the units.
    #[must_use]
    pub fn text(&self) -> Text {
        let Self { name, delivery, .. } = self;
        let (word, tone, what) = match self.arrival {
            Arrival::Whole => ("whole", Tone::Good, "arrived"),
            Arrival::Refused => ("refused", Tone::Bad, "arrived, but is not imported"),
            Arrival::Missing => ("missing", Tone::Bad, "did not arrive"),
        };
        let mut text = Text::default();
        text.push(word, Some(tone));
        // Writing to a string cannot fail.
        _ = writeln!(text, ": credential {name} {what}");
        match (self.sent, self.manifest) {
            (Some(size), _) => station(&mut text, "sent", format_args!("{size} bytes, as the manifest says")),
            (None, true) => {
                station(&mut text, "sent", format_args!("the manifest does not list this credential"));
            }
            (None, false) => {
                station(&mut text, "sent", format_args!("not known, because no valid manifest arrived"));
            }
        }
        self.arrived(&mut text);
        self.found(&mut text);
        self.asked(&mut text);
        let verdict = self.verdict.as_str();
        station(&mut text, "whole set", format_args!("{verdict}: {}", listing::summary(delivery)));
        if self.arrival == Arrival::Missing {
            text.push("help: 'smbios-creds list' shows the names that arrived\n", None);
        }
        for finding in of_it(delivery, name) {
            let Finding { severity, .. } = finding;
            _ = writeln!(text, "{severity}: {finding}\nhelp: {}", finding.advice(&delivery.machine));
        }
        text
    }

    /// Writes where the credential arrived, and whether it was verified.
    fn arrived(&self, text: &mut Text) {
        for Row { size, encoding, source, reason, .. } in &self.credentials {
            let size = size.unwrap_or_default();
            station(text, "arrived", format_args!("{size} bytes, {encoding} ({source})"));
            let how = if self.proven { "yes" } else { "only in part" };
            match reason {
                Some(reason) => station(text, "verified", format_args!("no: {reason}")),
                None => station(text, "verified", format_args!("{how}: {}", self.delivery.proof)),
            }
        }
        if self.credentials.is_empty() {
            station(text, "arrived", format_args!("no: neither in the SMBIOS table nor in fw_cfg"));
        }
    }

    /// Writes in which files the credential is now.
    fn found(&self, text: &mut Text) {
        let Some(files) = &self.files else {
            return station(text, "in place", format_args!("not checked, because --from names a recording"));
        };
        if files.is_empty() {
            station(text, "in place", format_args!("nowhere in /run/credentials and /run/credstore*"));
        }
        for FoundFile { file, size, mode, state } in files {
            let state = match state {
                State::Imported => "the bytes that were sent",
                State::Differs => "not the bytes that were sent, or readable by other users",
                _ => "not compared with what was sent",
            };
            station(text, "in place", format_args!("{file}: {size} bytes, mode {mode}, {state}"));
        }
    }

    /// Writes which units ask for the credential.
    fn asked(&self, text: &mut Text) {
        if self.files.is_none() {
            return;
        }
        let Some(units) = &self.units else {
            let how = "not known: look for LoadCredential= and ImportCredential= in 'systemctl cat UNIT'";
            return station(text, "asked by", format_args!("{how}"));
        };
        for Asking { unit, directive } in units.iter().take(UNITS_MAX) {
            station(text, "asked by", format_args!("{unit} ({directive}=)"));
        }
        match units.len().checked_sub(UNITS_MAX) {
            Some(more) if more > 0 => station(text, "asked by", format_args!("{}", count(more, "more unit"))),
            _ if units.is_empty() => {
                station(text, "asked by", format_args!("no unit that systemd has loaded"));
            }
            _ => {}
        }
    }
}

/// Returns the findings about a credential.
fn of_it<'a>(delivery: &'a Delivery, name: &Name) -> impl Iterator<Item = &'a Finding> {
    delivery.findings.iter().filter(move |finding| finding.credential.as_ref() == Some(name))
}

fn station(text: &mut Text, name: &str, what: Arguments<'_>) {
    // Writing to a string cannot fail.
    _ = writeln!(text, "{name:<10} {what}");
}
