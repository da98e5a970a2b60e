//! Checks the credentials if the sources are closed (mode 0000): compares the last report with the files in the
//! directory of the credentials.
//!
//! The report contains the names and sizes of the credentials, and whether a manifest proved that the set was the one
//! that was sent. The report contains no values, so values are not compared. Credentials that the host sends now are
//! not read.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;

use super::known::{Known, KnownSignature};
use super::last::{self, Summary};
use super::listing::Row;
use crate::format::credential::Name;
use crate::guest::place::Place;
use crate::guest::place::choose::Into;
use crate::guest::place::outcome::State;
use crate::guest::system::System;
use crate::guest::trust::{self, TrustError};
use crate::guest::verify::policy::{ManifestPolicy, Policy};
use crate::guest::verify::trust::Trust;
use crate::text::escape::{Escaped, ShownPath};
use crate::text::help::{Help, Message};
use crate::text::listing::{Text, Tone, count};

/// The credentials that the last import wrote, and the state of their files now.
pub struct Remembered {
    /// The last report, if there is one.
    last: Option<Summary>,
    /// The directory that was checked.
    directory: ShownPath,
    /// The state of each imported credential in its directory.
    states: Vec<State>,
    problems: Vec<Problem>,
}

/// Why the program cannot say that the imported set is in its place.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("the report of the last import is missing in {0}")]
    NoReport(ShownPath),
    #[error("the last import failed: {0}")]
    NotWell(String),
    #[error("the last import wrote the credentials to {folder}, but this command checks {directory}")]
    Elsewhere { folder: String, directory: ShownPath },
    #[error("the report omits {0} of the imported credentials, because it would be too large")]
    Omitted(usize),
    #[error("credential {0}: it was imported, but it is missing in {1}")]
    Missing(Name, ShownPath),
    #[error("credential {0}: the size or mode of its file in {1} changed after the import")]
    Differs(Name, ShownPath),
    #[error("credential {0}: no permission to check its file in {1}")]
    Unknown(Name, ShownPath),
    #[error("credential {0}: it is required, but it was missing or empty in the last import")]
    Required(Name),
    #[error("a manifest is required, but no manifest proved the set of the last import")]
    NotProven,
    #[error("a signed manifest is required, but the set of the last import was not signed")]
    NotSigned,
    #[error("the last import had a set signed by {0}, which is not accepted now")]
    NotBelieved(KnownSignature),
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Help for Problem {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Trust(error) => error.help(),
            _ => None,
        }
    }
}

/// The data that `check --json` prints if the sources are closed.
#[derive(Serialize)]
pub struct Judged<'a> {
    verdict: &'static str,
    proven: bool,
    credentials: Vec<Row<'a>>,
    /// This list is always empty: findings are about the content of the sources, and closed sources are not read.
    findings: [(); 0],
    problems: Vec<String>,
}

impl Remembered {
    /// Reads the last report, and checks the files in the place that `into` selects.
    #[must_use]
    pub fn look(system: &System, into: &Into, policy: &Policy) -> Self {
        let place = into.choose(system).place;
        let directory: ShownPath = place.directory(system).into();
        let last = last::read(system);
        let encrypted = Place::Directory(system.encrypted_credstore().into_owned());
        let is_there = |(known, name): (&Known, &Name)| {
            let place = if known.key.is_some() { &encrypted } else { &place };
            place.states_by_size(system, [(name, known.size.unwrap_or_default())])
        };
        let states = last.iter().flat_map(imported).flat_map(is_there).collect();
        let mut remembered = Self { last, directory, states, problems: Vec::new() };
        remembered.problems = remembered.find(system, policy);
        remembered
    }

    /// Whether every credential of the last import is in its place, as far as names, sizes and permissions show, and
    /// whether the policy is met.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns the reasons why the program cannot say that the imported set is in its place, each as one message.
    pub fn problems(&self) -> impl Iterator<Item = Message> {
        self.problems.iter().map(Message::from)
    }

    /// Returns the credentials that were imported, each with the present state of its file.
    #[must_use]
    pub fn rows(&self) -> Vec<Row<'_>> {
        let known = self.last.iter().flat_map(imported);
        known.zip(&self.states).map(|((known, _), &state)| Row::known(known, state)).collect()
    }

    /// Returns one line, which says that the sources are closed, whether smbios-creds closed them, and how the last
    /// import ended.
    #[must_use]
    pub fn summary(&self) -> String {
        let Some(last) = &self.last else { return "the table is closed (mode 0000)".to_owned() };
        let by = if last.closed {
            " by smbios-creds"
        } else {
            ", but the last report does not say that smbios-creds closed it"
        };
        let (version, summary) = (Escaped(last.version.as_bytes()), Escaped(last.summary.as_bytes()));
        format!("the table is closed (mode 0000){by}; the last import (version {version}): {summary}")
    }

    /// Returns one line, which says what was compared with the last report, and what cannot be compared.
    #[must_use]
    pub fn limits(&self) -> String {
        let Self { directory, .. } = self;
        let compared = count(self.states.len(), "credential");
        format!(
            "{compared} in {directory}: names and sizes were compared with the last report. Values were not \
             compared, and the credentials that the host sends now cannot be read"
        )
    }

    /// Returns the text that `check` prints for people: the verdict, the problems, and what was not compared.
    #[must_use]
    pub fn verdict(&self) -> Text {
        let mut text = Text::default();
        text.push("closed", Some(if self.is_whole() { Tone::Good } else { Tone::Bad }));
        // Writing to a string cannot fail.
        _ = writeln!(text, ": {}", self.summary());
        for problem in &self.problems {
            text.push("error", Some(Tone::Bad));
            _ = writeln!(text, ": {problem}");
            if let Some(help) = problem.help() {
                _ = writeln!(text, "help: {help}");
            }
        }
        _ = writeln!(text, "note: {}", self.limits());
        text
    }

    /// Returns the data that `check --json` prints.
    #[must_use]
    pub fn judged(&self) -> Judged<'_> {
        let problems = self.problems.iter().map(Help::on_one_line).collect();
        let proven = self.is_proven();
        Judged { verdict: "closed", proven, credentials: self.rows(), findings: [], problems }
    }

    fn is_proven(&self) -> bool {
        self.last.as_ref().and_then(|last| last.delivery.as_ref()).is_some_and(|delivery| delivery.proven)
    }

    fn find(&self, system: &System, policy: &Policy) -> Vec<Problem> {
        let Some(last) = &self.last else { return vec![Problem::NoReport(system.state().into())] };
        let mut problems = Vec::new();
        let directory = || self.directory.clone();
        if last.exit != 0 {
            problems.push(Problem::NotWell(Escaped(last.summary.as_bytes()).to_string()));
        }
        match &last.folder {
            // The report contains the path in its escaped form, so this path is compared with the directory's escaped
            // path.
            Some(folder) if *folder != self.directory.to_string() => {
                let folder = Escaped(folder.as_bytes()).to_string();
                problems.push(Problem::Elsewhere { folder, directory: directory() });
            }
            _ => {}
        }
        if let Some(omitted) = last.omitted.as_ref().filter(|omitted| omitted.credentials > 0) {
            problems.push(Problem::Omitted(omitted.credentials));
        }
        for ((known, name), state) in imported(last).zip(&self.states) {
            let directory = || match known.key {
                Some(_) => system.encrypted_credstore().into(),
                None => directory(),
            };
            problems.extend(match state {
                State::Missing => Some(Problem::Missing(name.clone(), directory())),
                State::Differs => Some(Problem::Differs(name.clone(), directory())),
                State::Unknown => Some(Problem::Unknown(name.clone(), directory())),
                _ => None,
            });
        }
        for required in &policy.require {
            let is_it = |(known, name): (&Known, &Name)| {
                name == required && (known.size > Some(0) || policy.allow_empty.contains(name))
            };
            if !imported(last).any(is_it) {
                problems.push(Problem::Required(required.clone()));
            }
        }
        if policy.manifest == ManifestPolicy::Require && !self.is_proven() {
            problems.push(Problem::NotProven);
        }
        // The trusted keys and the highest imported serial may have changed since the last import, so they are read
        // again.
        match trust::complete(system, true, policy) {
            Ok(policy) if policy.requires_signature() => {
                problems.extend(unbelieved(last, &policy.trust));
            }
            Ok(_) => {}
            Err(error) => problems.push(error.into()),
        }
        problems
    }
}

/// Returns why the signature of the last imported set is not accepted now; `None` if the signature is accepted.
fn unbelieved(last: &Summary, trust: &Trust) -> Option<Problem> {
    let Some(signature) = last.delivery.as_ref().and_then(|delivery| delivery.signature.as_ref()) else {
        return Some(Problem::NotSigned);
    };
    let KnownSignature { key, audience, serial } = signature;
    let is_trusted = trust.keys.iter().any(|trusted| trusted.id().to_string() == *key);
    (!is_trusted || !trust.takes(audience.as_deref(), *serial))
        .then(|| Problem::NotBelieved(signature.clone()))
}

/// Returns the credentials that were imported, as the report lists them.
fn imported(last: &Summary) -> impl Iterator<Item = (&Known, &Name)> {
    let all = last.delivery.iter().flat_map(|delivery| &delivery.credentials);
    all.filter(|known| known.state == State::Intact.as_str() && known.size.is_some())
        .filter_map(|known| Some((known, known.name.as_ref()?)))
}
