//! Finds the files of a credential in all credential directories of this system, including the directories of running
//! units.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Serialize;

use super::content::{self, Buffer, Found, Wanted};
use super::outcome::State;
use crate::format::credential::{Credential, Name};
use crate::guest::system::System;
use crate::sys::directory::{Directory, Links};
use crate::text::escape::Escaped;
use crate::trust::sealed::Sealed;

/// A file that has the name of a credential.
#[derive(Debug, Serialize)]
pub struct FoundFile {
    /// The file's path, escaped.
    pub file: String,
    /// The file's size in bytes.
    pub size: usize,
    /// The file's permissions in octal.
    pub mode: String,
    /// Whether the file contains the value that was sent: [`State::Imported`] or [`State::Differs`]. [`State::Unknown`]
    /// if the file cannot be compared.
    pub state: State,
}

/// Looks for files with this name in systemd's directories for the system's credentials, in the credstores, and in the
/// directory of each running unit (`/run/credentials/UNIT`, systemd.exec(5)). Skips directories that cannot be read.
pub(in crate::guest) fn find(
    system: &System,
    name: &Name,
    plain: Option<&Credential>,
    sealed: Option<&Sealed>,
) -> Vec<FoundFile> {
    let credentials = system.credentials();
    let plain = plain.map(Wanted::from);
    let sealed = sealed.map(|sealed| Wanted { name, bytes: sealed.blob.text().as_bytes() });
    let mut directories = vec![
        (system.system_credentials(), plain),
        (system.initrd_credentials(), plain),
        (system.credstore(), plain),
        (system.encrypted_credstore(), sealed),
        (credentials.join("@encrypted").into(), sealed),
    ];
    let units = Directory::open(&credentials, Links::Refuse).and_then(|directory| directory.names());
    for unit in units.unwrap_or_default() {
        if !unit.to_bytes().starts_with(b"@") {
            directories.push((credentials.join(OsStr::from_bytes(unit.to_bytes())).into(), plain));
        }
    }
    directories.iter().filter_map(|(path, wanted)| look(path, name, *wanted)).collect()
}

fn look(path: &Path, name: &Name, wanted: Option<Wanted<'_>>) -> Option<FoundFile> {
    let directory = Directory::open(path, Links::Refuse).ok()?;
    let stat = directory.stat_of(name.as_str()).ok()?;
    let state = match wanted.map(|wanted| content::compare(&directory, wanted, &mut Buffer::default())) {
        Some(Ok(Found::Equal)) => State::Imported,
        Some(Ok(_)) => State::Differs,
        Some(Err(_)) | None => State::Unknown,
    };
    let file = Escaped::from(path.join(name.as_str()).as_path()).to_string();
    Some(FoundFile { file, size: stat.size()?, mode: format!("{:04o}", stat.mode() & 0o7777), state })
}
