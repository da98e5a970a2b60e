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
mod error;
pub mod obstacle;
pub mod stack;
mod tracer;

use std::io;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{getpid, gettid};

use self::attach::Tracer;
pub use self::error::PrivateArgvError;
use self::obstacle::Obstacle;
pub use self::stack::Replacement;
pub use self::tracer::{TRACER, trace};
use super::program::{Executable, executable};
use crate::sys::Errno;
use crate::text::escape::ShownPath;

/// What all arguments of a program may have together where the stack is not limited (`bprm_stack_limits()`,
/// `fs/exec.c`): three quarters of `_STK_LIM`. Otherwise it is a quarter of the limit.
const TOTAL_MAX: u64 = 6 * 1_048_576;

/// Private arguments that will be in place when this process executes a program, once.
pub struct PrivateArgv(Option<Tracer>);

impl PrivateArgv {
    /// Prepares the execution of a program with so many arguments, its name included, of which some are replaced. If
    /// none is, nothing has to be prepared.
    ///
    /// # Errors
    /// [`PrivateArgvError`], if the program cannot be given private arguments.
    pub fn attach(
        program: &Path,
        arguments: usize,
        replacements: Vec<Replacement>,
    ) -> Result<Self, PrivateArgvError> {
        if replacements.is_empty() {
            return Ok(Self(None));
        }
        if let Some(replacement) =
            replacements.iter().find(|replacement| replacement.value.expose().contains(&0))
        {
            return Err(PrivateArgvError::Nul { index: replacement.index });
        }
        check_program(program)?;
        check_size(&replacements)?;
        // execve(2) on another thread ends the first one, and the tracer that watches only the first would miss it.
        if gettid() != getpid() {
            return Err(PrivateArgvError::NotMainThread);
        }
        Ok(Self(Some(Tracer::attach(arguments, replacements)?)))
    }

    /// Takes everything back, since the program was not executed.
    pub fn release(self) {
        if let Some(tracer) = self.0 {
            tracer.release();
        }
    }
}

/// Whether a program could be given private arguments here, as far as that can be told before it is tried.
///
/// # Errors
/// [`PrivateArgvError`] says why not.
pub fn check(program: &Path) -> Result<(), PrivateArgvError> {
    check_program(program)?;
    match Obstacle::certain(Path::new("/")) {
        Some(obstacle) => Err(PrivateArgvError::Attach { errno: Errno::EPERM, obstacle }),
        None => Ok(()),
    }
}

fn check_program(path: &Path) -> Result<(), PrivateArgvError> {
    let program = || ShownPath::from(path);
    match executable(path) {
        Ok(Executable::Native) => Ok(()),
        Ok(Executable::Script) => Err(PrivateArgvError::Script { program: program() }),
        Ok(Executable::Other) => Err(PrivateArgvError::NotNative { program: program() }),
        // execve(2) will say so.
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(PrivateArgvError::Unreadable { program: program(), source }),
    }
}

/// Holds private arguments to what the kernel allows for those that are not.
fn check_size(replacements: &[Replacement]) -> Result<(), PrivateArgvError> {
    let size = replacements.iter().map(|replacement| replacement.value.len() as u64 + 1).sum();
    let limit = getrlimit(Resource::RLIMIT_STACK).map_or(TOTAL_MAX, |(soft, _)| TOTAL_MAX.min(soft / 4));
    if size > limit { Err(PrivateArgvError::TooLarge { size, limit }) } else { Ok(()) }
}
