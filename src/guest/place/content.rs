//! Compares and writes the files of a directory of credentials.

use std::ffi::CStr;
use std::io::{Read as _, Write as _};

use zeroize::Zeroizing;

use super::error::{Context, PlaceError};
use crate::format::credential::{Credential, Name};
use crate::sys::directory::Directory;
use crate::sys::stat;
use crate::sys::{Errno, io_errno};

/// Mode of a credential's file.
const MODE: u32 = 0o400;

/// Permission bits that give other users access, or that let the owner write or execute. systemd calls a credential
/// with one of these bits insecure.
const INSECURE: u32 = 0o377;

/// How the file with a credential's name compares with the wanted file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    /// The file does not exist.
    Absent,
    /// The file has the wanted bytes, and only its owner can read it.
    Equal,
    /// The file has other bytes or other permissions, or is not a regular file.
    Other,
}

/// A file that the directory should contain: the value of a credential, or a ciphertext.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a Name,
    pub(super) bytes: &'a [u8],
}

impl<'a> Wanted<'a> {
    /// Returns one wanted file for each credential of a set of plain credentials.
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
    /// The file is on a disk, and must be synchronized to the disk.
    Synced,
    /// The file is in memory.
    Volatile,
}

/// Memory for the content of a file. Several files can be compared with the same memory, one after the other.
#[derive(Default)]
pub(super) struct Buffer(Zeroizing<Vec<u8>>);

impl Buffer {
    fn of_size(&mut self, size: usize) -> &mut [u8] {
        if self.0.len() < size {
            self.0 = Zeroizing::new(vec![0; size]);
        }
        self.0.get_mut(..size).unwrap_or_default()
    }
}

/// Compares the file of this name with the wanted bytes.
pub(super) fn compare<'a>(
    directory: &Directory,
    wanted: impl Into<Wanted<'a>>,
    buffer: &mut Buffer,
) -> Result<Found, Errno> {
    let Wanted { name, bytes: expected } = wanted.into();
    let mut file = match directory.read(name.as_str()) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Ok(Found::Absent),
        Err(Errno::ELOOP) => return Ok(Found::Other),
        Err(error) => return Err(error),
    };
    let stat = stat::stat(&file)?;
    if !stat.is_file() || stat.mode() & INSECURE != 0 || stat.size() != Some(expected.len()) {
        return Ok(Found::Other);
    }
    let found = buffer.of_size(expected.len());
    file.read_exact(found).map_err(io_errno)?;
    Ok(if found == expected { Found::Equal } else { Found::Other })
}

/// Compares the file of this name with the known size of a credential. Does not read the file.
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

/// Whether the directory contains every wanted file, byte for byte.
pub(super) fn holds_all(directory: &Directory, set: &[Wanted<'_>]) -> Result<bool, Errno> {
    let mut buffer = Buffer::default();
    for &wanted in set {
        if compare(directory, wanted, &mut buffer)? != Found::Equal {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes files into a directory that only the user of this process can enter.
pub(super) fn write_all(
    directory: &Directory,
    set: &[Wanted<'_>],
    durability: Durability,
    context: Context<'_>,
) -> Result<(), PlaceError> {
    for &Wanted { name, bytes } in set {
        write(directory, name.as_str(), bytes, durability).map_err(context.cannot_write(name))?;
    }
    Ok(())
}

/// Writes a new file. After a failure, the caller must remove an incomplete file.
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

/// Removes a directory that contains only files.
pub(super) fn remove(parent: &Directory, name: &CStr, directory: &Directory) -> Result<(), Errno> {
    for file in directory.names_again()? {
        directory.remove_file(&*file)?;
    }
    parent.remove_directory(name)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Buffer, Found, Wanted, compare};
    use crate::format::credential::Name;
    use crate::sys::directory::{Directory, Links};

    #[test]
    fn one_buffer_compares_longer_and_shorter_files() {
        let parent = tempfile::tempdir().unwrap();
        let (long, short) = (vec![b'x'; 6000], b"yy".as_slice());
        for (name, bytes) in [("long", long.as_slice()), ("short", short), ("empty", b"")] {
            let path = parent.path().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o400)).unwrap();
        }
        let directory = Directory::open(parent.path(), Links::Follow).unwrap();
        let mut buffer = Buffer::default();
        let mut found = |name: &str, bytes: &[u8]| {
            compare(&directory, Wanted { name: &Name::new(name).unwrap(), bytes }, &mut buffer).unwrap()
        };
        for _ in 0..2 {
            assert_eq!(found("short", short), Found::Equal);
            assert_eq!(found("short", b"yx"), Found::Other);
            assert_eq!(found("short", b"y"), Found::Other);
            assert_eq!(found("long", &long), Found::Equal);
            assert_eq!(found("long", &[&long[1..], b"y"].concat()), Found::Other);
            assert_eq!(found("empty", b""), Found::Equal);
            assert_eq!(found("absent", b""), Found::Absent);
        }
    }
}
