//! The stages of starting a hypervisor, and how the processes are traced in each stage.

use std::time::Duration;

use nix::sys::ptrace::Options;
use nix::sys::time::TimeSpec;
use nix::time::ClockId;
use nix::unistd::Pid;

/// How long the tracer traces a hypervisor that does not create a virtual machine. After this time, the hypervisor has
/// parsed its arguments.
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
    /// If the hypervisor calls execve(2), the tracer kills it at the start of the call, because the arguments of the
    /// other program could show the secret values.
    Calls,
    /// If the hypervisor calls execve(2), the tracer kills it only after the call has succeeded. At this point, the
    /// kernel has closed the files with the secret values, and no argument contains a secret value. If the hypervisor
    /// creates a second thread, the tracer detaches from the hypervisor. QEMU creates a second thread before it reads
    /// its arguments (`rcu_init_complete()`, `util/rcu.c`). A wrapper creates no thread before it executes QEMU.
    Executions,
}

/// The stage that the start of a hypervisor has reached.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// The launcher has not executed a program yet. `told` is true if the launcher knows that it is traced.
    Launching { told: bool },
    /// The launcher has executed a program, but not yet the hypervisor.
    Seeking,
    /// `process` is the hypervisor, and is creating its files.
    Making { process: Pid },
    /// `process` is the hypervisor, and has all secret values. After the time `until`, the tracer detaches. If the
    /// clock cannot be read, `until` is `None`, and there is no time limit.
    Guarding { process: Pid, until: Option<TimeSpec>, by: Guard },
    /// The tracer is detaching from all processes.
    Leaving,
}

impl Stage {
    /// Returns the stage of a start whose hypervisor, `process`, has just received the secret values.
    pub(super) fn guarding(process: Pid, by: Guard) -> Self {
        Self::Guarding { process, until: now().map(|now| now + TimeSpec::from_duration(GUARDED)), by }
    }

    /// Whether a time limit applies to a hypervisor that may cause no further event, so that the tracer itself must
    /// check the time.
    pub(super) fn is_timed(self) -> bool {
        matches!(self, Self::Guarding { by: Guard::Executions, .. })
    }

    /// Whether the time limit for tracing the hypervisor has passed.
    pub(super) fn is_over(self) -> bool {
        let Self::Guarding { until: Some(until), .. } = self else { return false };
        now().is_some_and(|now| now > until)
    }

    /// Whether a new thread of this process shows that tracing can end. This is true only for a hypervisor that got
    /// files, but no secret arguments.
    pub(super) fn ends_with_thread_of(self, process: Pid) -> bool {
        matches!(self, Self::Guarding { process: hypervisor, by: Guard::Executions, .. } if hypervisor == process)
    }

    /// Whether the hypervisor has the secret values.
    pub(super) fn is_delivered(self) -> bool {
        matches!(self, Self::Guarding { .. } | Self::Leaving)
    }

    /// Whether the tracer detaches from a thread as soon as the thread stops. `holds` is true if the thread's memory
    /// contains the secret values.
    pub(super) fn leaves(self, holds: bool) -> bool {
        match self {
            Self::Launching { .. } | Self::Seeking | Self::Making { .. } => false,
            Self::Guarding { .. } => !holds,
            Self::Leaving => true,
        }
    }

    /// Whether a thread stops at its system calls. The calls of the started program (the program that the launcher has
    /// executed) show how this program ends. If the program has breakpoints, the breakpoints show this end instead. The
    /// calls of the hypervisor and of its children show how long the tracer must trace these processes.
    pub(super) fn stops_at_calls(self, pid: Pid, is_started_program: bool, has_breakpoints: bool) -> bool {
        match self {
            Self::Seeking => is_started_program && !has_breakpoints,
            // The hypervisor may end before it has all files. The start then goes back to `Seeking`, in which the
            // tracer must see how the started program ends.
            Self::Making { process } => process == pid || (is_started_program && !has_breakpoints),
            Self::Guarding { by, .. } => by == Guard::Calls,
            Self::Launching { .. } | Self::Leaving => true,
        }
    }
}

/// Returns the time since the machine was started, or `None` if the clock cannot be read. In this case, `Instant` would
/// panic.
fn now() -> Option<TimeSpec> {
    ClockId::CLOCK_MONOTONIC.now().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hypervisor may be killed while it creates its files, and the started program may then end with exit code 0.
    #[test]
    fn started_program_stops_at_its_calls_while_another_process_is_made_the_hypervisor() {
        let [hypervisor, started, other] = [7, 8, 9].map(Pid::from_raw);
        let making = Stage::Making { process: hypervisor };
        assert!(making.stops_at_calls(hypervisor, false, false));
        assert!(making.stops_at_calls(started, true, false));
        assert!(!making.stops_at_calls(started, true, true), "its breakpoints show its end");
        assert!(!making.stops_at_calls(other, false, false));
    }
}
