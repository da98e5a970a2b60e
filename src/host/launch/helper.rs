//! How a program that starts hypervisors executes itself: as the tracer that puts private arguments in place
//! ([`super::private_argv`]).

use std::process::ExitCode;

use super::private_argv;

/// What a process of this program is, by its first argument.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Helper {
    /// It puts private arguments in place.
    Tracer,
}

impl Helper {
    /// What this process is, if it is a helper.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let first = std::env::args_os().nth(1)?;
        match first.to_str()? {
            private_argv::TRACER => Some(Self::Tracer),
            _ => None,
        }
    }

    /// Does its work. The tracer should have started its log first, where errors go.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self {
            Self::Tracer => private_argv::trace(),
        }
    }
}
