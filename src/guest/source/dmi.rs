//! Where a table comes from: the running system, or a folder with a recording.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::format::smbios::Table;
use crate::format::smbios::entry_point;
use crate::text::escape::Escaped;

/// File name of the entry point in a source.
pub const ENTRY_POINT: &str = "smbios_entry_point";

/// File name of the structure table in a source.
pub const TABLE: &str = "DMI";

/// Largest table that is read: what systemd takes at most in credentials, and room for everything else.
pub const TABLE_SIZE_MAX: usize = 1_048_576 + 65_536;

/// Where to read a table from.
#[derive(Clone, Debug)]
pub enum Source {
    /// `sys/firmware/dmi/tables` below this root folder, `/` on a real system.
    Running(PathBuf),
    /// A folder that holds `smbios_entry_point` and `DMI`.
    Recording(PathBuf),
}

/// Why there is no table to look at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The kernel offers no SMBIOS at all.
    #[error(
        "no SMBIOS: {} does not exist. Either the hypervisor gives this machine none (QEMU's '-M microvm', \
         Firecracker and kvmtool have none), or its table is larger than 256 KiB and the kernel refused it; \
         look for 'DMI' in the kernel's log",
        Escaped::from(.0.as_path())
    )]
    NoSmbios(PathBuf),
    /// `/sys` is not mounted, so nothing can be said.
    #[error("cannot look for SMBIOS: {} does not exist. Mount sysfs on /sys first", Escaped::from(.0.as_path()))]
    NoSysfs(PathBuf),
    /// `/sys/firmware/dmi` exists without `tables`.
    #[error(
        "no SMBIOS table: {} exists and is empty, so the kernel found an entry point and could not map the table \
         (cloud-hypervisor: the table must end below 1 MiB, at most 65512 bytes). Send fewer or smaller credentials",
        Escaped::from(.0.as_path())
    )]
    NoTables(PathBuf),
    /// A recording lacks one of its two files.
    #[error(
        "no recording in {}: {file} is missing. Give --from a folder that holds {ENTRY_POINT} and {TABLE}, \
         as /sys/firmware/dmi/tables does",
        Escaped::from(.folder.as_path())
    )]
    NotARecording {
        /// The folder that was given.
        folder: PathBuf,
        /// The missing file.
        file: &'static str,
    },
    /// A file may not be read.
    #[error(
        "cannot read {}: permission denied. The running system's table is for root alone: run this as root, or \
         give a recording with --from",
        Escaped::from(.0.as_path())
    )]
    PermissionDenied(PathBuf),
    /// A file is larger than any table.
    #[error(
        "{} is larger than {limit} bytes, which no SMBIOS table with credentials is; nothing was read from it",
        Escaped::from(.file.as_path())
    )]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Largest accepted size in bytes.
        limit: usize,
    },
    /// Anything else that the kernel reports.
    #[error("cannot read {}: {error}", Escaped::from(.file.as_path()))]
    Io {
        /// The file.
        file: PathBuf,
        /// What the kernel says.
        error: std::io::Error,
    },
}

/// The two files of a source, each read once. Their bytes hold secrets and are wiped when dropped.
pub struct Raw {
    /// Content of `smbios_entry_point`.
    pub entry_point: Zeroizing<Vec<u8>>,
    /// Content of `DMI`.
    pub data: Zeroizing<Vec<u8>>,
}

impl Raw {
    /// Parses what was read.
    #[must_use]
    pub fn parse(self) -> Table {
        Table::parse(&self.entry_point, self.data)
    }
}

impl Source {
    /// Reads both files.
    ///
    /// # Errors
    /// [`SourceError`] tells apart the ways a table can be absent.
    pub fn read(&self) -> Result<Raw, SourceError> {
        let folder = match self {
            Self::Running(root) => root.join("sys/firmware/dmi/tables"),
            Self::Recording(folder) => folder.clone(),
        };
        let entry_point = self.read_file(&folder, ENTRY_POINT, entry_point::SIZE_MAX)?;
        let data = self.read_file(&folder, TABLE, TABLE_SIZE_MAX)?;
        Ok(Raw { entry_point, data })
    }

    fn read_file(
        &self,
        folder: &Path,
        name: &'static str,
        limit: usize,
    ) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let file = folder.join(name);
        match read(&file, limit) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(SourceError::TooLarge { file, limit }),
            Err(error) => Err(match error.kind() {
                ErrorKind::NotFound => self.absent(folder, name),
                ErrorKind::PermissionDenied => SourceError::PermissionDenied(file),
                _ => SourceError::Io { file, error },
            }),
        }
    }

    /// Why a file is not there.
    fn absent(&self, folder: &Path, file: &'static str) -> SourceError {
        let Self::Running(root) = self else {
            return SourceError::NotARecording { folder: folder.to_path_buf(), file };
        };
        let firmware = root.join("sys/firmware");
        let dmi = firmware.join("dmi");
        if dmi.exists() {
            SourceError::NoTables(dmi)
        } else if firmware.exists() {
            SourceError::NoSmbios(dmi)
        } else {
            SourceError::NoSysfs(firmware)
        }
    }
}

/// The content of a regular file, or `None` if it has more than `limit` bytes.
fn read(path: &Path, limit: usize) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
    // Without O_NONBLOCK, opening a FIFO would wait for a writer that may never come.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    // One byte more than may be there tells whether there is more. A full buffer would be grown, and grown means copied.
    let more = (limit as u64).saturating_add(1);
    let size = match metadata.len() {
        // It is not known before.
        0 => more,
        size => size.min(more),
    };
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(limit).saturating_add(1)));
    file.take(size).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_tell_its_size_is_read_whole_or_refused() {
        let version = Path::new("/proc/version");
        assert_eq!(version.metadata().unwrap().len(), 0);
        let whole = std::fs::read(version).unwrap();
        assert_eq!(read(version, whole.len()).unwrap().as_deref(), Some(&whole));
        assert_eq!(read(version, whole.len() - 1).unwrap(), None);
    }
}
