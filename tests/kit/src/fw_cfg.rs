//! Writes items of `fw_cfg` as files, in the layout that Linux has below `/sys/firmware`.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the directory of an item.
pub fn item(at: &Path, key: u16) -> PathBuf {
    at.join("qemu_fw_cfg/by_key").join(key.to_string())
}

/// Writes an item with this key, path and content. `at` is a recording, or `/sys/firmware` below a root directory.
pub fn write_item(at: &Path, key: u16, path: &[u8], content: &[u8]) {
    let directory = item(at, key);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("key"), format!("{key}\n")).unwrap();
    fs::write(directory.join("name"), [path, b"\n"].concat()).unwrap();
    fs::write(directory.join("size"), format!("{}\n", content.len())).unwrap();
    fs::write(directory.join("raw"), content).unwrap();
    // Linux also makes symbolic links to items below `by_name`. The agent does not read these links.
    if path.starts_with(b"opt/") {
        fs::create_dir_all(at.join("qemu_fw_cfg/by_name/opt")).unwrap();
    }
}

/// Writes an item that holds a credential.
pub fn write_credential(at: &Path, key: u16, name: &str, value: &[u8]) {
    write_item(at, key, format!("opt/io.systemd.credentials/{name}").as_bytes(), value);
}
