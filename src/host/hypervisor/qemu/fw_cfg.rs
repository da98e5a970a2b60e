//! QEMU's `fw_cfg`: a second way for values that systemd 256 and older cannot read whole from SMBIOS.
//!
//! That systemd reads one page of a structure, so a string that is larger is cut however structures are packed. It
//! also reads `opt/io.systemd.credentials/NAME` of `fw_cfg`, whole, before SMBIOS, and the first value of a name counts
//! (`import_credentials_qemu()`, systemd `src/core/import-creds.c` 251 and newer): so such a value is passed there as
//! well. The guest needs the kernel's `qemu_fw_cfg`, which systemd loads where it is a module.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::format::credential::{Credential, Name};
use crate::format::systemd::FW_CFG_DIRECTORY;
use crate::host::capacity::{Structures, lost_in_systemd_256};
use crate::host::hypervisor::argument::{Argument, Part};
use crate::host::strings::OemStrings;

/// Longest name of a file (`FW_CFG_MAX_FILE_PATH` less a NUL, QEMU `include/hw/nvram/fw_cfg.h`). A longer one ends QEMU.
pub const NAME_MAX: usize = 55;

/// Most files that are passed, those of the command line among them. QEMU has 32, which end it with a failed assertion
/// if they are exceeded, and needs some for itself: 16 remain for a machine without further devices (measured with QEMU
/// 7.2), fewer where devices have files of their own.
pub const FILES_MAX: usize = 8;

/// The credentials that are passed this way as well, where the command line has so many files.
#[must_use]
pub fn chosen(strings: &OemStrings, files: usize) -> Vec<Name> {
    let mut names = lost_in_systemd_256(strings, Structures::Packed);
    // systemd skips names that begin with a dot there.
    let is_read = |name: &str| !name.starts_with('.') && FW_CFG_DIRECTORY.len() + name.len() <= NAME_MAX;
    names.retain(|name| is_read(name.as_str()));
    names.truncate(FILES_MAX.saturating_sub(files));
    names
}

/// The option that passes a value.
#[must_use]
pub fn option(credential: Credential) -> [Argument; 2] {
    let Credential { name, value } = credential;
    let text = format!("name={FW_CFG_DIRECTORY}{},file=", name.as_str().replace(',', ",,"));
    let text = OsString::from_vec(text.into_bytes());
    [Argument::Public("-fw_cfg".into()), Argument::Files(vec![Part::Text(text), Part::File(value)])]
}
