//! Arguments that are not in `/proc/PID/cmdline`. So they are not in `ps`, the journal's `_CMDLINE` or a core dump's
//! record.
//!
//! The launcher executes a program with placeholders. A tracer, which is a short-lived process of this program, follows
//! it. The program may be the hypervisor, or a wrapper that executes the hypervisor: `env`, `taskset`, a script, or
//! several of them. The tracer stops each program before its first instruction. The hypervisor is the program that gets
//! the placeholders and whose image contains the option's word. It gets a stack with the real arguments ([`stack`]).
//!
//! ```text
//!  launcher                           tracer (a grandchild whose parent has exited)
//!  checks the program
//!  starts the tracer  ------------->  protects its memory
//!  sends the values  --------------->  receives the values
//!  wipes the values, may be traced ->  PTRACE_SEIZE with PTRACE_O_TRACEEXEC, PTRACE_O_EXITKILL, and its children
//!  execve(2) with placeholders  --->  checks the program
//!  a wrapper: fork(2), execve(2) -->  checks each, and gives the hypervisor its stack and stack pointer
//!  the hypervisor: KVM_CREATE_VM -->  PTRACE_DETACH, exit
//! ```
//!
//! The tracer may be started before the values are read ([`Ahead`]), so that it is ready in time. It then has no values
//! yet, and exits if it is not needed.
//!
//! The kernel remembers the address of the arguments at execve(2), and shows the memory there: the placeholders. PID,
//! parent, descriptors, signals, working directory and environment are as after any execve(2). The program gets no
//! child.
//!
//! The start fails closed. Nothing is executed before the tracer has attached. From then on, the kernel kills the
//! program if the tracer dies (`PTRACE_O_EXITKILL`). On any error, the tracer logs a message and kills the program
//! before the hypervisor's first instruction. A start that ends without a hypervisor fails: it passes on the exit code
//! of the started program, and changes 0 to 1.
//!
//! QEMU reads values from files in memory. If another program executes QEMU, the tracer makes QEMU create the files
//! itself (`files`), so no other program ever has their descriptors. If the launcher executes QEMU directly, QEMU
//! inherits the files, and no tracer is needed.
//!
//! A hypervisor that executes a program with the values would show them. So the tracer watches its system calls until
//! it has created its virtual machine, but for at most ten seconds. It kills the hypervisor at the start of such an
//! execve(2). It detaches from a child that executes a program without the values. After that, nothing is traced: a
//! debugger can be attached, and a program that executes itself with its arguments would show them.
//!
//! A traced program does not gain privileges when it executes a set-user-ID program (`sudo`), unless the tracer has
//! `CAP_SYS_PTRACE`. A start through such a program fails with a message.
//!
//! If the launcher is PID 1 of a container or a subreaper (`PR_SET_CHILD_SUBREAPER`), orphans become its children. Then
//! the program does get one child: the tracer, which exits soon. An init must reap such children.

mod attach;
mod breakpoints;
mod c_library;
mod chain;
mod channel;
mod deliver;
mod error;
mod failure;
mod files;
mod hidden;
pub mod obstacle;
mod program_memory;
mod registers;
pub mod stack;
mod stage;
mod symbols;
mod tracee;
mod tracees;
mod tracer;
mod watch;

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

/// Largest total size of a program's arguments if the stack is not limited: three quarters of `_STK_LIM`
/// (`bprm_stack_limits()`, `fs/exec.c`). With a limit, it is a quarter of the limit.
const TOTAL_MAX: u64 = 6 * 1_048_576;

/// Private arguments for the program that this process will execute. They can be used once.
pub struct PrivateArgv(Option<Tracer>);

impl PrivateArgv {
    /// Prepares the execution of a program. The hidden arguments go to the first program that has `word` in its image
    /// and gets the placeholders: this program, or one that it executes. Without hidden arguments, nothing is prepared,
    /// and a tracer that was started ahead exits.
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
        // execve(2) on another thread ends the main thread. The tracer watches only the main thread, and would miss the
        // call.
        if gettid() != getpid() {
            return Err(PrivateArgvError::NotMainThread);
        }
        Ok(Self(Some(Tracer::attach(word, hidden, ahead)?)))
    }

    /// Detaches the tracer, because the program was not executed.
    pub fn release(self) {
        if let Some(tracer) = self.0 {
            tracer.release();
        }
    }
}

/// Checks whether this machine can pass private arguments to a program. Starts nothing, so it cannot find every
/// problem.
///
/// # Errors
/// [`PrivateArgvError`] says why the machine cannot pass private arguments.
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
        // execve(2) will report it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(PrivateArgvError::Unreadable { program: program(), error }),
    }
}

/// Applies the kernel's size limit for arguments to private arguments.
fn check_size(replacements: &[Replacement]) -> Result<(), PrivateArgvError> {
    let size = replacements.iter().map(|replacement| replacement.value.len() as u64 + 1).sum();
    let limit = getrlimit(Resource::RLIMIT_STACK).map_or(TOTAL_MAX, |(soft, _)| TOTAL_MAX.min(soft / 4));
    if size > limit { Err(PrivateArgvError::TooLarge { size, limit }) } else { Ok(()) }
}
