//! Passes private arguments to a program: arguments that do not appear in `/proc/PID/cmdline`. So `ps`, the field
//! `_CMDLINE` of the journal and the record of a core dump do not show them.
//!
//! The launcher is the process that calls [`PrivateArgv::attach`] and then executes a program. Instead of each private
//! argument, it passes a placeholder. A tracer, which is a short-lived process of this program, traces the launcher and
//! all programs that the launcher executes. The executed program may be the hypervisor, or a wrapper such as `env`,
//! `taskset` or a script, which executes the hypervisor or another wrapper. The tracer stops each program before its
//! first instruction. A program is the hypervisor if it gets the placeholders, and if its executable file contains a
//! given word (such as `oem_strings`). The tracer gives the hypervisor a stack with the real arguments ([`stack`]).
//!
//! ```text
//!  launcher                           tracer (a grandchild whose parent has exited)
//!  checks the program
//!  starts the tracer  ------------->  protects its memory
//!  sends the values  --------------->  receives the values
//!  wipes the values, may be traced ->  PTRACE_SEIZE (PTRACE_O_TRACEEXEC, PTRACE_O_EXITKILL, PTRACE_O_TRACEFORK)
//!  execve(2) with placeholders  --->  checks the program
//!  a wrapper: fork(2), execve(2) -->  checks each program, sets the hypervisor's stack and stack pointer
//!  the hypervisor: KVM_CREATE_VM -->  PTRACE_DETACH, exit
//! ```
//!
//! The launcher may start the tracer before it has read the secret values ([`Ahead`]), so that the tracer is ready in
//! time. A tracer that starts so early has no values yet, and exits if the launcher does not need it.
//!
//! At execve(2), the kernel stores the address of the arguments. `/proc/PID/cmdline` shows the memory at this address,
//! which contains the placeholders. After the start, the program's PID, parent, descriptors, signals, working directory
//! and environment are as after any execve(2). The tracer does not become a child of the program.
//!
//! If an error occurs, no program runs with the values. The launcher executes no program before the tracer has
//! attached. From then on, the kernel kills the program if the tracer dies (`PTRACE_O_EXITKILL`). If an error occurs
//! before the hypervisor has the values, the tracer logs a message and kills all traced processes. If the started
//! program ends, but no hypervisor was executed, the start fails. The launcher's parent then sees the exit code of the
//! started program, or 1 instead of 0.
//!
//! QEMU reads values from files in memory. If a wrapper executes QEMU, the tracer makes QEMU create the files itself
//! (`files`), so no other program ever has the descriptors of the files. If the launcher executes QEMU directly, QEMU
//! inherits the files, and no tracer is needed.
//!
//! If the hypervisor executed another program and the arguments of the other program contained the values, other
//! processes would see the values. So the tracer watches the hypervisor's system calls until the hypervisor has created
//! its virtual machine, but for at most ten seconds. If the hypervisor calls execve(2) in this time, the tracer kills
//! it at the start of the call. If a child of the hypervisor executes a program without the values, the tracer detaches
//! from the child. After the tracing has ended, a debugger can attach to the hypervisor. If the hypervisor then
//! executed itself again with its own arguments, other processes would see the values.
//!
//! A traced program does not gain privileges when it executes a set-user-ID program (`sudo`), unless the tracer has
//! `CAP_SYS_PTRACE`. If the hypervisor is started through a set-user-ID program, the start fails with a message.
//!
//! If the launcher is PID 1 of a container or a subreaper (`PR_SET_CHILD_SUBREAPER`), orphans become its children. Then
//! the tracer, which exits soon, does become a child of the started program. A program that runs as init must wait for
//! such children anyway.

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

/// Maximum total size in bytes of a program's arguments: three quarters of `_STK_LIM` (`bprm_stack_limits()`,
/// `fs/exec.c`). If a quarter of the stack's limit (`RLIMIT_STACK`) is smaller, this quarter is the maximum.
const TOTAL_MAX: u64 = 6 * 1_048_576;

/// Private arguments for the program that this process will execute. Each value of this type is used for only one
/// execution.
pub struct PrivateArgv(Option<Tracer>);

impl PrivateArgv {
    /// Prepares the execution of `program`. The first program that gets the placeholders, and whose executable file
    /// contains `word`, gets the hidden arguments. This first program is `program`, or a program that `program`
    /// executes. If `hidden` is empty, this function prepares nothing, and the tracer `ahead` exits.
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
        // execve(2) on a thread other than the main thread ends the main thread. The tracer watches only the main
        // thread, and would miss the call.
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

/// Checks whether this machine can pass private arguments to a program. This function starts neither the program nor a
/// tracer, so it cannot find every problem.
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
        // execve(2) will report that the program does not exist.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(PrivateArgvError::Unreadable { program: program(), error }),
    }
}

/// Checks that the private arguments are not larger than the kernel's limit for arguments.
fn check_size(replacements: &[Replacement]) -> Result<(), PrivateArgvError> {
    let size = replacements.iter().map(|replacement| replacement.value.len() as u64 + 1).sum();
    let limit = getrlimit(Resource::RLIMIT_STACK).map_or(TOTAL_MAX, |(soft, _)| TOTAL_MAX.min(soft / 4));
    if size > limit { Err(PrivateArgvError::TooLarge { size, limit }) } else { Ok(()) }
}
