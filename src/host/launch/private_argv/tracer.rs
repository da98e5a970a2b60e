//! The tracer's side: it protects itself, takes the values, and follows the launcher ([`super::chain`]).

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
}

fn preparing<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> TraceError {
    move |source| TraceError::Prepare { action, source: source.into() }
}

/// What a program does whose first argument is [`TRACER`]. It should have started its log, where errors go.
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

fn serve() -> Result<ExitCode, TraceError> {
    protect()?;
    let mut launcher = channel()?;
    // The launcher is gone, if any of this fails, and nobody is left to be told.
    let Some(request) = greet(&mut launcher) else { return Ok(ExitCode::SUCCESS) };
    let target = Pid::from_raw(request.launcher.cast_signed());
    if let Err(errno) = ptrace::seize(target, options()) {
        // The launcher tells why.
        _ = launcher.write_all(&(errno as i32).to_ne_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let mut chain = Chain::new(target, launcher, request);
    Ok(match chain.follow() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Before anybody can see that the start has ended.
            tracing::error!("{failure}");
            chain.end();
            ExitCode::FAILURE
        }
    })
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
