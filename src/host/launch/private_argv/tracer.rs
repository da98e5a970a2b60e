//! The tracer process: protects itself, receives the secret values, and traces the launcher ([`super::chain`]).

use std::fs::read_dir;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use nix::libc::STDERR_FILENO;
use nix::sys::prctl::set_dumpable;
use nix::sys::ptrace;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, close};

use super::chain::Chain;
use super::channel::{GO, Request, read_array};
use super::stage::options;
use crate::text::help::Help as _;

/// First argument with which this program executes itself as the tracer. The new process then calls [`trace`].
pub const TRACER: &str = "private-argv-tracer";

/// Second argument of the process that traces the launcher. A process whose only argument is [`TRACER`] does not trace:
/// it only starts the process that traces the launcher.
const DETACHED: &str = "detached";

/// Why the tracer process ended before it traced the launcher.
#[derive(Debug, thiserror::Error)]
enum TraceError {
    #[error("'{TRACER}' is an internal command that only this program itself may use, to start a hypervisor")]
    NotForPeople,
    #[error("the tracer that passes the private arguments cannot {action}: {source}")]
    Prepare { action: &'static str, source: io::Error },
}

fn preparing<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> TraceError {
    move |source| TraceError::Prepare { action, source: source.into() }
}

/// Runs the tracer. The caller has checked that the program's first argument is [`TRACER`]. The caller should set up
/// logging first, because errors are logged.
pub fn trace() -> ExitCode {
    let done = match std::env::args_os().nth(2) {
        None => detach().map(|()| ExitCode::SUCCESS),
        Some(argument) if argument == DETACHED => serve(),
        Some(_) => Err(TraceError::NotForPeople),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the tracing process as an orphan, so that the tracing process does not become a child of the launcher.
fn detach() -> Result<(), TraceError> {
    channel()?;
    Command::new("/proc/self/exe")
        .args([TRACER, DETACHED])
        .stdout(Stdio::null())
        .spawn()
        .map(drop)
        .map_err(preparing("start"))
}

/// Returns the launcher's socket, which is standard input.
fn channel() -> Result<UnixStream, TraceError> {
    let stream = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    // Only a socket has an address, so this check refuses a standard input that is not a socket.
    stream.and_then(|stream| stream.local_addr().map(|_| stream)).map_err(|_| TraceError::NotForPeople)
}

fn serve() -> Result<ExitCode, TraceError> {
    protect()?;
    let mut launcher = channel()?;
    // If the tracer cannot exchange messages with the launcher, the launcher no longer exists, and no process needs an
    // error message.
    let Some(request) = greet(&mut launcher) else { return Ok(ExitCode::SUCCESS) };
    let target = Pid::from_raw(request.launcher.cast_signed());
    if let Err(errno) = ptrace::seize(target, options()) {
        // The launcher gets the error's number, and reports the error.
        _ = launcher.write_all(&(errno as i32).to_ne_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let mut chain = Chain::new(target, launcher, request);
    Ok(match chain.follow() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The tracer logs the error before it calls `end`, so before other processes can see that the start has
            // failed.
            tracing::error!(help = %failure.help().unwrap_or_default(), "{failure}");
            chain.end();
            ExitCode::FAILURE
        }
    })
}

/// Forbids core dumps and debuggers, and closes descriptors inherited from the launcher. If the writing end of a pipe
/// stayed open in the tracer, the pipe's reader would wait until the tracer exits.
fn protect() -> Result<(), TraceError> {
    set_dumpable(false).map_err(preparing("forbid debuggers"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(preparing("set the core dump limit to 0"))?;
    // A signal for the whole process group (Ctrl-C, systemd's SIGTERM) must not end the tracer before the launcher. The
    // tracer ends when the launcher ends. If the tracer ended before the launcher, the kernel would kill the launcher,
    // which would look like a crash.
    SigSet::all().thread_block().map_err(preparing("block signals"))?;
    let descriptors = read_dir("/proc/self/fd").map_err(preparing("list its file descriptors"))?;
    let descriptors: Vec<RawFd> =
        descriptors.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for descriptor in descriptors.into_iter().filter(|&descriptor| descriptor > STDERR_FILENO) {
        // close(2) fails for the descriptor with which `/proc/self/fd` was listed, because this descriptor is already
        // closed.
        _ = close(descriptor);
    }
    Ok(())
}

/// Receives the launcher's request with the secret values. Returns when the launcher is ready to be traced. Returns
/// `None` if the launcher has ended.
fn greet(launcher: &mut UnixStream) -> Option<Request> {
    launcher.write_all(&std::process::id().to_ne_bytes()).ok()?;
    let request = Request::read(launcher).ok()?;
    launcher.write_all(&GO).ok()?;
    read_array::<1>(launcher).ok()?;
    Some(request)
}
