//! The stages of a start, and how its processes are traced in each stage.

use std::time::Duration;

use nix::sys::ptrace::Options;
use nix::sys::time::TimeSpec;
use nix::time::ClockId;
use nix::unistd::Pid;

/// How long a hypervisor is traced that creates no virtual machine. It has parsed its arguments by then.
const GUARDED: Duration = Duration::from_secs(10);

/// Returns the options with which the launcher and all its descendants are traced.
pub(super) fn options() -> Options {
    Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
}

/// How the tracer prevents the hypervisor from executing another program.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Guard {
    /// At the start of the system call, because the other program's arguments would show the values.
    Calls,
    /// At the execution itself: the files are closed then, and no argument contains a value. This guard ends with the
    /// hypervisor's second thread. QEMU creates one before it reads its arguments (`rcu_init_complete()`,
    /// `util/rcu.c`). A wrapper creates none.
    Executions,
}

/// The stage of a start.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// The launcher has not executed a program yet. `told`: the launcher knows that it is traced.
    Launching { told: bool },
    /// The launcher has executed a program, but not yet the hypervisor.
    Seeking,
    /// This process is the hypervisor, and is creating its files.
    Making { process: Pid },
    /// This process is the hypervisor, and has everything. Without a clock, `until` is `None`, and there is no time
    /// limit.
    Guarding { process: Pid, until: Option<TimeSpec>, by: Guard },
    /// The tracer is detaching from all processes.
    Leaving,
}

impl Stage {
    /// Returns the stage of a process that has just received the values.
    pub(super) fn guarding(process: Pid, by: Guard) -> Self {
        Self::Guarding { process, until: now().map(|now| now + TimeSpec::from_duration(GUARDED)), by }
    }

    /// Whether a time limit applies to a process that may never stop again.
    pub(super) fn is_timed(self) -> bool {
        matches!(self, Self::Guarding { by: Guard::Executions, .. })
    }

    /// Whether the time limit for tracing the hypervisor has passed.
    pub(super) fn is_over(self) -> bool {
        let Self::Guarding { until: Some(until), .. } = self else { return false };
        now().is_some_and(|now| now > until)
    }

    /// Whether a new thread of this process shows that it is the hypervisor. This applies to a hypervisor that got only
    /// files.
    pub(super) fn ends_with_thread_of(self, process: Pid) -> bool {
        matches!(self, Self::Guarding { process: hypervisor, by: Guard::Executions, .. } if hypervisor == process)
    }

    /// Whether the hypervisor has the values.
    pub(super) fn is_delivered(self) -> bool {
        matches!(self, Self::Guarding { .. } | Self::Leaving)
    }

    /// Whether the tracer detaches from a thread as soon as it stops. `holds`: the thread's memory contains the values.
    pub(super) fn leaves(self, holds: bool) -> bool {
        match self {
            Self::Launching { .. } | Self::Seeking | Self::Making { .. } => false,
            Self::Guarding { .. } => !holds,
            Self::Leaving => true,
        }
    }

    /// Whether a thread stops at system calls. The calls of the program that was started show how the start ends, unless
    /// breakpoints show it. The calls of the hypervisor and its children show how long it must be traced.
    pub(super) fn stops_at_calls(self, pid: Pid, is_started_program: bool, has_breakpoints: bool) -> bool {
        match self {
            Self::Seeking => is_started_program && !has_breakpoints,
            Self::Making { process } => process == pid,
            Self::Guarding { by, .. } => by == Guard::Calls,
            Self::Launching { .. } | Self::Leaving => true,
        }
    }
}

/// Returns the time since the machine was started. Unlike this function, `Instant` panics if the clock cannot be read.
fn now() -> Option<TimeSpec> {
    ClockId::CLOCK_MONOTONIC.now().ok()
}
