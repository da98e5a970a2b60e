//! Exit codes, the same for every verb.

use std::process::ExitCode;

use crate::guest::imported::{Ended, NotReceived};
use crate::guest::source::SourceError;

/// How a program ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// Something could not be done.
    Failure = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// What arrived is not what was sent, or not what is required; on the host, what is to be sent is not there,
    /// cannot be carried, or would be seen.
    Verification = 3,
    /// There is no SMBIOS, or no Type 11 structure in it.
    NoSource = 4,
    /// Refused, because the table is not trusted: a confidential VM, or a container.
    Refused = 5,
}

impl Exit {
    /// The exit code for an error that ended a verb.
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
