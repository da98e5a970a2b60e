//! Closing (`--close`): after a set is verified and is in its place, this program sets the files from which the set was
//! read to mode 0000.
//!
//! sysfs enforces mode bits against root too, in every mount of sysfs, so closing works in every container. A mount
//! over these files would not hide the files: another mount of sysfs would still show the files, and the kernel would
//! no longer let user namespaces mount sysfs. The file of the entry point stays readable. Without this file, dmidecode
//! searches `/dev/mem` for the table, and prints the table.
//!
//! Root can make the files readable again with `chmod 400`.

use std::ffi::{CStr, CString};
use std::path::Path;

use super::imported::{CloseError, Imported, LeftOpen, Placed};
use super::place::Place;
use super::place::outcome::State;
use super::source::fw_cfg;
use super::system::{Stage, System};
use super::verify::delivery::Verdict;
use crate::format::credential::Credential;
use crate::format::fw_cfg::{PATH_MAX, holds_secrets};
use crate::sys::Errno;
use crate::sys::directory::{Directory, Links};
use crate::sys::file::{self, Content};
use crate::sys::stat;

/// The directory below `/sys/firmware` in which `dmi_sysfs` shows each structure (Linux
/// `drivers/firmware/dmi-sysfs.c`).
const ENTRIES: &str = "dmi/entries";

/// Beginning of the name of a Type 11 structure's directory. The rest of the name is the index of the structure among
/// the Type 11 structures, from 0.
const OEM_STRINGS: &[u8] = b"11-";

/// Name of the file that contains the SMBIOS table, in the directory `dmi/tables`.
const TABLE: &CStr = c"DMI";

/// Name of the file that contains the bytes of a structure or of an item of `fw_cfg`. The file is in the directory of
/// this structure or item.
const RAW: &CStr = c"raw";

/// Returns why an import with `--close` leaves the sources' files readable; `None` if the import closes them.
pub(super) fn why_not(system: &System, imported: &Imported) -> Option<LeftOpen> {
    let is_placed = |placed: &Placed| {
        let is_there = |sent: &Credential| placed.place.placed(system, sent) != State::Missing;
        let is_any_sealed = imported.delivery.intact_sealed().next().is_some();
        imported.delivery.intact().all(is_there) && (placed.sealed.is_some() || !is_any_sealed)
    };
    match (&imported.placed, imported.delivery.verdict()) {
        (_, Verdict::NothingSent) => Some(LeftOpen::NothingSent),
        (_, Verdict::Failed) => Some(LeftOpen::NotVerified),
        _ if system.stage() == Stage::Initrd => Some(LeftOpen::Initrd),
        // A set that was written to `@initrd` is for the stage after switch-root, even if this import does not
        // run in the initrd. So this import closes nothing, and the import after switch-root closes the files.
        (Ok(Placed { place: Place::Initrd, .. }), _) => Some(LeftOpen::Initrd),
        (Ok(placed), Verdict::Passed) if is_placed(placed) => None,
        _ => Some(LeftOpen::NotPlaced),
    }
}

/// Closes every file from which a credential may have been read: sets its mode to 0000. Returns how many files this
/// call closed. Files that already had mode 0000 are not counted.
///
/// # Errors
/// Returns the first [`CloseError`]. After an error, the function nevertheless closes the other files.
pub(super) fn close(system: &System) -> Result<usize, CloseError> {
    let mut all = Closer { closed: 0, failed: None };
    let firmware = system.firmware();
    all.each(&firmware.join(ENTRIES), |name, _| name.to_bytes().starts_with(OEM_STRINGS));
    all.each(&firmware.join(fw_cfg::DIRECTORY), |_, item| is_ours(item));
    let tables = firmware.join("dmi/tables");
    match Directory::open(&tables, Links::Follow) {
        Ok(directory) => all.file(&directory, &tables, TABLE),
        Err(error) => all.failed(&tables, error),
    }
    all.failed.map_or(Ok(all.closed), Err)
}

/// Whether an item of `fw_cfg` may contain a credential. If the item's name cannot be read, the result is `true`.
fn is_ours(item: &Directory) -> bool {
    match item.read(c"name").and_then(|name| file::read(&name, PATH_MAX + 1)) {
        Ok(Content::Bytes(name)) => holds_secrets(name.strip_suffix(b"\n").unwrap_or(&name)),
        _ => true,
    }
}

/// Closes files (sets their mode to 0000), counts them, and stores the first error.
struct Closer {
    closed: usize,
    failed: Option<CloseError>,
}

impl Closer {
    /// Closes the file `raw` in each subdirectory of `path` that `is_meant` selects. A file that does not exist is not
    /// an error.
    fn each(&mut self, path: &Path, is_meant: impl Fn(&CStr, &Directory) -> bool) {
        let opened = Directory::open(path, Links::Follow).and_then(|parent| Ok((parent.names()?, parent)));
        let (names, parent): (Vec<CString>, _) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.failed(path, error),
        };
        for name in names {
            let below = path.join(name.to_string_lossy().as_ref());
            match parent.open_in(&name) {
                Ok(Some(directory)) if is_meant(&name, &directory) => self.file(&directory, &below, RAW),
                Ok(_) => {}
                Err(error) => self.failed(&below, error),
            }
        }
    }

    fn file(&mut self, directory: &Directory, path: &Path, name: &CStr) {
        let path = path.join(name.to_string_lossy().as_ref());
        match shut(directory, name) {
            Ok(Some(true)) => self.closed += 1,
            Ok(Some(false)) => {}
            Ok(None) => self.failed = self.failed.take().or(Some(CloseError::NotAFile(path.into()))),
            Err(error) => self.failed(&path, error),
        }
    }

    fn failed(&mut self, path: &Path, error: Errno) {
        let file = path.into();
        let error = match error {
            Errno::ENOENT => return,
            Errno::EROFS => CloseError::ReadOnly(file),
            error => CloseError::Io { file, error: error.into() },
        };
        self.failed = self.failed.take().or(Some(error));
    }
}

/// Closes a file. Returns `true` if this call closed the file, `false` if the file was already closed, `None` if the
/// file is not a regular file.
fn shut(directory: &Directory, name: &CStr) -> Result<Option<bool>, Errno> {
    let stat = directory.stat_of(name)?;
    if !stat.is_file() {
        return Ok(None);
    }
    if stat.is_closed() {
        return Ok(Some(false));
    }
    let file = directory.read(name)?;
    if !stat::stat(&file)?.is_file() {
        return Ok(None);
    }
    file::set_mode(&file, 0).map(|()| Some(true))
}
