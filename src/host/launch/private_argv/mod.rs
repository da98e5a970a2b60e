//! Arguments that are in no `/proc/PID/cmdline`: not in `ps`, the journal's `_CMDLINE` or the record of a core dump.
//!
//! The launcher executes a program with placeholders, and a tracer, a short-lived process of ours, follows it. That
//! program may be the hypervisor, or a wrapper that executes it: `env`, `taskset`, a script, several of them. The tracer
//! stops each program before its first instruction. The one whose image has the option's word, and which is given the
//! placeholders, is the hypervisor: it gets a stack with the real arguments ([`stack`]).
//!
//! ```text
//!  launcher                           tracer (a grandchild whose parent is gone)
//!  checks the program
//!  starts the tracer  ------------->  protects its memory
//!  hands over the values  --------->  holds them
//!  wipes them, may be traced  ----->  PTRACE_SEIZE with PTRACE_O_TRACEEXEC, PTRACE_O_EXITKILL, and its children
//!  execve(2) with placeholders  --->  looks at the program
//!  a wrapper: fork(2), execve(2) -->  looks at each, and delivers to the hypervisor: stack and stack pointer
//!  the hypervisor: KVM_CREATE_VM -->  PTRACE_DETACH, exit
//! ```
//!
//! The tracer may be started before the values are read ([`Ahead`]), so that it is ready when they are. It is given nothing
//! then, and ends if it is not needed.
//!
//! The kernel remembers where the arguments were at execve(2), and shows what is there: the placeholders. PID, parent,
//! descriptors, signals, working directory and environment are those of any execve(2); the program gets no child.
//!
//! It fails closed. Before the tracer has attached, nothing is executed. From then on, the kernel kills the program
//! when the tracer dies (`PTRACE_O_EXITKILL`), and the tracer kills it when anything is not as it should be, before
//! the hypervisor's first instruction and with a message. A start that ends without the hypervisor fails: the exit code
//! of the program that was started is passed on, and 0 becomes 1.
//!
//! QEMU reads values from files in memory. If another program executes it, QEMU is made to make the files itself
//! (`files`), so that no descriptor of one is ever in another program. A QEMU that the launcher executes directly inherits
//! them, and there is no tracer.
//!
//! A hypervisor that executes a program with the values would show them. The tracer looks at its system calls until it
//! has made its virtual machine, for ten seconds at most, and kills it at the entry to such an execve(2). A child that
//! executes a program without the values is let go. After that, nothing is traced: a debugger may be attached, and a
//! program that executes itself with its arguments would show them.
//!
//! A program that is traced gains no privileges by executing a set-user-ID program (`sudo`), unless the tracer has
//! `CAP_SYS_PTRACE`. A start through one fails with a message.
//!
//! As PID 1 of a container, or as a subreaper (`PR_SET_CHILD_SUBREAPER`), the launcher is the one to whom orphans are
//! given, so there the program does get one child, the tracer, which ends soon. An init must reap such children.

mod attach;
mod chain;
mod channel;
mod deliver;
mod entry;
mod error;
mod failure;
mod files;
mod hidden;
pub mod obstacle;
mod registers;
pub mod stack;
mod stage;
mod tracee;
mod tracees;
mod tracer;

use std::io;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{getpid, gettid};

pub use self::attach::Ahead;
use self::attach::Tracer;
pub use self::error::PrivateArgvError;
pub(super) use self::files::FIRST_DESCRIPTOR;
pub use self::files::InFiles;
pub use self::hidden::Hidden;
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
    /// Prepares the execution of a program, some of whose arguments are replaced for the first program that has `word` in
    /// its image and is given the placeholders: this one, or one that it executes. If none is replaced, nothing has to be
    /// prepared, and a tracer that was started ahead ends.
    ///
    /// # Errors
    /// [`PrivateArgvError`], if the program cannot be given private arguments.
    pub fn attach(
        program: &Path,
        word: &str,
        hidden: Hidden,
        ahead: Option<Ahead>,
    ) -> Result<Self, PrivateArgvError> {
        if hidden.is_empty() {
            return Ok(Self(None));
        }
        if hidden.replacements.iter().any(|replacement| replacement.value.expose().contains(&0)) {
            return Err(PrivateArgvError::Nul);
        }
        check_program(program)?;
        check_size(&hidden.replacements)?;
        // execve(2) on another thread ends the first one, and the tracer that watches only the first would miss it.
        if gettid() != getpid() {
            return Err(PrivateArgvError::NotMainThread);
        }
        Ok(Self(Some(Tracer::attach(word, hidden, ahead)?)))
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
        Ok(Executable::Native | Executable::Script) => Ok(()),
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
