//! Why a program cannot be given private arguments.

use std::io;

use super::obstacle::Obstacle;
use crate::sys::Errno;
use crate::text::escape::ShownPath;

/// Why a program cannot be given private arguments.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateArgvError {
    /// The program is there, and cannot be read.
    #[error(
        "cannot read {program}, and only a program that can be read can be given private arguments: {source}"
    )]
    Unreadable {
        /// The program.
        program: ShownPath,
        /// Why not.
        source: io::Error,
    },
    /// The program is of another kind.
    #[error(
        "{program} is neither a 64-bit ELF program of this machine nor a script with '#!', and cannot be given private \
         arguments"
    )]
    NotNative {
        /// The program.
        program: ShownPath,
    },
    /// A value that no argument can hold.
    #[error("a private argument holds a NUL byte, which no argument can")]
    Nul,
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
         another process killed it (a seccomp filter that does not allow ptrace would: SystemCallFilter= in a systemd unit)"
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
}
