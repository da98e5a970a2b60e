//! The files of a directory of credentials: compared, and written.

use std::ffi::CStr;
use std::io::{Read as _, Write as _};

use zeroize::Zeroizing;

use super::error::{Context, PlaceError};
use crate::format::credential::{Credential, Name, Secret};
use crate::sys::directory::{self, Directory};
use crate::sys::{Errno, io_errno};

/// Mode of a credential's file.
const MODE: u32 = 0o400;

/// Bits that make a credential readable or writable to others than its owner (systemd calls it insecure then).
const INSECURE: u32 = 0o377;

/// What is under the name of a credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// The same bytes, for their owner only.
    Equal,
    /// Something else.
    Other,
}

/// Whether a new file must survive a crash of the machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Durability {
    /// It is on a disk, and is synchronized.
    Synced,
    /// It is in memory.
    Volatile,
}

/// Compares what is under the name of a credential with it, byte for byte.
pub(super) fn compare(directory: &Directory, credential: &Credential) -> Result<Found, Errno> {
    let mut file = match directory.read(credential.name.as_str()) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(Found::Absent),
        Err(Errno::ELOOP) => return Ok(Found::Other),
        Err(error) => return Err(error),
    };
    let stat = directory::stat(&file)?;
    let expected = credential.value.expose();
    if !stat.is_file() || stat.mode() & INSECURE != 0 || stat.size() != Some(expected.len()) {
        return Ok(Found::Other);
    }
    let mut found = Zeroizing::new(vec![0; expected.len()]);
    file.read_exact(&mut found).map_err(io_errno)?;
    Ok(if *found == expected { Found::Equal } else { Found::Other })
}

/// Compares what is under a name with the size that a credential of this name had. Its bytes are not read.
pub(super) fn compare_size(directory: &Directory, name: &Name, size: u64) -> Result<Found, Errno> {
    match directory.stat_of(name.as_str()) {
        Ok(stat) => {
            let has_size = stat.size().is_some_and(|found| found as u64 == size);
            let is_safe = stat.is_file() && stat.mode() & INSECURE == 0;
            Ok(if is_safe && has_size { Found::Equal } else { Found::Other })
        }
        Err(Errno::ENOENT) => Ok(Found::Absent),
        Err(error) => Err(error),
    }
}

/// Whether every credential is in place, byte for byte.
pub(super) fn holds_all(directory: &Directory, set: &[&Credential]) -> Result<bool, Errno> {
    for credential in set {
        if compare(directory, credential)? != Found::Equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes credentials into a directory that only the writer can enter.
pub(super) fn write_all(
    directory: &Directory,
    set: &[&Credential],
    durability: Durability,
    context: &Context,
) -> Result<(), PlaceError> {
    for credential in set {
        write(directory, credential.name.as_str(), &credential.value, durability)
            .map_err(context.cannot_write(&credential.name))?;
    }
    Ok(())
}

/// Writes a new file. What is left of it after a failure is for the caller to remove.
pub(super) fn write(
    directory: &Directory,
    name: &str,
    value: &Secret,
    durability: Durability,
) -> Result<(), Errno> {
    let mut file = directory.create(name, MODE)?;
    file.write_all(value.expose()).map_err(io_errno)?;
    match durability {
        Durability::Synced => file.sync_all().map_err(io_errno),
        Durability::Volatile => Ok(()),
    }
}

/// Removes a directory of files.
pub(super) fn remove(parent: &Directory, name: &CStr, directory: &Directory) -> Result<(), Errno> {
    for file in directory.names_again()? {
        directory.remove_file(&*file)?;
    }
    parent.remove_directory(name)
}
