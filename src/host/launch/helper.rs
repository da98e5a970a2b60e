//! The tracer process. A program that starts hypervisors also executes itself as the tracer, which writes the private
//! arguments into the hypervisor's memory ([`super::private_argv`]).

use std::process::ExitCode;

use super::private_argv;

/// A process of this program that runs as the tracer.
#[derive(Debug)]
pub struct Helper(());

impl Helper {
    /// Returns a [`Helper`] if the first argument of this process says that this process is the tracer.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        (std::env::args_os().nth(1)? == private_argv::TRACER).then_some(Self(()))
    }

    /// Does the tracer's work. The caller should set up logging first, because errors are logged.
    #[must_use]
    pub fn run(self) -> ExitCode {
        private_argv::trace()
    }
}
