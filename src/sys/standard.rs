//! Descriptors 0 to 2: standard input, output and error.

use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::stat::stat;
use super::{Errno, errno};

/// The highest of the three standard descriptors.
const LAST: i32 = 2;

const NULL: &CStr = c"/dev/null";

/// Opens `/dev/null` for each of the three standard descriptors that is closed. If `/dev/null` cannot be opened, opens
/// the root directory instead. The root directory always exists, cannot be read as a file, and refuses writes.
///
/// This function may run before `main`. So it allocates nothing, cannot panic, and uses no part of the standard library
/// that Rust's runtime must initialize first.
pub(crate) fn fill() {
    // The kernel returns the lowest free descriptor (open(2)).
    while let Ok(file) = open(NULL, OFlags::RDWR).or_else(|_| open(c"/", OFlags::RDONLY | OFlags::DIRECTORY))
        && file.as_raw_fd() <= LAST
    {
        _ = file.into_raw_fd();
    }
}

/// Whether messages on standard error are lost, because standard error is `/dev/null` or a directory. [`fill`] opens
/// such a standard error.
pub(crate) fn is_error_unseen() -> bool {
    stat(std::io::stderr()).is_ok_and(|stat| stat.is_null() || stat.is_directory())
}

/// Whether `/dev/null` can be opened.
pub(crate) fn has_null() -> bool {
    open(NULL, OFlags::RDWR | OFlags::CLOEXEC).is_ok()
}

/// Opens `/dev/console` as standard input, output and error, as the kernel does for PID 1.
pub(crate) fn open_console() -> Result<(), Errno> {
    become_all(c"/dev/console")
}

/// Opens `/dev/null` as standard input, output and error.
pub(crate) fn open_null() -> Result<(), Errno> {
    become_all(NULL)
}

fn become_all(path: &CStr) -> Result<(), Errno> {
    let file = open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC).map_err(errno)?;
    dup2_stdin(&file).and_then(|()| dup2_stdout(&file)).and_then(|()| dup2_stderr(&file)).map_err(errno)
}

fn open(path: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, flags, Mode::empty())
}

/// Switches standard error between the kernel's log and the file that was standard error before.
pub(crate) struct KernelLog {
    log: OwnedFd,
    before: OwnedFd,
}

impl KernelLog {
    /// Opens the kernel's log as standard error.
    pub(crate) fn open() -> Result<Self, Errno> {
        let log = open(c"/dev/kmsg", OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC).map_err(errno)?;
        let before = fcntl_dupfd_cloexec(std::io::stderr(), LAST + 1).map_err(errno)?;
        let log = Self { log, before };
        log.show()?;
        Ok(log)
    }

    /// Redirects standard error to the kernel's log.
    pub(crate) fn show(&self) -> Result<(), Errno> {
        dup2_stderr(&self.log).map_err(errno)
    }

    /// Restores the previous standard error.
    pub(crate) fn hide(&self) -> Result<(), Errno> {
        dup2_stderr(&self.before).map_err(errno)
    }
}
