//! Exit codes, the same for every verb.

use std::process::ExitCode;

use crate::guest::platform::Refused;
use crate::guest::source::dmi::SourceError;

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
    /// Refused, as nobody vouches for what the table says: a confidential VM, or a container.
    Refused = 5,
}

impl Exit {
    /// The exit code for an error that ended a verb.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        if error.is::<Refused>() {
            return Self::Refused;
        }
        match error.downcast_ref() {
            Some(SourceError::NoSmbios(_) | SourceError::NoTables(_)) => Self::NoSource,
            Some(SourceError::TooLarge { .. }) => Self::Verification,
            _ => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
