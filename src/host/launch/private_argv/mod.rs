//! Arguments that are in no `/proc/PID/cmdline`: not in `ps`, the journal's `_CMDLINE` or the record of a core dump.
//!
//! The program is executed with placeholders. A tracer, a short-lived process of ours, stops it before its first
//! instruction, gives it a stack with the real arguments ([`stack`]), and lets go:
//!
//! ```text
//!  launcher                           tracer (a grandchild whose parent is gone)
//!  checks the program
//!  starts the tracer  ------------->  protects its memory
//!  hands over the values  --------->  holds them
//!  wipes them, may be traced  ----->  PTRACE_SEIZE with PTRACE_O_TRACEEXEC, PTRACE_O_EXITKILL
//!  execve(2) with placeholders  --->  stack and stack pointer, PTRACE_DETACH, exit
//! ```
//!
//! The kernel remembers where the arguments were at execve(2), and shows what is there: the placeholders. PID, parent,
//! descriptors, signals, folder and environment are those of any execve(2); the program gets no child.
//!
//! It fails closed. Before the tracer has attached, nothing is executed. From then on, the kernel kills the program
//! when the tracer dies (`PTRACE_O_EXITKILL`), and the tracer kills it when anything is not as it should be, before
//! the program's first instruction and with a message.
//!
//! As PID 1 of a container, or as a subreaper (`PR_SET_CHILD_SUBREAPER`), the launcher is the one to whom orphans are
//! given, so there the program does get one child, the tracer, which ends at once. An init is to reap such children.

mod attach;
mod channel;
pub mod obstacle;
pub mod stack;
mod tracer;

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{execve, getpid, gettid};

use super::program::{self, Kind};
use crate::format::credential::Secret;
use crate::text::escape::Escaped;
use attach::Tracer;
pub(in crate::host::launch) use attach::forget_child;
use obstacle::Obstacle;
use stack::Replacement;
pub use tracer::trace;

/// The first argument with which the program executes itself as the tracer, and calls [`trace`].
pub const TRACER: &str = "private-argv-tracer";

/// What all arguments of a program may have together where the stack is not limited (`bprm_stack_limits()`,
/// `fs/exec.c`): three quarters of `_STK_LIM`. Otherwise it is a quarter of the limit.
const TOTAL_MAX: u64 = 6 * 1_048_576;

/// An argument of a program.
#[derive(Debug)]
pub enum Argument {
    /// One that others may see.
    Public(CString),
    /// One that the program alone is to see.
    Private {
        /// What others see in its place.
        placeholder: CString,
        /// What the program sees.
        value: Secret,
    },
}

/// Why a program was not executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateArgvError {
    /// The program is there, and cannot be read.
    #[error(
        "cannot read {program}, and only a program that can be read can be given private arguments: {source}"
    )]
    Unreadable {
        /// The program, escaped.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// The program is text for an interpreter, which would see the placeholders.
    #[error(
        "{program} is a script, which cannot be given private arguments: start the ELF program that it executes, and \
         let the script start this one"
    )]
    Script {
        /// The program, escaped.
        program: String,
    },
    /// The program is of another kind.
    #[error(
        "{program} is not a 64-bit ELF program of this machine, which alone can be given private arguments"
    )]
    NotNative {
        /// The program, escaped.
        program: String,
    },
    /// A value that no argument can hold.
    #[error("the private argument {index} holds a NUL byte, which no argument can")]
    Nul {
        /// Which argument, where 0 is the program's name.
        index: usize,
    },
    /// More than the stack can take.
    #[error(
        "the private arguments have {size} bytes, at most {limit} fit into the stack: raise its limit \
         (LimitSTACK= in a systemd unit, ulimit -s)"
    )]
    TooLarge {
        /// Bytes of all private arguments, each with its NUL.
        size: u64,
        /// What a quarter of the stack holds.
        limit: u64,
    },
    /// Called on another thread than the first, which the tracer would not see.
    #[error("private arguments can only be given on the main thread")]
    NotMainThread,
    /// The tracer cannot be started.
    #[error("cannot start the tracer that puts private arguments in place: {0}")]
    Start(#[source] io::Error),
    /// The tracer was started, and ended.
    #[error(
        "the tracer that puts private arguments in place ended early: its own message is above this one, or \
         somebody killed it (a seccomp filter that does not allow ptrace would: SystemCallFilter= in a systemd unit)"
    )]
    Ended,
    /// The kernel does not let the tracer attach.
    #[error("cannot trace the start, which is how private arguments get in place: {}: {obstacle}", .errno.desc())]
    Attach {
        /// What the kernel answered.
        errno: Errno,
        /// What is most likely behind it.
        obstacle: Obstacle,
    },
    /// There is no such program, or execve(2) failed when everything was ready.
    #[error("cannot execute {program}: {}", .errno.desc())]
    Execute {
        /// The program, escaped.
        program: String,
        /// What the kernel answered.
        errno: Errno,
    },
}

/// Executes a program in the place of this process, with arguments that it alone sees.
///
/// `program` is looked up in `$PATH` if it has no '/'. `arguments[0]` is the name that the program is given. If no
/// argument is private, this is execve(2).
///
/// The program that calls this must call [`trace`] when it is executed with [`TRACER`] as its first argument. By the
/// time of the call it should hold no other copy of the values: for a moment, see the comment at `attach`, it may be
/// looked into by other processes of the same user, as the program afterwards may.
///
/// # Errors
/// [`PrivateArgvError`] if the program was not executed. Once it is, a failure kills the process.
pub fn exec(
    program: &Path,
    arguments: Vec<Argument>,
    environment: &[CString],
) -> Result<Infallible, PrivateArgvError> {
    let shown = Escaped::from(program).to_string();
    let path = find(program)?;
    let mut visible = Vec::with_capacity(arguments.len());
    let mut replacements = Vec::new();
    for (index, argument) in arguments.into_iter().enumerate() {
        visible.push(match argument {
            Argument::Public(text) => text,
            Argument::Private { placeholder, value } => {
                if value.expose().contains(&0) {
                    return Err(PrivateArgvError::Nul { index });
                }
                replacements.push(Replacement { index, placeholder: placeholder.as_bytes().to_vec(), value });
                placeholder
            }
        });
    }
    let tracer = if replacements.is_empty() {
        None
    } else {
        check_kind(&path)?;
        check_size(&replacements)?;
        // execve(2) on another thread ends the first one, and the tracer with its eyes on that would let it pass.
        if gettid() != getpid() {
            return Err(PrivateArgvError::NotMainThread);
        }
        Some(Tracer::attach(visible.len(), replacements)?)
    };
    let errno = match CString::new(path.as_os_str().as_bytes()) {
        Ok(path) => match execve(&path, &visible, environment) {
            Err(errno) => errno,
        },
        Err(_) => Errno::EINVAL,
    };
    if let Some(tracer) = tracer {
        tracer.release();
    }
    Err(PrivateArgvError::Execute { program: shown, errno })
}

/// Whether a program could be given private arguments here, as far as that can be told before it is tried.
///
/// # Errors
/// [`PrivateArgvError`] says why not.
pub fn check(program: &Path) -> Result<(), PrivateArgvError> {
    check_kind(&find(program)?)?;
    match Obstacle::certain(Path::new("/")) {
        Some(obstacle) => Err(PrivateArgvError::Attach { errno: Errno::EPERM, obstacle }),
        None => Ok(()),
    }
}

/// The file that a name without '/' stands for, looked up in `$PATH` as execvp(3) does.
///
/// # Errors
/// [`PrivateArgvError::Execute`] if there is none.
pub fn find(program: &Path) -> Result<PathBuf, PrivateArgvError> {
    program::find(program).map_err(|error| unreadable(program, error))
}

fn unreadable(program: &Path, source: io::Error) -> PrivateArgvError {
    let program = Escaped::from(program).to_string();
    match source.kind() {
        io::ErrorKind::NotFound => PrivateArgvError::Execute { program, errno: Errno::ENOENT },
        _ => PrivateArgvError::Unreadable { program, source },
    }
}

fn check_kind(path: &Path) -> Result<(), PrivateArgvError> {
    let shown = || Escaped::from(path).to_string();
    match program::kind(path).map_err(|error| unreadable(path, error))? {
        Kind::Native => Ok(()),
        Kind::Script => Err(PrivateArgvError::Script { program: shown() }),
        Kind::Other => Err(PrivateArgvError::NotNative { program: shown() }),
    }
}

/// Holds private arguments to what the kernel allows for those that are not.
fn check_size(replacements: &[Replacement]) -> Result<(), PrivateArgvError> {
    let size = replacements.iter().map(|replacement| replacement.value.len() as u64 + 1).sum();
    let limit = getrlimit(Resource::RLIMIT_STACK).map_or(TOTAL_MAX, |(soft, _)| TOTAL_MAX.min(soft / 4));
    if size > limit { Err(PrivateArgvError::TooLarge { size, limit }) } else { Ok(()) }
}
