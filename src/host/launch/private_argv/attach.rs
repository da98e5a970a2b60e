//! Does the launcher's part of a traced start: starts a tracer, sends the secret values to the tracer, and lets the
//! tracer attach to this process.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::prctl::{get_dumpable, set_dumpable};
use rustix::process::{PTracer, Pid, set_ptracer};

use super::channel::{GO, Request, read_array};
use super::error::PrivateArgvError;
use super::hidden::Hidden;
use super::obstacle::Obstacle;
use super::tracer::TRACER;
use crate::host::launch::child::forget_child;
use crate::host::launch::image;
use crate::sys::Errno;

/// A tracer that starts early, while this process prepares the program's arguments. The tracer waits for this process's
/// request. Dropping this value ends the tracer. If the value is not used, it must be dropped before a program is
/// executed.
#[derive(Debug)]
pub struct Ahead(io::Result<Starting>);

impl Ahead {
    /// Starts the tracer.
    #[must_use]
    pub fn start() -> Self {
        Self(start())
    }
}

/// A tracer that is starting.
#[derive(Debug)]
struct Starting {
    tracer: UnixStream,
    between: Between,
}

/// The child process that starts the tracer and then exits. Dropping this value waits for the child's exit, so that the
/// executed program inherits no child.
#[derive(Debug)]
struct Between(Child);

impl Drop for Between {
    fn drop(&mut self) {
        // The child's exit status does not matter, because the tracer's messages show whether the tracer was started.
        // If SIGCHLD is ignored, the child has no exit status.
        _ = self.0.wait();
        forget_child();
    }
}

/// A tracer that has attached to this process.
pub(super) struct Tracer(UnixStream);

impl Tracer {
    /// Lets the tracer `ahead` attach to this process. Without `ahead`, starts a tracer first.
    ///
    /// This process is protected against debuggers (`PR_SET_DUMPABLE`), and so also against its tracer. The protection
    /// is removed for the few system calls in which the tracer attaches. During this time, other processes of the same
    /// user can read this process's memory, unless Yama forbids it. But this memory no longer contains the secret
    /// values: the tracer, which is protected, has received them, and this process has wiped its copies. The executed
    /// program is not protected against debuggers either.
    pub(super) fn attach(word: &str, hidden: Hidden, ahead: Option<Ahead>) -> Result<Self, PrivateArgvError> {
        let Ahead(starting) = ahead.unwrap_or_else(Ahead::start);
        let Starting { mut tracer, between } = starting.map_err(PrivateArgvError::Start)?;
        drop(between);
        let pid = read_array(&mut tracer).map(i32::from_ne_bytes).map_err(ended)?;
        let Hidden { replacements, files } = hidden;
        let (launcher, known) = (std::process::id(), image::answer(word));
        let request = Request { launcher, word: word.to_owned(), known, replacements, files };
        request.write(&mut tracer).map_err(ended)?;
        read_array::<1>(&mut tracer).map_err(ended)?;
        drop(request);

        if let Some(pid) = Pid::from_raw(pid) {
            // Yama allows a process to be traced only by its ancestors, and by the process that this call names. On a
            // kernel without Yama, this call fails, and is not needed.
            _ = set_ptracer(PTracer::ProcessID(pid));
        }
        let dumpable = get_dumpable().unwrap_or(true);
        _ = set_dumpable(true);
        let answer = tracer.write_all(&GO).and_then(|()| read_array(&mut tracer));
        // execve(2) makes the process dumpable again for the executed program. If execve(2) fails, this process stays
        // protected.
        _ = set_dumpable(dumpable);
        match answer.map(i32::from_ne_bytes).map_err(ended)? {
            0 => Ok(Self(tracer)),
            errno => {
                let obstacle = Obstacle::find(Path::new("/"));
                Err(PrivateArgvError::Attach { errno: Errno::from_raw(errno), obstacle })
            }
        }
    }

    /// Makes the tracer detach from this process, because the program was not executed.
    pub(super) fn release(mut self) {
        _ = self.0.write_all(&GO);
        // The tracer closes its socket when it has detached, so this call waits until then. If the tracer had died, the
        // kernel would have killed this process.
        _ = read_array::<1>(&mut self.0);
    }
}

/// Starts the tracer through a process that exits immediately, so that the program that this process executes inherits
/// no child.
fn start() -> io::Result<Starting> {
    // execve(2) closes both sockets. Unlike a pipe, a socket cannot be opened through /proc/PID/fd.
    let (tracer, theirs) = UnixStream::pair()?;
    let between = Command::new("/proc/self/exe")
        .arg(TRACER)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Starting { tracer, between: Between(between) })
}

fn ended(_: io::Error) -> PrivateArgvError {
    PrivateArgvError::Ended
}
