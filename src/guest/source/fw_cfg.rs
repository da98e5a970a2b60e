//! Items of QEMU's `fw_cfg` device, as Linux exports them in `/sys/firmware/qemu_fw_cfg`
//! (`drivers/firmware/qemu_fw_cfg.c`).
//!
//! Each item has a directory `by_key/N` with its path in `name`, its size in `size` and its bytes in `raw`. This
//! program reads items only through `by_key`: the links below `by_name` lead to the same directories. A recording has
//! the same layout, but no links.
//!
//! Linux reads `raw` page by page, and for each page it reads the item from its first byte again. So this program reads
//! nothing twice, and never more bytes than `size` announces.

use std::collections::BinaryHeap;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::channel::{Input, Source};
use super::error::SourceError;
use crate::format::credential::VALUE_MAX;
use crate::format::fw_cfg::{self, Content, Item, SIZE_MAX};
use crate::guest::system::System;
use crate::guest::verify::fw_cfg::receive;
use crate::guest::verify::received::Received;
use crate::sys::Errno;
use crate::sys::directory::{Directory, Links};
use crate::sys::file;

/// The directory of the items, below `/sys/firmware` and in a recording.
pub const DIRECTORY: &str = "qemu_fw_cfg/by_key";

/// Directory with a link to each item that a user of QEMU added (`docs/specs/fw_cfg.rst` of QEMU). Among these items
/// are all items that this program reads.
const OPTIONAL: &str = "qemu_fw_cfg/by_name/opt";

/// Largest `name` or `size` file that is read, in bytes. The kernel's `name` and `size` files have at most 56 bytes.
const TEXT_MAX: usize = 4096;

/// The source for the `fw_cfg` device.
pub struct FwCfg;

impl Source for FwCfg {
    fn receive(&self, input: Input<'_>) -> Result<Received, SourceError> {
        read(input).map(receive)
    }

    fn why_absent(&self, input: Input<'_>) -> Option<SourceError> {
        let Input::Running(system) = input else { return None };
        is_device_unused(system).then_some(SourceError::FwCfgNotLoaded)
    }
}

/// Reads every item that belongs to this program, in the order of the keys. Bytes that contain secrets are wiped from
/// memory when they are dropped.
///
/// # Errors
/// [`SourceError`]. If no item belongs to this program, the error is [`SourceError::NoFwCfg`], and the other sources
/// are used.
pub fn read(input: Input<'_>) -> Result<Vec<Item>, SourceError> {
    let path = match input {
        // QEMU itself adds dozens of items, but none whose path begins with `opt/`. So on most machines the directory
        // `by_name/opt` does not exist, and the program reads no item.
        Input::Running(system) if is_absent(&system.firmware().join(OPTIONAL)) => {
            return Err(SourceError::NoFwCfg);
        }
        Input::Running(system) => system.firmware().join(DIRECTORY),
        Input::Recording(directory) => directory.join(DIRECTORY),
        Input::Dump(_) => return Err(SourceError::NoFwCfg),
    };
    let items = match Directory::open(&path, Links::Follow) {
        Ok(directory) => {
            let items = Reader { path, left: SIZE_MAX }.items(&directory);
            let is_running = matches!(input, Input::Running(_));
            items.map_err(|error| if is_running { error.or_closed() } else { error })?
        }
        Err(Errno::ENOENT) => Vec::new(),
        Err(error) => return Err(failed(path, error)),
    };
    if items.is_empty() { Err(SourceError::NoFwCfg) } else { Ok(items) }
}

/// Whether nothing exists at this path. If this cannot be checked, the result is `false`.
fn is_absent(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// Whether the machine has the `fw_cfg` device, but its kernel has no driver for it. The function detects the device by
/// its ACPI ID or its node in the device tree.
fn is_device_unused(system: &System) -> bool {
    let tree = std::fs::read_dir(system.firmware().join("devicetree/base"));
    let mut nodes = tree.into_iter().flatten().filter_map(Result::ok).map(|node| node.file_name());
    let has_device = system.path("/sys/bus/acpi/devices/QEMU0002:00").exists()
        || nodes.any(|name| name.as_encoded_bytes().starts_with(b"fw-cfg@"));
    has_device && !system.firmware().join("qemu_fw_cfg").exists()
}

fn failed(path: PathBuf, error: Errno) -> SourceError {
    match error {
        Errno::EACCES | Errno::EPERM => SourceError::PermissionDenied(path.into()),
        // `ELOOP`: the path is a symbolic link, which is not followed.
        Errno::ELOOP => SourceError::NotAFile(path.into()),
        error => SourceError::Io { file: path.into(), error: error.into() },
    }
}

/// Reads items, and counts how many more bytes it may read from all items together.
struct Reader {
    path: PathBuf,
    left: usize,
}

impl Reader {
    fn items(&mut self, directory: &Directory) -> Result<Vec<Item>, SourceError> {
        let names = directory.names().map_err(|error| failed(self.path.clone(), error))?;
        let keys: BinaryHeap<(u16, CString)> =
            names.into_iter().filter_map(|name| Some((key(&name)?, name))).collect();
        let mut items = Vec::new();
        for (key, name) in keys.into_sorted_vec() {
            let path = self.path.join(key.to_string());
            let opened = directory.open_in(&name).map_err(|error| failed(path.clone(), error))?;
            let opened = opened.ok_or_else(|| failed(path.clone(), Errno::ENOENT))?;
            items.extend(self.item(key, &opened, &path)?);
        }
        Ok(items)
    }

    /// Reads an item; returns `None` if it does not belong to this program.
    fn item(&mut self, key: u16, directory: &Directory, path: &Path) -> Result<Option<Item>, SourceError> {
        let name = text(directory, c"name", path)?;
        if fw_cfg::kind(&name).is_none() {
            return Ok(None);
        }
        let size = text(directory, c"size", path)?;
        let size = str::from_utf8(&size).ok().and_then(|size| size.parse::<u32>().ok());
        let size = size.ok_or_else(|| SourceError::NotASize(path.join("size").into()))?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let content =
            if size > VALUE_MAX { Content::TooLarge { size } } else { self.raw(directory, size, path)? };
        Ok(Some(Item { key, path: name.into(), content }))
    }

    fn raw(&mut self, directory: &Directory, size: usize, path: &Path) -> Result<Content, SourceError> {
        let path = path.join("raw");
        let too_much = || SourceError::TooMuch { directory: self.path.clone().into(), limit: SIZE_MAX };
        self.left = self.left.checked_sub(size).ok_or_else(too_much)?;
        let read = directory.read(c"raw").and_then(|raw| file::read_exactly(&raw, size));
        match read {
            Ok(file::Content::Bytes(bytes)) => Ok(Content::Bytes(bytes.into())),
            Ok(file::Content::TooLarge | file::Content::Changed) => {
                Err(SourceError::OtherSize { file: path.into(), size })
            }
            Ok(file::Content::Other(_)) => Err(SourceError::NotAFile(path.into())),
            Err(error) => Err(failed(path, error)),
        }
    }
}

/// Returns an item's key from the name of its directory; `None` if the name is not a number as the kernel writes it,
/// without a sign or leading zeros.
fn key(name: &CStr) -> Option<u16> {
    let name = name.to_str().ok()?;
    name.parse().ok().filter(|key: &u16| key.to_string() == name)
}

/// Returns the content of a file without its last newline.
fn text(directory: &Directory, name: &CStr, path: &Path) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let path = path.join(name.to_string_lossy().as_ref());
    match directory.read(name).and_then(|file| file::read(&file, TEXT_MAX)) {
        Ok(file::Content::Bytes(mut text)) => {
            // Only one newline is removed, because the path of an item may itself end in a newline.
            if text.last() == Some(&b'\n') {
                text.pop();
            }
            Ok(text)
        }
        Ok(file::Content::TooLarge) => Err(SourceError::TooLarge { file: path.into(), limit: TEXT_MAX }),
        Ok(file::Content::Changed | file::Content::Other(_)) => Err(SourceError::NotAFile(path.into())),
        Err(error) => Err(failed(path, error)),
    }
}
