//! The traced threads, and their states.

use std::collections::BTreeMap;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::tracee;

/// Where a thread has stopped: in a system call, or outside of system calls.
///
/// The kernel reports a stop before a system call and a stop after it in the same way. For every other stop, the event
/// tells whether the thread is in a call. So the thread's previous stop shows whether a stop is before or after a call,
/// and the tracer need not read the registers.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Place {
    /// Before a system call, or in the call. `makes_machine` is true if the call creates a virtual machine.
    InCall { makes_machine: bool },
    /// Outside of system calls.
    OutsideCalls,
}

impl Place {
    /// Returns where a thread is when the kernel stops it for this event (`PTRACE_EVENT_*`, ptrace(2)). For a signal,
    /// `event` is 0.
    pub(super) fn of_event(event: i32) -> Self {
        match event {
            0 | libc::PTRACE_EVENT_STOP => Self::OutsideCalls,
            // The kernel reports every event except a signal and `PTRACE_EVENT_STOP` while the thread is in execve(2),
            // clone(2) or a similar call.
            _ => Self::InCall { makes_machine: false },
        }
    }
}

/// A traced thread.
#[derive(Clone, Copy)]
pub(super) struct Tracee {
    /// The process to which the thread belongs.
    pub(super) process: Pid,
    /// Whether the thread's memory contains the secret values.
    pub(super) holds: bool,
    /// Whether the thread has stopped before. Its first stop is before its first instruction.
    pub(super) has_stopped: bool,
    /// Whether the thread stays stopped until its process gets SIGCONT.
    pub(super) parked: bool,
    /// Where the thread was when it last stopped: in a system call, or outside of system calls.
    pub(super) place: Place,
}

impl Tracee {
    fn new(process: Pid, holds: bool) -> Self {
        Self { process, holds, has_stopped: false, parked: false, place: Place::OutsideCalls }
    }
}

/// All traced threads.
pub(super) struct Tracees(BTreeMap<Pid, Tracee>);

impl Tracees {
    pub(super) fn new(first: Pid) -> Self {
        Self(BTreeMap::from([(first, Tracee::new(first, false))]))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Pid, &Tracee)> {
        self.0.iter().map(|(pid, tracee)| (*pid, tracee))
    }

    /// Returns the first thread for which `is_meant` is true.
    pub(super) fn find(&self, is_meant: impl Fn(Pid) -> bool) -> Option<Pid> {
        self.0.keys().copied().find(|pid| is_meant(*pid))
    }

    pub(super) fn of(&mut self, pid: Pid) -> Option<&mut Tracee> {
        self.0.get_mut(&pid)
    }

    /// Whether this is the first stop of a thread. Adds the thread, if it is not known yet.
    pub(super) fn stops_first(&mut self, pid: Pid) -> bool {
        self.adopt(pid, None);
        self.0.get_mut(&pid).is_some_and(|tracee| !std::mem::replace(&mut tracee.has_stopped, true))
    }

    /// Stores where a thread has stopped.
    pub(super) fn stopped(&mut self, pid: Pid, place: Place) {
        if let Some(tracee) = self.0.get_mut(&pid) {
            tracee.place = place;
        }
    }

    /// Stores that a thread has stopped before or after a system call. Returns where the thread was at its previous
    /// stop.
    pub(super) fn at_call(&mut self, pid: Pid) -> Place {
        let Some(tracee) = self.0.get_mut(&pid) else { return Place::OutsideCalls };
        let before = tracee.place;
        tracee.place = match before {
            Place::OutsideCalls => Place::InCall { makes_machine: false },
            Place::InCall { .. } => Place::OutsideCalls,
        };
        before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn any_parked(&self) -> bool {
        self.0.values().any(|tracee| tracee.parked)
    }

    /// Returns the process to which a thread belongs.
    pub(super) fn process(&self, pid: Pid) -> Pid {
        self.0.get(&pid).map_or(pid, |tracee| tracee.process)
    }

    /// Whether the thread's memory contains the secret values.
    pub(super) fn holds(&self, pid: Pid) -> bool {
        self.0.get(&pid).is_some_and(|tracee| tracee.holds)
    }

    /// Returns the number of traced threads of a process.
    pub(super) fn threads(&self, process: Pid) -> usize {
        self.0.values().filter(|tracee| tracee.process == process).count()
    }

    /// Adds a process or thread that is now traced. `maker` is the thread that created the process or thread, if known.
    pub(super) fn adopt(&mut self, pid: Pid, maker: Option<Pid>) {
        let made_with_values = maker.is_some_and(|maker| self.holds(maker));
        if let Some(known) = self.0.get_mut(&pid) {
            known.holds |= made_with_values;
            return;
        }
        let process = tracee::process(pid).unwrap_or(pid);
        let parent = tracee::parent(pid);
        let holds =
            made_with_values || self.holds(process) || parent.is_some_and(|parent| self.holds(parent));
        self.0.insert(pid, Tracee::new(process, holds));
    }

    pub(super) fn remove(&mut self, pid: Pid) {
        self.0.remove(&pid);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes all threads of a process except the main thread, because execve(2) has ended the other threads.
    pub(super) fn executed(&mut self, pid: Pid) {
        self.0.retain(|&other, tracee| other == pid || tracee.process != pid);
    }

    /// Returns the stopped (parked) threads of all processes that have got SIGCONT.
    pub(super) fn continued(&self) -> Vec<Pid> {
        let parked = || self.iter().filter(|(_, tracee)| tracee.parked);
        let processes: Vec<Pid> = parked()
            .filter(|(pid, _)| tracee::is_continued(*pid))
            .map(|(_, tracee)| tracee.process)
            .collect();
        parked().filter(|(_, tracee)| processes.contains(&tracee.process)).map(|(pid, _)| pid).collect()
    }

    /// Kills the processes of those threads for which `who` returns true.
    pub(super) fn kill(&self, who: impl Fn(&Tracee) -> bool) {
        for (_, tracee) in self.iter().filter(|(_, tracee)| who(tracee)) {
            _ = kill(tracee.process, Signal::SIGKILL);
        }
    }
}
