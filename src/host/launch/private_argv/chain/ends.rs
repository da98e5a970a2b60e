//! Handles the breakpoints that show how the started program ends.

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::failure::{Failure, failed};
use super::super::registers;
use super::super::stage::Stage;
use super::super::tracee;
use super::super::watch::{Reached, Watch};
use super::Chain;
use crate::sys::Errno;

impl Chain {
    /// Returns which breakpoint a stopped program has executed: `SIGTRAP` for it comes, or has come.
    pub(super) fn reached(&self, pid: Pid) -> Option<Reached> {
        let watch = self.watch.as_ref().filter(|_| pid == self.main)?;
        watch.reached(pid).ok().flatten()
    }

    /// Handles a process that is about to get a signal. At a breakpoint, the signal is not for the program.
    pub(super) fn at_signal(&mut self, pid: Pid, signal: i32) -> Result<(), Failure> {
        if signal == libc::SIGTRAP
            && let Some(reached) = self.reached(pid)
        {
            return self.at_breakpoint(pid, reached);
        }
        self.resume(pid, Signal::try_from(signal).map_err(|_| Failure::Signal)?)
    }

    /// Handles the started program's `SIGTRAP` at a breakpoint.
    fn at_breakpoint(&mut self, pid: Pid, reached: Reached) -> Result<(), Failure> {
        let watch = self.watch.take();
        if let Some(watch) = &watch {
            clear(watch, pid)?;
        }
        match (self.stage, reached) {
            // Where no breakpoint can be set, it stops at its calls from now on.
            (Stage::Seeking, Reached::Entry) => {
                self.watch = watch.and_then(|watch| watch.linked(pid).ok().flatten());
            }
            (Stage::Seeking, Reached::Exit) => {
                let code = registers::exit_code(pid).map_err(failed("read the program's registers"))?;
                return Err(self.exits(pid, code));
            }
            _ => {}
        }
        self.resume(pid, None)
    }

    /// Handles a process or thread that is about to be created. If the started program creates it, both continue
    /// without breakpoints: it may share the memory, or have a copy.
    pub(super) fn at_creation(&mut self, maker: Pid, created: Pid) -> Result<(), Failure> {
        let is_new = self.tracees.of(created).is_none();
        self.tracees.adopt(created, Some(maker));
        let Some(watch) = self.watch.take_if(|_| maker == self.main) else { return Ok(()) };
        clear(&watch, maker)?;
        if !is_new {
            // Its first stop came before this event, and it was cleared there.
            return Ok(());
        }
        // It stops before its first instruction, or was killed.
        let (pid, status) = loop {
            match tracee::wait(Some(created), true) {
                Ok(Some(waited)) => break waited,
                Ok(None) => {}
                // Its first stop came before this event, and so did its end.
                Err(Errno::ECHILD) => {
                    self.tracees.remove(created);
                    return Ok(());
                }
                Err(errno) => return Err(failed("wait for a process of the program")(errno)),
            }
        };
        if libc::WIFSTOPPED(status) {
            clear(&watch, pid)?;
        }
        self.handle(pid, status)
    }

    /// Handles the first stop of a process or thread, which is before its first instruction. The event of its maker
    /// may come later.
    pub(super) fn at_first_stop(&mut self, pid: Pid) -> Result<(), Failure> {
        self.tracees.adopt(pid, None);
        let Some(watch) = &self.watch else { return Ok(()) };
        clear(watch, pid)?;
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

    /// Handles the started program's end, of which the exit code can still be changed.
    pub(super) fn exits(&mut self, pid: Pid, code: u8) -> Failure {
        self.exiting = Some((pid, code));
        self.ended(format!("ended with exit code {code}"))
    }
}

/// Removes the breakpoints from a stopped process. It is killed if that fails: it could not go on.
fn clear(watch: &Watch, pid: Pid) -> Result<(), Failure> {
    watch.clear(pid).map_err(|errno| {
        _ = kill(pid, Signal::SIGKILL);
        failed("remove a breakpoint from the program")(errno)
    })
}
