//! Functions that access files, directories and sockets through open file descriptors.
//!
//! For files, other modules use these functions instead of rustix or nix. This module does not use the types for
//! credentials. Errors of system calls are of the type [`Errno`], no matter which library makes the call. Only the
//! module `program` returns `std::io::Error`.

pub(crate) mod child;
pub(crate) mod directory;
pub(crate) mod file;
pub(crate) mod guarded;
#[cfg(all(feature = "launch", any(target_arch = "aarch64", target_arch = "x86_64")))]
pub(crate) mod program;
#[cfg(feature = "cli")]
pub(crate) mod self_stat;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod staging;
#[cfg(feature = "cli")]
pub(crate) mod standard;
pub(crate) mod stat;

#[cfg(feature = "launch")]
use std::ffi::{CString, NulError, OsStr};
#[cfg(feature = "launch")]
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub(crate) use nix::errno::Errno;

/// Returns an environment variable as `NAME=VALUE`, the format of execve(2).
#[cfg(feature = "launch")]
pub(crate) fn variable(name: &OsStr, value: &OsStr) -> Result<CString, NulError> {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
}

/// This process's ID if `remember_process_id` was called; otherwise 0.
static PROCESS_ID: AtomicU32 = AtomicU32::new(0);

/// Stores this process's ID, so that later calls of [`process_id`] need no system call. Only a program that never forks
/// may call this function.
#[cfg(feature = "cli")]
pub(crate) fn remember_process_id() {
    PROCESS_ID.store(std::process::id(), Relaxed);
}

/// Returns this process's ID.
pub(crate) fn process_id() -> u32 {
    match PROCESS_ID.load(Relaxed) {
        0 => std::process::id(),
        id => id,
    }
}

/// Fills a buffer with random bytes from the kernel.
pub(crate) fn fill_random(buffer: &mut [u8]) -> Result<(), Errno> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(errno(error)),
        }
    }
    Ok(())
}

/// Converts an error number of rustix to an [`Errno`].
pub(crate) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// Returns the error number of a call by the standard library; `EIO` if the library itself made the error.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(crate) fn io_errno(error: std::io::Error) -> Errno {
    errno_of(&error)
}

/// Returns the error number of a borrowed error, as [`io_errno`] does.
pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// Returns what an error of the kernel means, without its number.
///
/// The errors that an import returns contain a [`std::io::Error`] and not an [`Errno`]: `Debug` of `Errno` has tables with
/// the addresses of the names of all error numbers. The program can be loaded at any address, so its start would
/// correct some hundred addresses, which takes 0.02 ms.
pub(crate) fn meaning(error: &std::io::Error) -> &'static str {
    errno_of(error).desc()
}

/// Returns the time of the machine's clock, in seconds since 1970-01-01 00:00 UTC; `None` if the clock cannot be read.
/// (`SystemTime::now` would panic.)
pub(crate) fn clock() -> Option<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).ok()?;
    u64::try_from(now.tv_sec()).ok()
}
