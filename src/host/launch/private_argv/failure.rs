//! The reasons for which the tracer ends a hypervisor's start.

use std::borrow::Cow;
use std::io;

use super::stack::StackError;
use crate::text::escape::ShownPath;
use crate::text::help::Help;

/// Why the tracer ended a hypervisor's start. No program except the hypervisor can have seen a secret value.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{KILLED}: {0}")]
    Stack(#[from] StackError),
    #[error(
        "{KILLED}: executing it changes its privileges (set-user-ID, set-group-ID or file capabilities), which Linux \
         does not allow for a traced program"
    )]
    Privileges,
    #[error("{KILLED}: cannot {action}: {source}")]
    System { action: &'static str, source: io::Error },
    #[error(
        "smbios-creds-host killed the program, which could no longer be traced: cannot {action}: {source}"
    )]
    Guard { action: &'static str, source: io::Error },
    #[error(
        "{KILLED}: the program, or a program that executes it, got a real-time signal, which cannot be passed on to a \
         traced program"
    )]
    Signal,
    #[error(
        "the start {how}, but none of the executed programs is the hypervisor, which has '{word}' in its file and \
         gets all arguments: {executed}. No program has received the secrets"
    )]
    Ended { how: String, word: String, executed: String },
    #[error("{program} received the secrets, and was killed because it executed another program")]
    Again { program: ShownPath, word: String },
}

impl Help for Failure {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Privileges => Some(
                "grant the capabilities to the process that starts the program (AmbientCapabilities= in a systemd unit), \
                 and start a copy of the program without them"
                    .into(),
            ),
            Self::Again { word, .. } => Some(
                format!(
                    "start the hypervisor itself, or through a program that does not have '{word}' in its file"
                )
                .into(),
            ),
            Self::Stack(_)
            | Self::System { .. }
            | Self::Guard { .. }
            | Self::Signal
            | Self::Ended { .. } => None,
        }
    }
}

/// Beginning of the messages of those failures that end the program before its first instruction.
const KILLED: &str = "smbios-creds-host killed the program before its first instruction, because the private arguments could not be passed \
     to it";

/// Returns a function that turns a kernel error into a [`Failure`]. `action` says what the tracer could not do.
pub(super) fn failed<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Failure {
    move |source| Failure::System { action, source: source.into() }
}
