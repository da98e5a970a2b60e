//! The launcher's side: a tracer is started, given the values, and attached.

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
use crate::sys::Errno;

/// A tracer that starts while this process prepares what it is for, and waits to be told. It ends if this is dropped,
/// which must be done before a program is executed.
#[derive(Debug)]
pub struct Ahead(io::Result<Starting>);

impl Ahead {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        Self(start())
    }
}

/// A tracer that starts.
#[derive(Debug)]
struct Starting {
    tracer: UnixStream,
    between: Between,
}

/// The process that has started the tracer, which ends at once. It is waited for, so that a program that is executed
/// here inherits no child.
#[derive(Debug)]
struct Between(Child);

impl Drop for Between {
    fn drop(&mut self) {
        // How it ended does not matter: it is the tracer's word that counts. Where SIGCHLD is ignored there is no telling.
        _ = self.0.wait();
        forget_child();
    }
}

/// A tracer that has attached to this process.
pub(super) struct Tracer(UnixStream);

impl Tracer {
    /// Starts a tracer, unless one was started ahead, and lets it attach.
    ///
    /// The process is protected against debuggers (`PR_SET_DUMPABLE`), its tracer among them, so that is taken back
    /// for the few system calls in which the tracer attaches. Others of the same user could look into this process
    /// then, where Yama does not forbid it. There is nothing left to see: the tracer, which is protected, has the
    /// values, and ours are wiped. The program itself will not be protected any better, once it is executed.
    pub(super) fn attach(word: &str, hidden: Hidden, ahead: Option<Ahead>) -> Result<Self, PrivateArgvError> {
        let Ahead(starting) = ahead.unwrap_or_else(Ahead::start);
        let Starting { mut tracer, between } = starting.map_err(PrivateArgvError::Start)?;
        drop(between);
        let pid = read_array(&mut tracer).map(i32::from_ne_bytes).map_err(ended)?;
        let Hidden { replacements, files } = hidden;
        let request = Request { launcher: std::process::id(), word: word.to_owned(), replacements, files };
        request.write(&mut tracer).map_err(ended)?;
        read_array::<1>(&mut tracer).map_err(ended)?;
        drop(request);

        if let Some(pid) = Pid::from_raw(pid) {
            // Yama: a process may be traced by its ancestors, and whom it names. Without Yama there is no such call.
            _ = set_ptracer(PTracer::ProcessID(pid));
        }
        let dumpable = get_dumpable().unwrap_or(true);
        _ = set_dumpable(true);
        let answer = tracer.write_all(&GO).and_then(|()| read_array(&mut tracer));
        // execve(2) makes it what the program needs, but a call that fails comes back.
        _ = set_dumpable(dumpable);
        match answer.map(i32::from_ne_bytes).map_err(ended)? {
            0 => Ok(Self(tracer)),
            errno => {
                let obstacle = Obstacle::find(Path::new("/"));
                Err(PrivateArgvError::Attach { errno: Errno::from_raw(errno), obstacle })
            }
        }
    }

    /// Makes the tracer let go of this process, since the program was not executed.
    pub(super) fn release(mut self) {
        _ = self.0.write_all(&GO);
        // It closes its end when it has let go. Were it dead, so would be this process.
        _ = read_array::<1>(&mut self.0);
    }
}

/// Starts the tracer by way of a process that ends at once, so that the program inherits no child.
fn start() -> io::Result<Starting> {
    // Both ends are closed by execve(2), and no path leads to them, as one leads to a pipe (/proc/PID/fd).
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
