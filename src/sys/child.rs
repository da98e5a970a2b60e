//! A program that is run to its end, for its exit status only. (The `Command` of std would take a twentieth of the agent.)

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawnp};
use nix::sys::wait::{WaitStatus, waitpid};
use rustix::fs::{MemfdFlags, memfd_create};

/// Runs a program of `$PATH` with this input, without output and without messages. Returns whether it ended with exit status
/// 0; `None` if it was not run.
pub(crate) fn succeeds(arguments: &[&CStr], input: &[u8]) -> Option<bool> {
    let mut file = File::from(memfd_create(c"smbios-creds", MemfdFlags::CLOEXEC).ok()?);
    file.write_all(input).ok()?;
    file.rewind().ok()?;
    let mut actions = PosixSpawnFileActions::init().ok()?;
    actions.add_dup2(file.as_raw_fd(), 0).ok()?;
    let null = File::options().write(true).open("/dev/null").ok()?;
    for output in [1, 2] {
        actions.add_dup2(null.as_raw_fd(), output).ok()?;
    }
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    };
    let environment: Vec<CString> = std::env::vars_os().filter_map(variable).collect();
    let attributes = PosixSpawnAttr::init().ok()?;
    let child = posix_spawnp(arguments.first()?, &actions, &attributes, arguments, &environment).ok()?;
    match waitpid(child, None).ok()? {
        // What could not be executed (posix_spawn(3)).
        WaitStatus::Exited(_, 127) => None,
        WaitStatus::Exited(_, code) => Some(code == 0),
        _ => Some(false),
    }
}
