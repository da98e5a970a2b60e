//! How a program that starts hypervisors executes itself: as the tracer that puts private arguments in place
//! ([`super::private_argv`]).

use std::process::ExitCode;

use super::private_argv;

/// A process of this program that is the tracer.
#[derive(Debug)]
pub struct Helper(());

impl Helper {
    /// This process, if its first argument says that it is the tracer.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        (std::env::args_os().nth(1)? == private_argv::TRACER).then_some(Self(()))
    }

    /// Does its work. The tracer should have started its log first, where errors go.
    #[must_use]
    pub fn run(self) -> ExitCode {
        private_argv::trace()
    }
}
