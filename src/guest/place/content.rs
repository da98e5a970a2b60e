//! The files of a directory of credentials: compared, and written.

use std::ffi::CStr;
use std::io::{Read as _, Write as _};

use zeroize::Zeroizing;

use super::error::{Context, PlaceError};
use crate::format::credential::{Credential, Name};
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

/// A file that is to be in a directory: the value of a credential, or a ciphertext, which is none.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a Name,
    pub(super) bytes: &'a [u8],
}

impl<'a> Wanted<'a> {
    /// The files of plain credentials.
    pub(super) fn all(set: &[&'a Credential]) -> Vec<Self> {
        set.iter().map(|&credential| credential.into()).collect()
    }
}

impl<'a> From<&'a Credential> for Wanted<'a> {
    fn from(credential: &'a Credential) -> Self {
        Self { name: &credential.name, bytes: credential.value.expose() }
    }
}

/// Whether a new file must survive a crash of the machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Durability {
    /// It is on a disk, and is synchronized.
    Synced,
    /// It is in memory.
    Volatile,
}

/// Compares what is under a name with what should be there, byte for byte.
pub(super) fn compare<'a>(directory: &Directory, wanted: impl Into<Wanted<'a>>) -> Result<Found, Errno> {
    let Wanted { name, bytes: expected } = wanted.into();
    let mut file = match directory.read(name.as_str()) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(Found::Absent),
        Err(Errno::ELOOP) => return Ok(Found::Other),
        Err(error) => return Err(error),
    };
    let stat = directory::stat(&file)?;
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

/// Whether every file is in place, byte for byte.
pub(super) fn holds_all(directory: &Directory, set: &[Wanted<'_>]) -> Result<bool, Errno> {
    for &wanted in set {
        if compare(directory, wanted)? != Found::Equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes files into a directory that only the writer can enter.
pub(super) fn write_all(
    directory: &Directory,
    set: &[Wanted<'_>],
    durability: Durability,
    context: &Context,
) -> Result<(), PlaceError> {
    for &Wanted { name, bytes } in set {
        write(directory, name.as_str(), bytes, durability).map_err(context.cannot_write(name))?;
    }
    Ok(())
}

/// Writes a new file. What is left of it after a failure is for the caller to remove.
pub(super) fn write(
    directory: &Directory,
    name: &str,
    bytes: &[u8],
    durability: Durability,
) -> Result<(), Errno> {
    let mut file = directory.create(name, MODE)?;
    file.write_all(bytes).map_err(io_errno)?;
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
