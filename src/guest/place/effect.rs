//! Makes findings about credentials that have no effect in their place, and about credentials that cannot be written to
//! `@initrd` with the rest of the set. Each finding is about one credential, and gives its name.

use super::choose::Choice;
use super::content::{self, Buffer, Found};
use super::handover::Handover;
use super::outcome::State;
use super::{Place, System};
use crate::format::credential::{Credential, Name};
use crate::format::systemd::is_read_early_only;
use crate::guest::system::Stage;
use crate::guest::verify::delivery::{Delivery, Entry};
use crate::guest::verify::finding::{Finding, FindingKind, Severity};
use crate::guest::verify::findings::Findings;
use crate::sys::directory::{Directory, Links};

impl Place {
    /// Whether a credential of this name is written to this place: `false` for `@initrd` if the name starts with a dot.
    /// systemd ignores files in `@initrd` whose names start with a dot, and leaves them in `@initrd` in plain text
    /// (`import_credentials_initrd()`, `src/core/import-creds.c`).
    pub(super) fn takes(&self, name: &Name) -> bool {
        *self != Self::Initrd || !name.as_str().starts_with('.')
    }

    /// Returns the state of a credential that is in this place. Under systemd, PID 1 and generators do not read the
    /// place `credstore`. An import in the initrd also writes the credential to `@initrd`, where PID 1 finds it after
    /// switch-root (systemd 254 and newer).
    #[must_use]
    pub fn placed(&self, system: &System, credential: &Credential) -> State {
        if !self.takes(&credential.name) {
            return State::Missing;
        }
        let is_ineffective = *self == Self::Credstore
            && is_read_early_only(credential.name.as_str())
            && system.is_booted_with_systemd()
            && system.stage() == Stage::Host
            && !is_passed_on(system, credential);
        if is_ineffective { State::Ineffective } else { State::Imported }
    }
}

/// Whether PID 1 already has the credential in `@system`. If PID 1 has the credential, no other copy is needed.
fn is_passed_on(system: &System, credential: &Credential) -> bool {
    Directory::open(&system.system_credentials(), Links::Refuse)
        .and_then(|directory| content::compare(&directory, credential, &mut Buffer::default()))
        .is_ok_and(|found| found == Found::Equal)
}

impl Choice {
    /// Returns one finding for each credential that has no effect in this place, or that cannot be written to `@initrd`
    /// with the rest of the set. Each finding gives the credential's name. Does not check whether the credentials were
    /// written.
    #[must_use]
    pub fn findings(&self, system: &System, delivery: &Delivery) -> Findings {
        let goes_to_initrd = self.place == Place::Initrd || self.handover == Handover::Everything;
        let of = |entry: &Entry| {
            let credential = entry.intact().ok()?;
            let kind = if self.place.placed(system, credential) == State::Ineffective {
                FindingKind::Ineffective
            } else if goes_to_initrd && !Place::Initrd.takes(&credential.name) {
                FindingKind::NotHandedOver
            } else {
                return None;
            };
            let (credential, origin) = (entry.name.clone(), Some(entry.origin.clone()));
            Some(Finding { kind, severity: Severity::Warning, credential, origin, more: 0 })
        };
        let mut findings = Findings::default();
        delivery.entries.iter().filter_map(of).for_each(|finding| findings.push(finding));
        findings
    }
}
