//! The exit codes of all subcommands.

use std::process::ExitCode;

use crate::guest::imported::{Ended, NotReceived};
use crate::guest::source::SourceError;

/// The exit code of a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// The program succeeded.
    Ok = 0,
    /// A step failed, for example a system call.
    Failure = 1,
    /// The arguments are not valid.
    Usage = 2,
    /// In the guest: the credentials that arrived differ from those that were sent, or do not meet the requirements. On
    /// the host: a credential is missing, cannot be sent, or would be visible to other users.
    Verification = 3,
    /// The machine has no source of credentials (SMBIOS or `fw_cfg`), or the host sent no credentials.
    NoSource = 4,
    /// The import is refused, because the program runs in a confidential VM or a container, where the table is not
    /// trusted.
    Refused = 5,
}

impl Exit {
    /// Returns the exit code for an error that ended a subcommand.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(error) = error.downcast_ref::<NotReceived>() {
            error.ended().into()
        } else if let Some(error) = error.downcast_ref::<SourceError>() {
            Ended::of(error).into()
        } else {
            Self::Failure
        }
    }
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Well => Self::Ok,
            Ended::NotDone => Self::Failure,
            Ended::Unverified => Self::Verification,
            Ended::NothingSent => Self::NoSource,
            Ended::Distrusted => Self::Refused,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_equal_those_of_the_report() {
        for ended in [Ended::Well, Ended::NotDone, Ended::Unverified, Ended::NothingSent, Ended::Distrusted] {
            assert_eq!(Exit::from(ended) as u8, ended as u8);
        }
    }
}
