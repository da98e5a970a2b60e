//! Handles traced threads that are stopped before or after a system call.

use nix::unistd::Pid;

use super::super::channel::gave_up;
use super::super::deliver::passes_on;
use super::super::failure::{Failure, failed};
use super::super::registers::{self, Call};
use super::super::stage::Stage;
use super::super::tracees::Place;
use super::Chain;

impl Chain {
    /// Handles a thread that is stopped before or after a system call.
    pub(super) fn at_call(&mut self, pid: Pid) -> Result<(), Failure> {
        let before = self.tracees.at_call(pid);
        match self.stage {
            Stage::Launching { told: true } if gave_up(&mut self.launcher) => self.leave(),
            Stage::Making { process } if process == pid => self.make_files(pid)?,
            Stage::Launching { .. } | Stage::Making { .. } | Stage::Leaving => {}
            Stage::Seeking | Stage::Guarding { .. } => match before {
                Place::OutsideCalls => self.before_call(pid)?,
                Place::InCall { makes_machine } => self.after_call(pid, makes_machine)?,
            },
        }
        self.resume(pid, None)
    }

    /// Handles a thread that is about to make a system call.
    fn before_call(&mut self, pid: Pid) -> Result<(), Failure> {
        let process = self.tracees.process(pid);
        let call = registers::call(pid).map_err(failed("read the program's registers"))?;
        match (self.stage, call) {
            (Stage::Seeking, Call::Exit { code, group })
                if process == self.main && (group || self.tracees.threads(process) == 1) =>
            {
                self.exiting = Some((pid, code));
                return Err(self.ended(format!("ended with exit code {code}")));
            }
            (Stage::Guarding { process: hypervisor, .. }, Call::Execute { lists }) => {
                let passed_on = || passes_on(pid, lists, &self.request.replacements);
                if process == hypervisor || passed_on().map_err(failed("read a program's memory"))? {
                    return Err(self.again());
                }
            }
            (Stage::Guarding { .. }, Call::MakesMachine) => {
                self.tracees.stopped(pid, Place::InCall { makes_machine: true });
            }
            _ => {}
        }
        Ok(())
    }

    /// Handles a thread that is stopped after a system call.
    fn after_call(&mut self, pid: Pid, makes_machine: bool) -> Result<(), Failure> {
        let made = || registers::has_succeeded(pid).map_err(failed("read the program's registers"));
        if self.stage.is_over() || (makes_machine && made()?) {
            self.leave();
        }
        Ok(())
    }

    /// Lets the hypervisor do the next step of creating its files. When all files exist, gives the hypervisor its real
    /// arguments.
    fn make_files(&mut self, pid: Pid) -> Result<(), Failure> {
        let Some(maker) = &mut self.maker else { return Ok(()) };
        if !maker.at_call().map_err(failed("create files in memory for the program"))? {
            return Ok(());
        }
        let files = maker.fill(&self.request.files).map_err(failed("write files in memory for it"))?;
        self.maker = None;
        self.deliver(pid, &files)
    }
}
