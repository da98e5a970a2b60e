//! Why a program cannot be given private arguments.

use std::borrow::Cow;
use std::io;

use super::obstacle::Obstacle;
use crate::sys::Errno;
use crate::text::escape::ShownPath;
use crate::text::help::Help;

/// Why a program cannot be given private arguments. The message contains the kernel's error, so `Error::source()` does
/// not return the kernel's error too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateArgvError {
    /// The program exists, but it cannot be read.
    #[error("cannot read {program}, but only a readable program can get private arguments: {error}")]
    Unreadable {
        /// The program that cannot be read.
        program: ShownPath,
        /// The error with which reading the program failed.
        error: io::Error,
    },
    /// The program is neither a native ELF program nor a script.
    #[error(
        "{program} is neither a 64-bit ELF program for this machine nor a script with '#!', so it cannot get private \
         arguments"
    )]
    NotNative {
        /// The program that is neither an ELF program for this machine nor a script.
        program: ShownPath,
    },
    /// A value contains a NUL byte, which an argument cannot contain.
    #[error("a private argument contains a NUL byte, which an argument cannot contain")]
    Nul,
    /// The private arguments are larger than the stack's limit allows.
    #[error("the private arguments have {size} bytes, but at most {limit} fit into the stack")]
    TooLarge {
        /// Size in bytes of all private arguments, each with its NUL.
        size: u64,
        /// Maximum size in bytes: a quarter of the stack's limit, but at most 6 MiB.
        limit: u64,
    },
    /// The private arguments were prepared on a thread other than the main thread, but the tracer sees only the main
    /// thread.
    #[error("only the main thread can pass private arguments")]
    NotMainThread,
    /// The tracer cannot be started.
    #[error("cannot start the tracer that passes the private arguments: {0}")]
    Start(io::Error),
    /// The tracer was started, but ended before it had attached to this process.
    #[error(
        "the tracer that passes the private arguments ended early: the error above says why, or another process or a \
         seccomp filter without ptrace killed it (SystemCallFilter= in a systemd unit)"
    )]
    Ended,
    /// The kernel does not allow the tracer to attach to this process.
    #[error("cannot trace the hypervisor while it starts, so the arguments with secrets cannot be passed to it: {}: {obstacle}", .errno.desc())]
    Attach {
        /// The kernel's error.
        errno: Errno,
        /// The most likely reason why the tracer cannot attach.
        obstacle: Obstacle,
    },
}

impl Help for PrivateArgvError {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::TooLarge { .. } => {
                Some("raise the limit of the stack (LimitSTACK= in a systemd unit, ulimit -s)".into())
            }
            Self::Attach { obstacle, .. } => obstacle.help(),
            _ => None,
        }
    }
}
