//! Items of `fw_cfg`, laid out as Linux does below `/sys/firmware`.

use std::fs;
use std::path::{Path, PathBuf};

/// The directory of an item.
pub fn item(at: &Path, key: u16) -> PathBuf {
    at.join("qemu_fw_cfg/by_key").join(key.to_string())
}

/// Writes an item: its path, and what it holds. `at` is a recording, or `/sys/firmware` below a root directory.
pub fn write_item(at: &Path, key: u16, path: &[u8], content: &[u8]) {
    let directory = item(at, key);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("key"), format!("{key}\n")).unwrap();
    fs::write(directory.join("name"), [path, b"\n"].concat()).unwrap();
    fs::write(directory.join("size"), format!("{}\n", content.len())).unwrap();
    fs::write(directory.join("raw"), content).unwrap();
    // Linux makes a link there, which is not read.
    if path.starts_with(b"opt/") {
        fs::create_dir_all(at.join("qemu_fw_cfg/by_name/opt")).unwrap();
    }
}

/// Writes an item that holds a credential.
pub fn write_credential(at: &Path, key: u16, name: &str, value: &[u8]) {
    write_item(at, key, format!("opt/io.systemd.credentials/{name}").as_bytes(), value);
}
