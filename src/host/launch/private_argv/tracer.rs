//! The tracer's side: it waits for the program to be executed, puts the values on its stack, and lets go.

use std::fs::{File, OpenOptions, read_dir, read_to_string};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use nix::libc::{PTRACE_EVENT_EXEC, STDERR_FILENO};
use nix::sys::prctl::set_dumpable;
use nix::sys::ptrace::{self, Options};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, close};
use zeroize::Zeroizing;

use super::channel::{GO, Request, read_array};
use super::stack::{StackError, relocate};
use crate::sys::Errno;

/// The first argument with which the program executes itself as the tracer, and calls [`trace`].
pub const TRACER: &str = "private-argv-tracer";

/// The second argument of the process that does the tracing. The one without it only starts this one.
const DETACHED: &str = "detached";

/// Why the tracer gave up.
#[derive(Debug, thiserror::Error)]
enum TraceError {
    #[error("'{TRACER}' is what this program calls itself with, to start a hypervisor; it is not for people")]
    NotForPeople,
    #[error("the tracer that puts private arguments in place cannot {action}: {source}")]
    Prepare { action: &'static str, source: io::Error },
    #[error("the program was killed before its first instruction, without its private arguments: {0}")]
    Killed(#[from] Failure),
}

/// Why the values could not be put in place.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Stack(#[from] StackError),
    #[error(
        "executing it changes its privileges (set-user-ID, set-group-ID or file capabilities), which Linux does \
         not grant to a program that is traced: give them to whoever starts it (AmbientCapabilities= in a systemd \
         unit), and start a copy of the program without them"
    )]
    Privileges,
    #[error("cannot {action}: {source}")]
    System { action: &'static str, source: io::Error },
}

fn preparing<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> TraceError {
    move |source| TraceError::Prepare { action, source: source.into() }
}

fn failed<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Failure {
    move |source| Failure::System { action, source: source.into() }
}

/// What a program does whose first argument is [`TRACER`]. It should have started its log, where errors go.
pub fn trace() -> ExitCode {
    let done = match std::env::args_os().nth(2) {
        None => detach(),
        Some(argument) if argument == DETACHED => serve(),
        Some(_) => Err(TraceError::NotForPeople),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the tracer as an orphan.
fn detach() -> Result<(), TraceError> {
    channel()?;
    Command::new("/proc/self/exe")
        .args([TRACER, DETACHED])
        .stdout(Stdio::null())
        .spawn()
        .map(drop)
        .map_err(preparing("start"))
}

/// The launcher's socket, which is standard input.
fn channel() -> Result<UnixStream, TraceError> {
    let stream = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    // Only a socket has an address.
    stream.and_then(|stream| stream.local_addr().map(|_| stream)).map_err(|_| TraceError::NotForPeople)
}

fn serve() -> Result<(), TraceError> {
    protect()?;
    let mut launcher = channel()?;
    // The launcher is gone, if any of this fails, and nobody is left to be told.
    let Some(request) = greet(&mut launcher) else { return Ok(()) };
    let target = Pid::from_raw(request.launcher.cast_signed());
    let options = Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD;
    if let Err(errno) = ptrace::seize(target, options) {
        // The launcher tells why.
        _ = launcher.write_all(&(errno as i32).to_ne_bytes());
        return Ok(());
    }
    match follow(target, &mut launcher) {
        Ok(End::Executed) => {}
        Ok(End::Gone) => return Ok(()),
        Ok(End::Released) => return ptrace::detach(target, None).map_err(preparing("let go")),
        Err(failure) => return Err(kill_target(target, failure)),
    }
    let placed = place(target, &request)
        .and_then(|()| ptrace::detach(target, None).map_err(failed("let go of the program")));
    match placed {
        // It was killed in the meantime, by somebody who meant to.
        Err(_) if is_gone(target) => Ok(()),
        placed => placed.map_err(|failure| kill_target(target, failure)),
    }
}

/// No core dump and no debugger, and nothing of the launcher's held: a pipe whose writing end were open here would
/// look open to its reader, for longer than the launcher meant it to.
fn protect() -> Result<(), TraceError> {
    set_dumpable(false).map_err(preparing("forbid debuggers"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(preparing("set the core dump limit to 0"))?;
    // A signal for the whole group (Ctrl-C, systemd's SIGTERM) is for the launcher. This process ends when the
    // launcher does, and must not before: the launcher would then be killed, and its end look like a crash.
    SigSet::all().thread_block().map_err(preparing("block signals"))?;
    let descriptors = read_dir("/proc/self/fd").map_err(preparing("list its descriptors"))?;
    let descriptors: Vec<RawFd> =
        descriptors.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for descriptor in descriptors.into_iter().filter(|&descriptor| descriptor > STDERR_FILENO) {
        // The folder's own is closed already.
        _ = close(descriptor);
    }
    Ok(())
}

/// Takes the values, and returns when the launcher is ready to be traced.
fn greet(launcher: &mut UnixStream) -> Option<Request> {
    launcher.write_all(&std::process::id().to_ne_bytes()).ok()?;
    let request = Request::read(launcher).ok()?;
    launcher.write_all(&GO).ok()?;
    read_array::<1>(launcher).ok()?;
    Some(request)
}

/// How the launcher went on.
enum End {
    /// It is the program now, before its first instruction.
    Executed,
    /// It could not execute the program.
    Released,
    /// It is dead.
    Gone,
}

/// Lets the launcher run from system call to system call, until it has executed the program.
///
/// A stop at each of them is how a launcher whose execve(2) failed gets heard: it writes a byte, and that is looked
/// for. It makes fewer than ten.
fn follow(target: Pid, launcher: &mut UnixStream) -> Result<End, Failure> {
    let waiting = failed("wait for the program");
    launcher.set_nonblocking(true).map_err(failed("talk to the launcher"))?;
    ptrace::interrupt(target).map_err(failed("stop the launcher"))?;
    let mut told = false;
    loop {
        let signal = match waitpid(target, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_EXEC)) => return Ok(End::Executed),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => {
                return Ok(End::Gone);
            }
            Ok(WaitStatus::Stopped(_, signal)) => Some(signal),
            Ok(_) if told && gave_up(launcher) => return Ok(End::Released),
            Ok(_) => None,
            Err(errno) => return Err(waiting(errno)),
        };
        match ptrace::syscall(target, signal) {
            // Killed while it was stopped: the next wait tells.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(waiting(errno)),
        }
        if !told {
            told = true;
            // It waits for this, so that nothing is executed before every execution is seen.
            _ = launcher.write_all(&0_i32.to_ne_bytes());
        }
    }
}

/// Whether the launcher has sent its byte, without waiting for it.
fn gave_up(launcher: &mut UnixStream) -> bool {
    let nothing_yet = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
    !launcher.read_exact(&mut [0]).is_err_and(nothing_yet)
}

/// Gives the stopped program its arguments.
fn place(target: Pid, request: &Request) -> Result<(), Failure> {
    let mut registers = ptrace::getregs(target).map_err(failed("read the program's registers"))?;
    let pointer = stack_pointer(&mut registers);
    let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{target}/mem"));
    let memory = memory.map_err(failed("open the program's memory"))?;
    let stack = read_stack(target, &memory, *pointer).map_err(failed("read the program's stack"))?;
    let relocated = relocate(&stack, *pointer, request.arguments, &request.replacements)?;
    if relocated.secure && !has_no_new_privileges(target) {
        return Err(Failure::Privileges);
    }
    // Where this starts, below all that there is, the kernel makes the stack grow, to the limit of this process.
    memory
        .write_all_at(&relocated.bytes, relocated.stack_pointer)
        .map_err(failed("write to the program's stack"))?;
    *pointer = relocated.stack_pointer;
    ptrace::setregs(target, registers).map_err(failed("set the program's registers"))
}

/// Whether a process gains no privileges by executing anything, traced or not (`PR_SET_NO_NEW_PRIVS`). File
/// capabilities, which are then without effect, make the kernel say `AT_SECURE` all the same.
fn has_no_new_privileges(target: Pid) -> bool {
    read_to_string(format!("/proc/{target}/status"))
        .is_ok_and(|status| status.lines().any(|line| line == "NoNewPrivs:\t1"))
}

/// What is at this address and above, as far as the stack goes.
fn read_stack(target: Pid, memory: &File, pointer: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let maps = read_to_string(format!("/proc/{target}/maps"))?;
    let end = maps.lines().find_map(|line| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let at = |text| u64::from_str_radix(text, 16).ok();
        let end = at(end)?;
        (at(start)?..end).contains(&pointer).then_some(end)
    });
    let size = end.and_then(|end| usize::try_from(end - pointer).ok()).ok_or(ErrorKind::InvalidData)?;
    let mut stack = Zeroizing::new(vec![0; size]);
    memory.read_exact_at(&mut stack, pointer)?;
    Ok(stack)
}

/// Whether the stopped program has been killed from outside: it is then stopped no more.
fn is_gone(target: Pid) -> bool {
    ptrace::getregs(target) == Err(Errno::ESRCH)
}

/// Kills the program. The kernel would do so as well, at the end of this process.
fn kill_target(target: Pid, failure: Failure) -> TraceError {
    _ = kill(target, Signal::SIGKILL);
    failure.into()
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(registers: &mut nix::libc::user_regs_struct) -> &mut u64 {
    &mut registers.rsp
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(registers: &mut nix::libc::user_regs_struct) -> &mut u64 {
    &mut registers.sp
}
