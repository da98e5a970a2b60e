//! Sends credentials through QEMU's `fw_cfg`. `fw_cfg` is the only channel into machines without SMBIOS, and a second
//! channel for values that systemd 256 and older cannot read completely from SMBIOS.
//!
//! systemd 256 and older reads only one memory page of each structure, so it always cuts a string that is larger than a
//! page. It also reads `opt/io.systemd.credentials/NAME` from `fw_cfg`. It reads this item completely and before
//! SMBIOS, and uses the first value that it finds for a name (`import_credentials_qemu()`, systemd
//! `src/core/import-creds.c` 251 and newer). So this program also passes the value of such a larger string in a
//! `fw_cfg` item. For `fw_cfg`, the guest's kernel needs the driver `qemu_fw_cfg`. If the driver is a module, systemd
//! loads it.
//!
//! `parse_fw_cfg()` in `system/vl.c` shows how QEMU reads a `-fw_cfg` option.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use super::syntax::Settings;
use crate::format::credential::{Credential, Name, Secret, VALUE_MAX};
use crate::format::fw_cfg::{self, Kind, MANIFEST, NAME_MAX, RECEIPT, SIGNATURE, SIZE_MAX};
use crate::format::systemd::FW_CFG_DIRECTORY;
use crate::host::capacity::{Counted, Excess, FEWER, Limit, Route, Structures, Unit, lost_in_systemd_256};
use crate::host::hypervisor::argument::{Argument, Part};
use crate::host::hypervisor::error::MergeError;
use crate::host::hypervisor::line::read_file;
use crate::host::strings::{Content, OemStrings, Origin};

/// Maximum number of `fw_cfg` items that are passed in addition to SMBIOS, including the items on the command line. Of
/// QEMU's 32 slots for `fw_cfg` items, 16 are free in a machine without additional devices (measured with QEMU 7.2).
/// Some devices need slots for their own items.
pub const FILES_MAX: usize = 8;

/// Maximum number of `fw_cfg` items in a machine without SMBIOS.
pub const SLOTS_LIMIT: Limit = Limit {
    name: "QEMU: number of fw_cfg items",
    unit: Unit::Items,
    maximum: 32,
    above: "QEMU ends with a failed assertion",
    advice: "send fewer credentials, or raise the limit with -global fw_cfg.x-file-slots=64",
    source: "FW_CFG_FILE_SLOTS_DFLT, QEMU hw/nvram/fw_cfg.c; measured with QEMU 7.2",
    counts: Counted::Items,
    excess: Excess::Refuse,
};

/// Largest maximum number of `fw_cfg` items that QEMU's command line can set (`x-file-slots`, a number of 16 bits).
pub const MORE_SLOTS_LIMIT: Limit = Limit {
    name: "QEMU: number of fw_cfg items with x-file-slots",
    maximum: 65_535,
    advice: "send fewer credentials, or use a larger x-file-slots",
    ..SLOTS_LIMIT
};

/// Maximum number of bytes of all `fw_cfg` items together.
pub const BYTES_LIMIT: Limit = Limit {
    name: "smbios-creds in the guest: size of all fw_cfg items",
    unit: Unit::Bytes,
    maximum: SIZE_MAX,
    above: "the guest reads none of them",
    advice: FEWER,
    source: "SIZE_MAX, src/format/fw_cfg.rs",
    counts: Counted::ItemBytes,
    excess: Excess::Refuse,
};

/// Number of `fw_cfg` items that are reserved for QEMU itself in a machine without SMBIOS. `microvm` needs 8 of them,
/// and `virt` needs 9 (measured with QEMU 7.2). The other reserved items are for additional devices, for example 2 for
/// `ramfb`.
pub const OWN_ITEMS: usize = 12;

/// Returns the route into a machine without SMBIOS. `slots` is the maximum number of `fw_cfg` items, if the command
/// line sets it. `others` is the number of other programs' items on the command line.
pub(super) fn route(slots: Option<usize>, others: usize) -> Route {
    let taken = OWN_ITEMS + others;
    let slots = slots.map_or((&SLOTS_LIMIT, taken), |slots| {
        (&MORE_SLOTS_LIMIT, MORE_SLOTS_LIMIT.maximum.saturating_sub(slots) + taken)
    });
    Route { structures: Structures::None, limits: vec![slots, (&BYTES_LIMIT, 0)] }
}

/// Returns the credential in a `-fw_cfg` option of the command line, and the source of the credential's value. Returns
/// `None` for another program's item.
///
/// # Errors
/// [`MergeError::Item`], if the manifest cannot list the item.
pub(super) fn read(settings: &Settings) -> Result<Option<(Credential, Origin)>, MergeError> {
    let Some(path) = settings.last(b"name") else { return Ok(None) };
    let refuse = |reason, help| Err(MergeError::Item { item: path.to_vec(), reason, help });
    let name = match fw_cfg::kind(path) {
        None => return Ok(None),
        Some(Kind::Manifest) => return refuse("a machine can have one manifest only", Some("remove it")),
        Some(Kind::Signature | Kind::Receipt) => {
            return refuse("it belongs to a manifest, which this program writes", Some("remove it"));
        }
        Some(Kind::Credential(Ok(name))) => name,
        // The text after `opt/io.systemd.credentials/` may be a secret that was written there by mistake, so the error
        // does not show this text.
        Some(Kind::Credential(Err(_))) => {
            let reason =
                "the text after the prefix is not the name of a credential, so no guest would read it";
            let help = Some("correct it or remove it");
            return Err(MergeError::Item { item: FW_CFG_DIRECTORY.into(), reason, help });
        }
    };
    let given = |name: &[u8]| settings.last(name).filter(|value| !value.is_empty());
    let is_flag =
        |name: &[u8]| settings.parameters.iter().any(|p| p.value.is_none() && p.name.ends_with(name));
    if [&b"file"[..], b"string", b"gen_id"].into_iter().any(is_flag) {
        return refuse("one of 'file', 'string' and 'gen_id' has no value", None);
    }
    let (value, origin) = match (given(b"file"), given(b"string"), given(b"gen_id")) {
        (Some(file), None, None) => (read_file("-fw_cfg file=", file, VALUE_MAX)?, Origin::File),
        (None, Some(text), None) => (Secret::from(text.to_vec()), Origin::CommandLine),
        (None, None, Some(_)) => {
            return refuse("QEMU generates its value, so no manifest can prove it", Some("use file=PATH"));
        }
        _ => return refuse("it needs one of 'file' and 'string', with a value", None),
    };
    Ok(Some((Credential::new(name, value), origin)))
}

/// Returns the credentials that are passed in `fw_cfg` items in addition to SMBIOS. `items` is the number of `fw_cfg`
/// items that QEMU's command line and configuration files already contain.
#[must_use]
pub fn chosen(strings: &OemStrings, items: usize) -> Vec<Name> {
    let mut names = lost_in_systemd_256(strings, Structures::Packed);
    // When systemd reads `fw_cfg`, it skips names that begin with a dot.
    let is_read = |name: &str| !name.starts_with('.') && name.len() <= NAME_MAX;
    names.retain(|name| is_read(name.as_str()));
    names.truncate(FILES_MAX.saturating_sub(items));
    names
}

/// Returns the options that pass every credential and the manifest to a machine without SMBIOS.
pub(super) fn all(strings: &OemStrings) -> Result<Vec<Argument>, MergeError> {
    if let Some(at) = strings.contents().position(|(content, _)| *content == Content::Foreign) {
        return Err(MergeError::NotCarried { string: at + 1 });
    }
    if let Some((name, ..)) = strings.encrypted().next() {
        return Err(MergeError::EncryptedNotCarried(name.clone()));
    }
    let mut arguments = Vec::new();
    for (name, credential) in strings.with_values() {
        if name.as_str().len() > NAME_MAX {
            return Err(MergeError::ItemName { name: name.clone(), maximum: NAME_MAX });
        }
        let credential = credential.ok_or_else(|| MergeError::Item {
            item: path(name).into_bytes(),
            reason: "its value is in the file of -smbios file=, which QEMU ignores for this machine type",
            help: Some("remove that file"),
        })?;
        arguments.extend(option(credential));
    }
    if let Some(address) = strings.receipt() {
        arguments.extend(item(RECEIPT, address.to_vec().into()));
    }
    arguments.extend(item(MANIFEST, strings.manifest().to_vec().into()));
    let mut signatures = strings.signatures();
    if let Some(signature) = signatures.next() {
        arguments.extend(item(SIGNATURE, signature.to_vec().into()));
    }
    if signatures.next().is_some() {
        let reason = "the set has more than one signature, but fw_cfg, the only channel of this machine, carries \
                      only one";
        return Err(MergeError::Item {
            item: SIGNATURE.into(),
            reason,
            help: Some("remove the other signatures"),
        });
    }
    Ok(arguments)
}

/// Returns the option that passes a credential.
#[must_use]
pub fn option(credential: Credential) -> [Argument; 2] {
    item(&path(&credential.name), credential.value)
}

fn path(name: &Name) -> String {
    // The name is not formatted with `Display`, because `Display` escapes blanks.
    [FW_CFG_DIRECTORY, name.as_str()].concat()
}

fn item(path: &str, content: Secret) -> [Argument; 2] {
    let text = OsString::from_vec(format!("name={},file=", path.replace(',', ",,")).into_bytes());
    [Argument::Public("-fw_cfg".into()), Argument::Files(vec![Part::Text(text), Part::File(content)])]
}
