//! How far a start has come, and how its processes are traced until then.

use std::time::Duration;

use nix::sys::ptrace::Options;
use nix::sys::time::TimeSpec;
use nix::time::ClockId;
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

/// How the hypervisor is kept from executing another program in its place, or one with values.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Guard {
    /// At the entry to the system call, since a program's arguments would show the values.
    Calls,
    /// At the execution itself: the files are closed then, and no argument has a value. It ends with the hypervisor's
    /// second thread. QEMU makes one before it reads its arguments (`rcu_init_complete()`, `util/rcu.c`), a wrapper makes
    /// none.
    Executions,
}

/// How far a start has come.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// The launcher has executed nothing yet. `told`: it has been told that it is traced.
    Launching { told: bool },
    /// What it has executed is not the hypervisor.
    Seeking,
    /// This process is the hypervisor, and makes the files that it is given.
    Making { process: Pid },
    /// This process is the hypervisor, and has everything. Where there is no clock, there is no end to it.
    Guarding { process: Pid, until: Option<TimeSpec>, by: Guard },
    /// All are let go.
    Leaving,
}

impl Stage {
    /// This process has just been given the values.
    pub(super) fn guarding(process: Pid, by: Guard) -> Self {
        Self::Guarding { process, until: now().map(|now| now + TimeSpec::from_duration(GUARDED)), by }
    }

    /// Whether a process is looked after that may never stop again.
    pub(super) fn is_timed(self) -> bool {
        matches!(self, Self::Guarding { by: Guard::Executions, .. })
    }

    /// Whether the hypervisor has been looked after for long enough.
    pub(super) fn is_over(self) -> bool {
        let Self::Guarding { until: Some(until), .. } = self else { return false };
        now().is_some_and(|now| now > until)
    }

    /// Whether a thread that this one has made shows that it is the hypervisor, which was given files only.
    pub(super) fn ends_with_thread_of(self, process: Pid) -> bool {
        matches!(self, Self::Guarding { process: hypervisor, by: Guard::Executions, .. } if hypervisor == process)
    }

    /// Whether the hypervisor has the values.
    pub(super) fn is_delivered(self) -> bool {
        matches!(self, Self::Guarding { .. } | Self::Leaving)
    }

    /// Whether a thread is let go as soon as it stops, whose memory has the values or not.
    pub(super) fn leaves(self, holds: bool) -> bool {
        match self {
            Self::Launching { .. } | Self::Seeking | Self::Making { .. } => false,
            Self::Guarding { .. } => !holds,
            Self::Leaving => true,
        }
    }

    /// Whether a thread stops at system calls. The calls of the program that was started show how the start ends, once the
    /// program is linked. The calls of the hypervisor and its children show how long it must be traced.
    pub(super) fn stops_at_calls(self, pid: Pid, is_started_program: bool, is_linked: bool) -> bool {
        match self {
            Self::Seeking => is_started_program && is_linked,
            Self::Making { process } => process == pid,
            Self::Guarding { by, .. } => by == Guard::Calls,
            Self::Launching { .. } | Self::Leaving => true,
        }
    }
}

/// The time since the machine was started. `Instant` panics where it cannot be had.
fn now() -> Option<TimeSpec> {
    ClockId::CLOCK_MONOTONIC.now().ok()
}
