//! Functions for programs that this process executes, and for the files that these programs inherit.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use rustix::fs::{MemfdFlags, SealFlags, fchmod, fcntl_add_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// Name of each memfd of this program. The links in `/proc/PID/fd` show this name after `memfd:`.
pub(crate) const MEMFD_NAME: &CStr = c"smbios-creds";

/// Makes a file that exists only in memory. Only the owner can read the file, and nobody can change it. The number of
/// the returned descriptor is at least `lowest_descriptor`, and execve(2) closes the descriptor.
pub(crate) fn sealed_memfd(content: &[u8], lowest_descriptor: i32) -> std::io::Result<OwnedFd> {
    let memfd = memfd_create(MEMFD_NAME, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fcntl_dupfd_cloexec(&memfd, lowest_descriptor)?);
    seal(&mut file, content)?;
    Ok(file.into())
}

/// Writes `content` to a memfd, and seals the memfd: then only its owner can read it, and nobody can change it.
pub(crate) fn seal(file: &mut File, content: &[u8]) -> std::io::Result<()> {
    file.write_all(content)?;
    fchmod(&*file, rustix::fs::Mode::RUSR)?;
    fcntl_add_seals(&*file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(())
}

/// Keeps a descriptor open across execve(2).
pub(crate) fn inherit(file: impl AsFd) -> std::io::Result<()> {
    Ok(fcntl_setfd(file, FdFlags::empty())?)
}

/// Whether this process can execute a file.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}
