//! What became of an import, for whoever asked for it.

use std::path::PathBuf;

use super::place::handover::Handover;
use super::place::outcome::{Outcome, Repair};
use super::place::{Place, PlaceError};
use super::platform::{Distrusted, Platform};
use super::source::SourceError;
use super::trust::TrustError;
use super::verify::delivery::{Delivery, Verdict};
use super::verify::policy::{ManifestPolicy, Policy};
use crate::format::credential::Name;
use crate::text::escape::ShownPath;

/// What an import did.
#[derive(Debug)]
pub struct Imported {
    /// What arrived, and what verification says of it.
    pub delivery: Delivery,
    /// Where it is now, or why it is nowhere.
    pub placed: Result<Placed, NotPlaced>,
    /// Whether the files by which it came are closed.
    pub closing: Closing,
}

/// Whether an import closes the files by which its credentials came.
#[derive(Debug)]
pub enum Closing {
    /// Nobody has asked for it.
    NotAsked,
    /// It does, since everything arrived and is in its place.
    Closes,
    /// It does not.
    LeftOpen(LeftOpen),
    /// It could not.
    Failed(CloseError),
}

/// Why an import that was asked to close leaves everything open. None of these is an error of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LeftOpen {
    /// The host stage reads the files again.
    #[error("the table stays open in the initrd: the import of the host stage closes it")]
    Initrd,
    /// A recording says nothing about this machine.
    #[error("the table stays open: what was imported came from a recording")]
    Recording,
    /// The host sent nothing.
    #[error("the table stays open: nothing was sent by it")]
    NothingSent,
    /// What arrived is not what was sent.
    #[error("the table stays open: verification failed, and it shows what arrived")]
    NotVerified,
    /// Not every credential is in its place.
    #[error("the table stays open: not every credential is in its place")]
    NotPlaced,
}

/// Why the files could not be closed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Nothing would know what was imported.
    #[error(
        "the table stays open: no report of this import can be left in {0}, and without one no later import could tell \
         what was imported"
    )]
    NoReport(ShownPath),
    /// `/sys` cannot be changed here.
    #[error(
        "cannot close {0}: sysfs is mounted read-only for this process. Run it in no container, and in a unit without \
         ProtectKernelTunables= and ProtectSystem=strict"
    )]
    ReadOnly(ShownPath),
    /// A directory, a link or a device in the place of a file.
    #[error("cannot close {0}: it is not a regular file")]
    NotAFile(ShownPath),
    /// Anything else that the kernel reports.
    #[error("cannot close {file}: {error}")]
    Io {
        /// The file.
        file: ShownPath,
        /// What the kernel says.
        error: std::io::Error,
    },
}

/// A set that is in its place.
#[derive(Debug)]
pub struct Placed {
    /// The place.
    pub place: Place,
    /// Its directory.
    pub directory: PathBuf,
    /// Why this place was chosen.
    pub reason: &'static str,
    /// What had to be done.
    pub outcome: Outcome,
    /// What had to be done for the encrypted credentials; `None` if none was to be written.
    pub sealed: Option<Outcome>,
    /// What went to the host stage besides.
    pub handed_over: Handover,
}

/// Why a set is not in its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPlaced {
    /// The policy is all or nothing, and the verdict failed.
    #[error("verification failed and --strict is given: nothing is materialized")]
    Strict,
    /// A trusted signature is required, and does not prove the set.
    #[error("a trusted signature is required and does not prove the whole set: nothing is materialized")]
    Unproven,
    /// A trusted signature proves the set, and this machine cannot take all of it.
    #[error(
        "a signed set is imported whole or not at all, and this machine cannot take all of it: nothing is materialized"
    )]
    NotWhole,
    /// Under systemd, other values have the names of some credentials. The rest of the set is in place.
    #[error("{} of {total} credentials are not the ones that were sent", .repair.foreign.len())]
    Foreign {
        /// What was repaired, and which names have other values.
        repair: Repair,
        /// How many credentials there are in the set.
        total: usize,
    },
    /// Something is in the way.
    #[error(transparent)]
    Failed(#[from] PlaceError),
}

/// Why there is nothing to import.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotReceived {
    /// The running system is one whose table must not be believed.
    #[error(transparent)]
    Distrusted(#[from] Distrusted),
    /// The running system is one where only a signed set is believed, and this set is not signed for it.
    #[error("{platform}, where only a signed set is believed, and refused: {finding}")]
    Unsigned {
        /// What the running system is.
        platform: Platform,
        /// Why the set is not believed.
        finding: String,
    },
    /// It cannot be told whom this machine trusts.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The sources received nothing.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// How an import ended, by the numbers of the report (smbios-creds-format(7)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Ended {
    /// All is well.
    Well = 0,
    /// Something could not be done.
    NotDone = 1,
    /// What arrived is not what was sent, or not what is required.
    Unverified = 3,
    /// There is no source, or nothing was sent.
    NothingSent = 4,
    /// The running system is one whose table must not be believed.
    Distrusted = 5,
}

impl From<Verdict> for Ended {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Well,
            Verdict::Failed => Self::Unverified,
            Verdict::NothingSent => Self::NothingSent,
        }
    }
}

impl Ended {
    /// How it ended where the sources received nothing.
    #[must_use]
    pub fn of(error: &SourceError) -> Self {
        match error {
            SourceError::Container(_) => Self::Distrusted,
            error if error.is_absence() => Self::NothingSent,
            SourceError::TooLarge { .. } | SourceError::TooMuch { .. } => Self::Unverified,
            _ => Self::NotDone,
        }
    }
}

impl Imported {
    /// How it ended.
    #[must_use]
    pub fn ended(&self) -> Ended {
        match &self.placed {
            Ok(_) if matches!(self.closing, Closing::Failed(_)) => Ended::NotDone,
            Ok(_) | Err(NotPlaced::Strict | NotPlaced::NotWhole) => self.delivery.verdict().into(),
            Err(NotPlaced::Unproven) => Ended::Unverified,
            Err(NotPlaced::Foreign { .. } | NotPlaced::Failed(_)) => Ended::NotDone,
        }
    }

    /// Whether the conditions that a policy names are met, so that a program that needs the credentials may start:
    /// every required credential is in place, and the set is proven if a manifest is required.
    #[must_use]
    pub fn meets(&self, policy: &Policy) -> bool {
        let is_sealed_placed = self.placed.as_ref().is_ok_and(|placed| placed.sealed.is_some());
        let is_intact = |name: &Name| {
            let is_sealed = || self.delivery.intact_sealed().any(|sealed| sealed.name == *name);
            self.delivery.intact().any(|credential| credential.name == *name)
                || (is_sealed_placed && is_sealed())
        };
        self.placed.is_ok()
            && policy.require.iter().all(is_intact)
            && (policy.manifest != ManifestPolicy::Require || self.delivery.proof.is_proven())
    }
}

impl NotPlaced {
    /// Whether it is the policy that lets nothing be placed. The findings say why.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Strict | Self::Unproven | Self::NotWhole)
    }
}

impl NotReceived {
    /// Whether a source is there and closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Source(SourceError::Closed(_)))
    }

    /// Whether the machine has no source at all. A table that the kernel found and could not read is another matter.
    #[must_use]
    pub fn is_without_source(&self) -> bool {
        matches!(self, Self::Source(error) if error.is_without_source())
    }

    /// How an import ended for this reason.
    #[must_use]
    pub fn ended(&self) -> Ended {
        match self {
            Self::Distrusted(_) | Self::Unsigned { .. } => Ended::Distrusted,
            Self::Trust(_) => Ended::NotDone,
            Self::Source(error) => Ended::of(error),
        }
    }
}
