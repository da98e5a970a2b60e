//! How far a start has come, and how its processes are traced until then.

use std::time::{Duration, Instant};

use nix::sys::ptrace::Options;
use nix::unistd::Pid;

/// How long the hypervisor is traced if it makes no virtual machine. It has parsed its arguments by then.
const GUARDED: Duration = Duration::from_secs(10);

/// How the launcher, and every process from it, is traced.
pub(super) fn options() -> Options {
    Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
}

/// How far a start has come.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// The launcher has executed nothing yet. `told`: it has been told that it is traced.
    Launching { told: bool },
    /// What it has executed is not the hypervisor.
    Seeking,
    /// This process is the hypervisor.
    Guarding { process: Pid, until: Instant },
    /// All are let go.
    Leaving,
}

impl Stage {
    /// This process has just been given the values.
    pub(super) fn guarding(process: Pid) -> Self {
        Self::Guarding { process, until: Instant::now() + GUARDED }
    }

    /// Whether the hypervisor has the values.
    pub(super) fn is_delivered(self) -> bool {
        matches!(self, Self::Guarding { .. } | Self::Leaving)
    }

    /// Whether a thread is let go as soon as it stops, whose memory has the values or not.
    pub(super) fn leaves(self, holds: bool) -> bool {
        match self {
            Self::Launching { .. } | Self::Seeking => false,
            Self::Guarding { .. } => !holds,
            Self::Leaving => true,
        }
    }
}
