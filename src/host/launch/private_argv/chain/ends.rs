//! Handles the breakpoints that show how the program that the launcher has executed (the started program) ends.

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::failure::{Failure, failed};
use super::super::stage::Stage;
use super::super::watch::Watch;
use super::Chain;

impl Chain {
    /// Whether a stopped program has executed a breakpoint. The kernel may report the program's `SIGTRAP` only later.
    pub(super) fn is_at_breakpoint(&self, pid: Pid) -> bool {
        let watch = self.watch.as_ref().filter(|_| pid == self.main);
        watch.is_some_and(|watch| watch.is_reached(pid) == Ok(true))
    }

    /// Handles a process that is about to get a signal. If a breakpoint caused the signal, the process does not get it.
    pub(super) fn at_signal(&mut self, pid: Pid, signal: i32) -> Result<(), Failure> {
        if signal != libc::SIGTRAP || !self.is_at_breakpoint(pid) {
            return self.resume(pid, Signal::try_from(signal).map_err(|_| Failure::Signal)?);
        }
        if let Some(watch) = self.watch.take() {
            clear(&watch, pid)?;
            if let Stage::Seeking = self.stage {
                // If no breakpoint can be set, the program stops at its system calls from now on.
                self.watch = watch.next(pid).ok().flatten();
            }
        }
        self.resume(pid, None)
    }

    /// Handles a process or thread that was just created. If the started program created it, this function removes the
    /// breakpoints from the started program. The created process or thread shares the program's memory, or has a copy
    /// of it. So at the first stop of the created process or thread, the tracer removes the breakpoints from it too
    /// ([`Self::at_first_stop`]).
    pub(super) fn at_creation(&mut self, maker: Pid, created: Pid) -> Result<(), Failure> {
        self.tracees.adopt(created, Some(maker));
        let Some(watch) = self.watch.take_if(|_| maker == self.main) else { return Ok(()) };
        clear(&watch, maker)?;
        self.copied.push(watch);
        Ok(())
    }

    /// Handles a new process or thread that stops before its first instruction. The kernel may report the creation
    /// ([`Self::at_creation`]) before or after this stop.
    pub(super) fn at_first_stop(&mut self, pid: Pid) -> Result<(), Failure> {
        for watch in self.copied.iter().chain(&self.watch) {
            clear(watch, pid)?;
        }
        if self.tracees.process(pid) == self.main {
            // All threads of the program now stop at their system calls, because they shared the removed breakpoints.
            self.watch = None;
        }
        Ok(())
    }

    /// Removes the breakpoints from the started program, which is stopped.
    pub(super) fn clear_watch(&mut self, pid: Pid) -> Result<(), Failure> {
        let watch = self.watch.take_if(|_| pid == self.main);
        watch.map_or(Ok(()), |watch| clear(&watch, pid))
    }
}

/// Removes the breakpoints from a stopped process. If a breakpoint cannot be removed, kills the process, because the
/// process could not continue at this breakpoint.
fn clear(watch: &Watch, pid: Pid) -> Result<(), Failure> {
    watch.clear(pid).map_err(|errno| {
        _ = kill(pid, Signal::SIGKILL);
        failed("remove a breakpoint from the program")(errno)
    })
}
