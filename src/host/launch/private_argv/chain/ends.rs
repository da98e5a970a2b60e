//! Handles the breakpoints that show how the started program ends.

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::failure::{Failure, failed};
use super::super::stage::Stage;
use super::super::watch::Watch;
use super::Chain;

impl Chain {
    /// Whether a stopped program has executed a breakpoint: `SIGTRAP` for it comes, or has come.
    pub(super) fn is_at_breakpoint(&self, pid: Pid) -> bool {
        let watch = self.watch.as_ref().filter(|_| pid == self.main);
        watch.is_some_and(|watch| watch.is_reached(pid) == Ok(true))
    }

    /// Handles a process that is about to get a signal. At a breakpoint, the signal is not for the program.
    pub(super) fn at_signal(&mut self, pid: Pid, signal: i32) -> Result<(), Failure> {
        if signal != libc::SIGTRAP || !self.is_at_breakpoint(pid) {
            return self.resume(pid, Signal::try_from(signal).map_err(|_| Failure::Signal)?);
        }
        if let Some(watch) = self.watch.take() {
            clear(&watch, pid)?;
            if let Stage::Seeking = self.stage {
                // Where no breakpoint can be set, it stops at its calls from now on.
                self.watch = watch.next(pid).ok().flatten();
            }
        }
        self.resume(pid, None)
    }

    /// Handles a process or thread that is about to be created. If the started program creates it, both continue
    /// without breakpoints: it may share the memory, or have a copy.
    pub(super) fn at_creation(&mut self, maker: Pid, created: Pid) -> Result<(), Failure> {
        self.tracees.adopt(created, Some(maker));
        let Some(watch) = self.watch.take_if(|_| maker == self.main) else { return Ok(()) };
        clear(&watch, maker)?;
        self.copied.push(watch);
        Ok(())
    }

    /// Handles a process or thread that stops before its first instruction. The event of its maker comes before or
    /// after this stop.
    pub(super) fn at_first_stop(&mut self, pid: Pid) -> Result<(), Failure> {
        for watch in self.copied.iter().chain(&self.watch) {
            clear(watch, pid)?;
        }
        if self.tracees.process(pid) == self.main {
            // Both threads stop at their calls: their breakpoints were the same.
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

/// Removes the breakpoints from a stopped process. It is killed if that fails: it could not go on.
fn clear(watch: &Watch, pid: Pid) -> Result<(), Failure> {
    watch.clear(pid).map_err(|errno| {
        _ = kill(pid, Signal::SIGKILL);
        failed("remove a breakpoint from the program")(errno)
    })
}
