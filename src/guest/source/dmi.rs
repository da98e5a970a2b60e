//! The SMBIOS table, as Linux exports it in `/sys/firmware/dmi/tables`.

use std::io::ErrorKind;
use std::path::Path;

use zeroize::Zeroizing;

use super::channel::{Input, Source};
use super::entry_point_of_firmware;
use super::error::SourceError;
use crate::format::smbios::dump::table_at;
use crate::format::smbios::{Table, entry_point};
use crate::format::systemd::TOTAL_MAX;
use crate::guest::platform;
use crate::guest::system::System;
use crate::guest::verify::received::Received;
use crate::guest::verify::smbios;
use crate::sys::Errno;
use crate::sys::file::{self, Content};

/// File name of the entry point.
pub const ENTRY_POINT: &str = "smbios_entry_point";

/// File name of the structure table.
pub const TABLE: &str = "DMI";

/// Largest table that is read, in bytes: systemd's limit for all credentials, plus 64 KiB for everything else in the
/// table.
pub const TABLE_SIZE_MAX: usize = TOTAL_MAX + 65_536;

/// The source for the SMBIOS table.
pub struct Dmi;

impl Source for Dmi {
    fn receive(&self, input: Input<'_>) -> Result<Received, SourceError> {
        Ok(smbios::receive(&read(input)?.parse()))
    }
}

/// The two files of a table, each read once. The bytes of both files may contain secrets, and are wiped from memory
/// when they are dropped.
pub struct Raw {
    /// Content of `smbios_entry_point`.
    pub entry_point: Zeroizing<Vec<u8>>,
    /// Content of `DMI`.
    pub data: Zeroizing<Vec<u8>>,
}

impl Raw {
    /// Parses the table and its entry point.
    #[must_use]
    pub fn parse(self) -> Table {
        Table::parse(&self.entry_point, self.data)
    }
}

/// Reads the entry point and the table.
///
/// # Errors
/// Returns [`SourceError`], which says why the table is absent or cannot be read.
pub fn read(input: Input<'_>) -> Result<Raw, SourceError> {
    let directory = match input {
        Input::Running(system) => system.path("/sys/firmware/dmi/tables"),
        Input::Recording(directory) => directory.into(),
        Input::Dump(file) => return read_dump(file),
    };
    let read = |name: &'static str, limit| {
        let path = directory.join(name);
        match read_file(&path, limit) {
            Err(SourceError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {
                Err(absent(input, &path, name))
            }
            Err(denied) if matches!(input, Input::Running(_)) => Err(denied.or_closed()),
            read => read,
        }
    };
    let entry_point = read(ENTRY_POINT, entry_point::SIZE_MAX)?;
    let data = read(TABLE, TABLE_SIZE_MAX)?;
    Ok(Raw { entry_point, data })
}

/// Reads a file that `dmidecode --dump-bin` wrote.
fn read_dump(path: &Path) -> Result<Raw, SourceError> {
    let mut data = read_file(path, entry_point::SIZE_MAX + TABLE_SIZE_MAX)?;
    let table_at = table_at(&data).map_err(|error| SourceError::NotADump { file: path.into(), error })?;
    // The table stays in the same buffer: it contains secrets, and a copy of it would have to be wiped too.
    let entry_point = data.drain(..table_at).collect();
    Ok(Raw { entry_point: Zeroizing::new(entry_point), data })
}

fn read_file(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    match file::open(path).and_then(|file| file::read(&file, limit)) {
        Ok(Content::Bytes(bytes)) => Ok(bytes),
        Ok(Content::TooLarge) => Err(SourceError::TooLarge { file: path.into(), limit }),
        Ok(Content::Changed | Content::Other(_)) => Err(SourceError::NotAFile(path.into())),
        Err(Errno::EACCES | Errno::EPERM) => Err(SourceError::PermissionDenied(path.into())),
        Err(error) => Err(SourceError::Io { file: path.into(), error: error.into() }),
    }
}

/// Returns the error that explains why a file of the table does not exist.
fn absent(input: Input<'_>, path: &Path, file: &'static str) -> SourceError {
    match input {
        // A recorded directory that has one of the two files of a table must have the other file too. A directory that
        // contains only `fw_cfg` items has neither file.
        Input::Recording(directory)
            if [ENTRY_POINT, TABLE].iter().any(|name| directory.join(name).exists()) =>
        {
            let error = ErrorKind::NotFound.into();
            SourceError::Io { file: path.into(), error }
        }
        Input::Recording(path) | Input::Dump(path) => {
            SourceError::NotARecording { directory: path.into(), file }
        }
        Input::Running(system) => absent_firmware(system),
    }
}

fn absent_firmware(system: &System) -> SourceError {
    let firmware = system.firmware();
    let dmi = firmware.join("dmi");
    if platform::is_container(system) {
        SourceError::Container(dmi.join("tables").into())
    } else if dmi.exists() {
        SourceError::NoTables(dmi.into())
    } else if !firmware.exists() {
        // If sysfs is not mounted, the kernel cannot show its table.
        SourceError::NoSysfs(firmware.into())
    } else if entry_point_of_firmware::exists(system) {
        SourceError::KernelRefused(dmi.into())
    } else {
        SourceError::NoSmbios(dmi.into())
    }
}
