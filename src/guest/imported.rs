//! The result of an import, which [`import()`](super::import::import) returns.

use std::borrow::Cow;
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
use crate::text::help::Help;

/// The result of an import.
#[derive(Debug)]
pub struct Imported {
    /// The credentials that arrived, with the findings of verification.
    pub delivery: Delivery,
    /// Where the credentials were written, or why they were not written.
    pub placed: Result<Placed, NotPlaced>,
    /// Whether the import closes the files from which the credentials were read, or the reason why the import leaves
    /// the files readable.
    pub closing: Closing,
}

/// Whether an import closes the files from which its credentials were read.
#[derive(Debug)]
pub enum Closing {
    /// Closing was not requested.
    NotAsked,
    /// The import makes the sources' files unreadable, because every credential arrived and is in its place.
    Closes,
    /// The import leaves the sources' files readable, although closing was requested. The value is the reason.
    LeftOpen(LeftOpen),
    /// The import could not make the sources' files unreadable.
    Failed(CloseError),
}

/// Why an import leaves the sources' files readable although closing was requested. None of these reasons is an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LeftOpen {
    /// The import runs in the initrd, and the import after switch-root reads the files again.
    #[error("the table stays readable in the initrd: the import after switch-root closes it")]
    Initrd,
    /// The set came from a recording, which says nothing about this machine.
    #[error("the table stays readable: the credentials came from a recording")]
    Recording,
    /// The host sent nothing.
    #[error("the table stays readable: it contains no credentials")]
    NothingSent,
    /// What arrived differs from what was sent, or does not meet the policy.
    #[error("the table stays readable: verification failed, and 'smbios-creds check' needs the table")]
    NotVerified,
    /// Not every credential is in its place.
    #[error("the table stays readable: not every credential was imported")]
    NotPlaced,
}

/// Why the sources' files could not be made unreadable.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The files stay readable: no report could be written, and without a report no later import could know what was
    /// imported, because it could not read closed files.
    #[error(
        "the table stays readable: no report of this import can be written to {0}, and without a report no later \
         import could know what was imported"
    )]
    NoReport(ShownPath),
    /// `/sys` is mounted read-only for this process.
    #[error("cannot close {0}: sysfs is mounted read-only for this process")]
    ReadOnly(ShownPath),
    /// The path is not a regular file but a directory, a link or a device.
    #[error("cannot close {0}: it is not a regular file")]
    NotAFile(ShownPath),
    /// Any other error that the kernel reports.
    #[error("cannot close {file}: {error}")]
    Io {
        /// The file that could not be closed.
        file: ShownPath,
        /// The kernel's error.
        error: std::io::Error,
    },
}

/// A set that was written to its place.
#[derive(Debug)]
pub struct Placed {
    /// The place to which the set was written.
    pub place: Place,
    /// The directory of the place to which the set was written.
    pub directory: PathBuf,
    /// Why this place was chosen.
    pub reason: &'static str,
    /// The result for the plain credentials: they were in place already, were written, or were repaired.
    pub outcome: Outcome,
    /// The result for the encrypted credentials; `None` if there were none to write.
    pub sealed: Option<Outcome>,
    /// What the import did with `@initrd`, the directory for the handover from the initrd to the stage after
    /// switch-root.
    pub handed_over: Handover,
}

/// Why a set is not in its place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPlaced {
    /// `--strict` is set and verification failed, so nothing was written.
    #[error("verification failed and --strict is set: nothing was imported")]
    Strict,
    /// A trusted signature is required, but no trusted signature proves that the set is the one that was sent.
    #[error(
        "a trusted signature is required, but no such signature proves the whole set: nothing was imported"
    )]
    Unproven,
    /// A trusted signature proves that the set is the one that was sent, but this machine cannot use every credential
    /// of the set.
    #[error(
        "a signed set must be imported completely, but this machine cannot use a part of it: nothing was imported"
    )]
    NotWhole,
    /// Under systemd, some credentials of the set already had other values in systemd's directory, which the import did
    /// not change. The other credentials of the set are in place.
    #[error("{} of {total} credentials have other values than were sent", .repair.foreign.len())]
    Foreign {
        /// The credentials that were repaired, and the names of those that have other values.
        repair: Repair,
        /// Number of credentials in the set.
        total: usize,
    },
    /// The credentials could not be written to their place.
    #[error(transparent)]
    Failed(#[from] PlaceError),
}

/// Why there is nothing to import.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotReceived {
    /// The running system's table must not be trusted.
    #[error(transparent)]
    Distrusted(#[from] Distrusted),
    /// On this system, a confidential VM or a container, only a signed set is trusted, and the received set is not
    /// signed for this machine.
    #[error("{platform}; only a signed set is accepted here, and this set was refused: {finding}")]
    Unsigned {
        /// The kind of system.
        platform: Platform,
        /// Why the set is not trusted.
        finding: String,
    },
    /// The trusted keys, names or serials of this machine cannot be determined.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The sources received nothing.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// How an import ended. The number of each variant is the exit code that the report contains (smbios-creds-format(7)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Ended {
    /// The import succeeded.
    Well = 0,
    /// A step of the import failed.
    NotDone = 1,
    /// What arrived differs from what was sent, or does not meet the requirements of the policy.
    Unverified = 3,
    /// The machine has no source of credentials, or the host sent none.
    NothingSent = 4,
    /// The running system's table must not be trusted.
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
    /// Returns how an import ended whose sources received nothing because of this error.
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
    /// Returns how the import ended.
    #[must_use]
    pub fn ended(&self) -> Ended {
        match &self.placed {
            Ok(_) if matches!(self.closing, Closing::Failed(_)) => Ended::NotDone,
            Ok(_) | Err(NotPlaced::Strict | NotPlaced::NotWhole) => self.delivery.verdict().into(),
            Err(NotPlaced::Unproven) => Ended::Unverified,
            Err(NotPlaced::Foreign { .. } | NotPlaced::Failed(_)) => Ended::NotDone,
        }
    }

    /// Whether the policy's conditions are met, so that a program that needs the credentials may start. Every required
    /// credential must be in place. If a manifest is required, a manifest must prove that the set is the one that was
    /// sent.
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
    /// Whether nothing was written because the policy forbids writing this set. The findings give the reason.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Strict | Self::Unproven | Self::NotWhole)
    }
}

impl NotReceived {
    /// Whether a source exists, but its files are closed (mode 0000).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Source(SourceError::Closed(_)))
    }

    /// Whether the machine has no source at all: `false` if the kernel found a table but could not read it.
    #[must_use]
    pub fn is_without_source(&self) -> bool {
        matches!(self, Self::Source(error) if error.is_without_source())
    }

    /// Returns how an import ended that failed for this reason.
    #[must_use]
    pub fn ended(&self) -> Ended {
        match self {
            Self::Distrusted(_) | Self::Unsigned { .. } => Ended::Distrusted,
            Self::Trust(_) => Ended::NotDone,
            Self::Source(error) => Ended::of(error),
        }
    }
}

impl Help for CloseError {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::ReadOnly(_) => Some(
                "run the import outside a container, and in a unit without ProtectKernelTunables= and \
                 ProtectSystem=strict"
                    .into(),
            ),
            Self::NoReport(_) | Self::NotAFile(_) | Self::Io { .. } => None,
        }
    }
}

impl Help for NotPlaced {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Failed(error) => error.help(),
            // For these errors, the findings say what to do.
            Self::Strict | Self::Unproven | Self::NotWhole | Self::Foreign { .. } => None,
        }
    }
}

impl Help for NotReceived {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Distrusted(error) => error.help(),
            Self::Unsigned { .. } => None,
            Self::Trust(error) => error.help(),
            Self::Source(error) => error.help(),
        }
    }
}
