//! Handles the events of all processes from the launcher to the hypervisor. The tracer traces all these processes until
//! the hypervisor has the secret values.
//!
//! The launcher may start the hypervisor through wrappers: programs such as `env`, `taskset` or a script, which execute
//! the hypervisor or start it as a child. If a program is executed with a placeholder, the tracer checks the program
//! before its first instruction. If the program's executable file contains the word in [`Request::word`], the program
//! is the hypervisor. The hypervisor gets the values, and the tracer detaches from all other processes.
//!
//! The hypervisor must not execute a program whose arguments would show the values. So the hypervisor is traced until
//! it has created its virtual machine: by then, it has parsed its arguments. If the hypervisor calls execve(2), the
//! tracer kills it at the start of the call, so that no other process sees a value. If the hypervisor got only files,
//! no argument can show a value. So if such a hypervisor calls execve(2), the tracer kills it only after the call. If
//! such a hypervisor creates a second thread, the tracer detaches from the hypervisor.

mod calls;
mod ends;

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::channel::Request;
use super::deliver::{deliver, has_values};
use super::failure::{Failure, failed};
use super::files::Maker;
use super::registers;
use super::stack::Replacement;
use super::stage::{Guard, Stage};
use super::tracee::{self, Ready, is_fault};
use super::tracees::{Place, Tracee, Tracees};
use super::watch::Watch;
use crate::sys::Errno;
use crate::text::escape::ShownPath;

/// Interval at which the tracer checks whether a stopped process has got SIGCONT.
const STOPPED: Duration = Duration::from_millis(5);

/// Maximum number of programs that a message names.
const NAMED: usize = 8;

/// All traced processes, from the launcher to the hypervisor, and the state of the start.
pub(super) struct Chain {
    /// PID of the launcher. The program that the launcher executes keeps this PID.
    main: Pid,
    launcher: UnixStream,
    request: Request,
    stage: Stage,
    tracees: Tracees,
    /// The breakpoints of the started program. If `None`, the program stops at its system calls instead.
    watch: Option<Watch>,
    /// Breakpoints that a new process may have copied from the program that created it. The tracer removes the
    /// breakpoints when the new process stops for the first time.
    copied: Vec<Watch>,
    /// Makes the hypervisor create its files in memory. `None` except while the hypervisor creates these files.
    maker: Option<Maker>,
    /// Path of the program that has the values, for messages.
    hypervisor: ShownPath,
    /// Paths of the executed programs, for messages.
    executed: Vec<String>,
    /// The thread that is about to end the started program, and the exit code of the program.
    exiting: Option<(Pid, u8)>,
}

impl Chain {
    /// Returns a chain with only the launcher, which must already be traced.
    pub(super) fn new(main: Pid, launcher: UnixStream, request: Request) -> Self {
        Self {
            main,
            launcher,
            request,
            stage: Stage::Launching { told: false },
            tracees: Tracees::new(main),
            watch: None,
            copied: Vec::new(),
            maker: None,
            hypervisor: Path::new("the hypervisor").into(),
            executed: Vec::new(),
            exiting: None,
        }
    }

    /// Handles the events of the traced processes until no process is traced. Afterwards the hypervisor runs without a
    /// tracer, or all processes have ended.
    pub(super) fn follow(&mut self) -> Result<(), Failure> {
        self.launcher.set_nonblocking(true).map_err(failed("talk to the launcher"))?;
        ptrace::interrupt(self.main).map_err(failed("stop the launcher"))?;
        while !self.tracees.is_empty() {
            let Some((pid, status)) = self.wait()? else { continue };
            match self.handle(pid, status) {
                // The process was killed after this event: the next call of `wait` reports the end of the process.
                Err(_) if libc::WIFSTOPPED(status) && ptrace::getregs(pid) == Err(Errno::ESRCH) => {}
                Err(Failure::System { action, source }) if self.stage.is_delivered() => {
                    return Err(Failure::Guard { action, source });
                }
                handled => handled?,
            }
        }
        Ok(())
    }

    /// Ends a start that failed: kills the processes that have the secret values. If no process has the values yet,
    /// kills all traced processes. But if the program that the launcher has executed is about to exit, this function
    /// does not kill it: the program exits, and its exit code 0 becomes 1.
    pub(super) fn end(&mut self) {
        let exiting = self.exiting.take();
        if let Some((pid, code)) = exiting
            && code == 0
        {
            _ = registers::set_exit_code(pid, 1);
        }
        let delivered = self.stage.is_delivered();
        let spared = |tracee: &Tracee| exiting.is_some() && tracee.process == self.main;
        self.tracees.kill(|tracee| !spared(tracee) && (tracee.holds || !delivered));
        self.leave();
        if let Some((pid, _)) = exiting {
            _ = self.resume(pid, None);
        }
        while !self.tracees.is_empty() {
            let Ok(Some((pid, status))) = self.wait() else { return };
            _ = self.handle(pid, status);
        }
    }

    /// Waits for an event of any traced process. Returns `None` if the caller must call this function again.
    fn wait(&mut self) -> Result<Option<(Pid, i32)>, Failure> {
        let waits = !self.tracees.any_parked() && !self.stage.is_timed();
        match tracee::next(waits, self.stage.is_delivered()) {
            Ok(Ready::Waited(waited)) => Ok(Some(waited)),
            Ok(Ready::One(pid)) => tracee::wait(Some(pid), true).map_err(failed("wait for the program")),
            Ok(Ready::Unnamed) => self.at_unnamed_signal().map(|()| None),
            Ok(Ready::None) => {
                sleep(STOPPED);
                if self.stage.is_over() {
                    self.leave();
                }
                self.unpark().map(|()| None)
            }
            Err(Errno::ECHILD) => {
                self.tracees.clear();
                Ok(None)
            }
            Err(errno) => Err(failed("wait for the program")(errno)),
        }
    }

    fn handle(&mut self, pid: Pid, status: i32) -> Result<(), Failure> {
        if !libc::WIFSTOPPED(status) {
            return self.gone(pid, status);
        }
        if self.tracees.stops_first(pid) {
            self.at_first_stop(pid)?;
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        if event == 0 && signal == libc::SIGTRAP | 0x80 {
            return self.at_call(pid);
        }
        self.tracees.stopped(pid, Place::of_event(event));
        match event {
            0 => self.at_signal(pid, signal),
            libc::PTRACE_EVENT_EXEC => self.at_execution(pid),
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                if let Some(child) = ptrace::getevent(pid).ok().and_then(|child| i32::try_from(child).ok()) {
                    self.at_creation(pid, Pid::from_raw(child))?;
                }
                if event == libc::PTRACE_EVENT_CLONE && self.stage.ends_with_thread_of(pid) {
                    self.leave();
                }
                self.resume(pid, None)
            }
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => self.park(pid),
            _ => self.resume(pid, None),
        }
    }

    /// Handles the end of a process or thread.
    fn gone(&mut self, pid: Pid, status: i32) -> Result<(), Failure> {
        self.tracees.remove(pid);
        match self.stage {
            Stage::Making { process } if process != pid => return Ok(()),
            Stage::Making { .. } => (self.stage, self.maker) = (Stage::Seeking, None),
            _ => {}
        }
        match self.stage {
            Stage::Launching { .. } | Stage::Seeking if pid != self.main => Ok(()),
            Stage::Seeking if libc::WIFEXITED(status) => {
                Err(self.ended(format!("ended with exit code {}", libc::WEXITSTATUS(status))))
            }
            Stage::Seeking if is_fault(libc::WTERMSIG(status)) => {
                Err(self.ended(format!("was ended by signal {}", libc::WTERMSIG(status))))
            }
            // No error is logged: most likely, a user or another program wanted to end the program with this signal.
            // The program's parent sees the signal.
            Stage::Launching { .. } | Stage::Seeking => {
                self.tracees.kill(|_| true);
                Ok(())
            }
            Stage::Guarding { process, .. } if process == pid => {
                self.leave();
                Ok(())
            }
            Stage::Making { .. } | Stage::Guarding { .. } | Stage::Leaving => Ok(()),
        }
    }

    fn ended(&self, how: String) -> Failure {
        let executed = if self.executed.is_empty() { "none".to_owned() } else { self.executed.join(", ") };
        Failure::Ended { how, word: self.request.word.clone(), executed }
    }

    fn again(&self) -> Failure {
        let (program, word) = (self.hypervisor.clone(), self.request.word.clone());
        Failure::Again { program, word }
    }

    /// Handles a process that is about to get a real-time signal. Only unsafe code could pass a real-time signal on to
    /// a traced process. But if the tracer exits without having waited for this event, the kernel passes the signal on.
    fn at_unnamed_signal(&mut self) -> Result<(), Failure> {
        let is_ready = |pid| tracee::ready(Some(pid), false) == Ok(Ready::Unnamed);
        let Some(stopped) = self.tracees.find(is_ready) else { return Ok(()) };
        self.leave();
        while let Some(other) = self.tracees.find(|pid| pid != stopped) {
            match tracee::wait(Some(other), true) {
                Ok(Some((pid, status))) => self.handle(pid, status)?,
                Ok(None) | Err(_) => self.tracees.remove(other),
            }
        }
        self.clear_watch(stopped)?;
        // If the option `PTRACE_O_EXITKILL` stayed set, the kernel would kill the process when this tracer exits.
        _ = ptrace::setoptions(stopped, Options::empty());
        self.tracees.clear();
        Ok(())
    }

    /// Handles a process that has executed a program, and is stopped before the program's first instruction.
    fn at_execution(&mut self, pid: Pid) -> Result<(), Failure> {
        self.tracees.executed(pid);
        if pid == self.main {
            self.watch = None;
        }
        match self.stage {
            Stage::Launching { .. } => self.stage = Stage::Seeking,
            Stage::Seeking => {}
            // The tracer did not recognise the call of execve(2), for example because a 32-bit program made the call.
            Stage::Guarding { process, .. } if process == pid => return Err(self.again()),
            Stage::Guarding { by, .. } => {
                let found = has_values(pid, &self.request.replacements);
                if by == Guard::Calls
                    && self.tracees.holds(pid)
                    && found.map_err(failed("read a program's arguments"))?
                {
                    return Err(self.again());
                }
                if let Some(tracee) = self.tracees.of(pid) {
                    tracee.holds = false;
                }
                return self.resume(pid, None);
            }
            Stage::Making { .. } | Stage::Leaving => return self.resume(pid, None),
        }
        if self.is_hypervisor(pid)? {
            self.hypervisor = tracee::program(pid);
            if self.request.files.is_empty() {
                self.deliver(pid, &[])?;
            } else {
                let maker = Maker::new(pid, &self.request.files);
                self.maker = Some(maker.map_err(failed("read the program's registers"))?);
                self.stage = Stage::Making { process: pid };
            }
        } else if pid == self.main {
            // If no breakpoint can be set, the program stops at its system calls from its beginning.
            self.watch = Watch::linking(pid).ok().flatten();
        }
        self.resume(pid, None)
    }

    /// Gives the hypervisor its real arguments, and makes the tracer detach from all other processes.
    fn deliver(&mut self, pid: Pid, files: &[Replacement]) -> Result<(), Failure> {
        deliver(pid, self.request.replacements.iter().chain(files))?;
        let guard = if self.request.replacements.is_empty() { Guard::Executions } else { Guard::Calls };
        self.stage = Stage::guarding(pid, guard);
        if let Some(tracee) = self.tracees.of(pid) {
            tracee.holds = true;
        }
        self.interrupt_leaving();
        Ok(())
    }

    /// Whether the executed program is the hypervisor: it got a placeholder as an argument, and its executable file
    /// contains the word in [`Request::word`].
    fn is_hypervisor(&mut self, pid: Pid) -> Result<bool, Failure> {
        let passed_on = tracee::has_argument(pid, self.request.placeholders())
            .map_err(failed("read the program's arguments"))?;
        if (passed_on || pid == self.main) && self.executed.len() < NAMED {
            self.executed.push(tracee::program(pid).to_string());
        }
        if !passed_on {
            return Ok(false);
        }
        if tracee::is_secure(pid).map_err(failed("read the program's auxiliary vector"))? {
            return Err(Failure::Privileges);
        }
        tracee::has_word(pid, &self.request.word, self.request.known)
            .map_err(failed("read the program's file"))
    }

    /// Handles a process that a signal such as SIGSTOP has stopped. The process stays stopped until it gets SIGCONT.
    fn park(&mut self, pid: Pid) -> Result<(), Failure> {
        if self.leaves(pid) {
            return self.resume(pid, None);
        }
        if let Some(tracee) = self.tracees.of(pid) {
            tracee.parked = true;
        }
        Ok(())
    }

    /// Continues the stopped (parked) threads of all processes that have got SIGCONT.
    fn unpark(&mut self) -> Result<(), Failure> {
        for pid in self.tracees.continued() {
            if let Some(tracee) = self.tracees.of(pid) {
                tracee.parked = false;
            }
            self.resume(pid, None)?;
        }
        Ok(())
    }

    /// Whether the tracer detaches from this process as soon as the process stops.
    fn leaves(&self, pid: Pid) -> bool {
        self.stage.leaves(self.tracees.holds(pid))
    }

    /// Makes the tracer detach from all processes.
    fn leave(&mut self) {
        self.stage = Stage::Leaving;
        self.interrupt_leaving();
    }

    /// Stops the processes from which the tracer must detach. ptrace(2) can detach only from a stopped process.
    fn interrupt_leaving(&mut self) {
        let leaving = self.tracees.iter().filter(|(pid, _)| self.leaves(*pid));
        for (pid, tracee) in leaving.map(|(pid, tracee)| (pid, *tracee)).collect::<Vec<_>>() {
            if tracee.parked {
                _ = self.resume(pid, None);
            } else {
                // If a process is already stopped, this call makes it stop again after the tracer has continued it.
                _ = ptrace::interrupt(pid);
            }
        }
    }

    /// Continues a stopped process, and detaches from it if it need not be traced any longer.
    fn resume(&mut self, pid: Pid, signal: impl Into<Option<Signal>>) -> Result<(), Failure> {
        let resumed = if self.leaves(pid) && !self.is_at_breakpoint(pid) {
            self.clear_watch(pid)?;
            self.tracees.remove(pid);
            ptrace::detach(pid, signal)
        } else if self.stage.stops_at_calls(pid, self.tracees.process(pid) == self.main, self.watch.is_some())
        {
            ptrace::syscall(pid, signal)
        } else {
            ptrace::cont(pid, signal)
        };
        match resumed {
            // The process was killed while it was stopped: the next call of `wait` reports the end of the process.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(failed("continue the program")(errno)),
        }
        if let Stage::Launching { told: told @ false } = &mut self.stage {
            *told = true;
            // The launcher executes no program before it gets this message, so the tracer sees every execution.
            _ = self.launcher.write_all(&0_i32.to_ne_bytes());
        }
        Ok(())
    }
}
