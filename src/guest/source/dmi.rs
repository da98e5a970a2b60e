//! The SMBIOS table, as Linux exports it in `/sys/firmware/dmi/tables`.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::channel::{Input, Source};
use super::error::SourceError;
use crate::format::smbios::{Table, entry_point};
use crate::format::systemd::TOTAL_MAX;
use crate::guest::system::System;
use crate::guest::verify::received::Received;
use crate::guest::verify::smbios;

/// File name of the entry point.
pub const ENTRY_POINT: &str = "smbios_entry_point";

/// File name of the structure table.
pub const TABLE: &str = "DMI";

/// Largest table that is read, in bytes: what systemd takes at most in credentials, and room for everything else.
pub const TABLE_SIZE_MAX: usize = TOTAL_MAX + 65_536;

/// The SMBIOS table.
pub struct Dmi;

impl Source for Dmi {
    fn receive(&self, input: Input<'_>) -> Result<Received, SourceError> {
        Ok(smbios::receive(&read(input)?.parse()))
    }
}

/// The two files of a table, each read once. Their bytes hold secrets and are wiped when dropped.
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

/// Reads both files.
///
/// # Errors
/// [`SourceError`] tells apart the ways a table can be absent.
pub fn read(input: Input<'_>) -> Result<Raw, SourceError> {
    let directory = match input {
        Input::Running(system) => system.firmware().join("dmi/tables"),
        Input::Recording(directory) => directory.to_path_buf(),
    };
    let read = |name: &'static str, limit| {
        let file = directory.join(name);
        match read_file(&file, limit) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(SourceError::TooLarge { file: file.into(), limit }),
            Err(error) => Err(match error.kind() {
                ErrorKind::NotFound => absent(input, name),
                ErrorKind::PermissionDenied => SourceError::PermissionDenied(file.into()),
                _ => SourceError::Io { file: file.into(), error },
            }),
        }
    };
    let entry_point = read(ENTRY_POINT, entry_point::SIZE_MAX)?;
    let data = read(TABLE, TABLE_SIZE_MAX)?;
    Ok(Raw { entry_point, data })
}

/// Why a file does not exist.
fn absent(input: Input<'_>, file: &'static str) -> SourceError {
    match input {
        Input::Recording(directory) => SourceError::NotARecording { directory: directory.into(), file },
        Input::Running(system) => absent_firmware(system),
    }
}

fn absent_firmware(system: &System) -> SourceError {
    let firmware = system.firmware();
    let dmi = firmware.join("dmi");
    if dmi.exists() {
        SourceError::NoTables(dmi.into())
    } else if firmware.exists() {
        SourceError::NoSmbios(dmi.into())
    } else {
        SourceError::NoSysfs(firmware.into())
    }
}

/// The content of a regular file, or `None` if it has more than `limit` bytes.
fn read_file(path: &Path, limit: usize) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
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
        assert_eq!(read_file(version, whole.len()).unwrap().as_deref(), Some(&whole));
        assert_eq!(read_file(version, whole.len() - 1).unwrap(), None);
    }
}
