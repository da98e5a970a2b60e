//! The threads that are traced, and what is known of each.

use std::collections::BTreeMap;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::tracee;

/// Where a thread has stopped.
///
/// The kernel reports a system call by the same stop before and after it, and every other stop is either in a call or
/// not in one. So it is known which of the two the next stop is, and no registers have to be read to find out.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Place {
    /// Before a system call, or after it has been resumed there. `makes_machine`: the call makes a virtual machine.
    InCall { makes_machine: bool },
    /// Anywhere else.
    OutsideCalls,
}

impl Place {
    /// Where a thread is that stops for this event (`PTRACE_EVENT_*`, ptrace(2)). Signals have none.
    pub(super) fn of_event(event: i32) -> Self {
        match event {
            0 | libc::PTRACE_EVENT_STOP => Self::OutsideCalls,
            // Those of execve(2), clone(2) and their like.
            _ => Self::InCall { makes_machine: false },
        }
    }
}

/// A thread that is traced.
#[derive(Clone, Copy)]
pub(super) struct Tracee {
    /// Its process.
    pub(super) process: Pid,
    /// Whether its memory has the values.
    pub(super) holds: bool,
    /// Whether it is stopped until SIGCONT comes.
    pub(super) parked: bool,
    /// Where it has stopped last.
    pub(super) place: Place,
}

/// All threads that are traced.
pub(super) struct Tracees(BTreeMap<Pid, Tracee>);

impl Tracees {
    pub(super) fn new(first: Pid) -> Self {
        let tracee = Tracee { process: first, holds: false, parked: false, place: Place::OutsideCalls };
        Self(BTreeMap::from([(first, tracee)]))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Pid, &Tracee)> {
        self.0.iter().map(|(pid, tracee)| (*pid, tracee))
    }

    /// The first one that is meant.
    pub(super) fn find(&self, is_meant: impl Fn(Pid) -> bool) -> Option<Pid> {
        self.0.keys().copied().find(|pid| is_meant(*pid))
    }

    pub(super) fn of(&mut self, pid: Pid) -> Option<&mut Tracee> {
        self.0.get_mut(&pid)
    }

    /// Notes where a thread has stopped.
    pub(super) fn stopped(&mut self, pid: Pid, place: Place) {
        if let Some(tracee) = self.0.get_mut(&pid) {
            tracee.place = place;
        }
    }

    /// A thread has stopped before a system call, or after one. Returns where it was until then.
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

    /// The process of a thread.
    pub(super) fn process(&self, pid: Pid) -> Pid {
        self.0.get(&pid).map_or(pid, |tracee| tracee.process)
    }

    /// Whether its memory has the values.
    pub(super) fn holds(&self, pid: Pid) -> bool {
        self.0.get(&pid).is_some_and(|tracee| tracee.holds)
    }

    /// How many threads of a process there are.
    pub(super) fn threads(&self, process: Pid) -> usize {
        self.0.values().filter(|tracee| tracee.process == process).count()
    }

    /// Notes a process or thread that the kernel traces now. `maker` is the thread that has made it, if that is known.
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
        self.0.insert(pid, Tracee { process, holds, parked: false, place: Place::OutsideCalls });
    }

    pub(super) fn remove(&mut self, pid: Pid) {
        self.0.remove(&pid);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets the other threads of a process that executes a program: they are gone.
    pub(super) fn executed(&mut self, pid: Pid) {
        self.0.retain(|&other, tracee| other == pid || tracee.process != pid);
    }

    /// Those that are stopped, and for which SIGCONT has come.
    pub(super) fn continued(&self) -> Vec<Pid> {
        let parked = || self.iter().filter(|(_, tracee)| tracee.parked);
        let processes: Vec<Pid> = parked()
            .filter(|(pid, _)| tracee::is_continued(*pid))
            .map(|(_, tracee)| tracee.process)
            .collect();
        parked().filter(|(_, tracee)| processes.contains(&tracee.process)).map(|(pid, _)| pid).collect()
    }

    /// Kills the processes of some threads.
    pub(super) fn kill(&self, who: impl Fn(&Tracee) -> bool) {
        for (_, tracee) in self.iter().filter(|(_, tracee)| who(tracee)) {
            _ = kill(tracee.process, Signal::SIGKILL);
        }
    }
}
