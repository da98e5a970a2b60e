//! The names of what an import prepares, by which the next one recognises what a killed one left.
//!
//! A prefix is no proof: a credential and a directory of the user's own may have it. So the name of a staging directory
//! ends in a checksum of itself ([`staging`]), and that of a file has a byte that no name of a credential has.

use std::ffi::CString;

use crate::sys::Errno;
use crate::sys::directory::Directory;
use crate::sys::staging;

const STAGING_DIRECTORY: &str = ".smbios-creds-";

/// No name of a credential has a colon in it (systemd's `fdname_is_valid()`), and systemd skips the file.
const STAGED_FILE: &str = ":smbios-creds-";

/// The name of a staging directory beside a destination, of this process and this attempt.
pub(super) fn staging_directory(process: u32, attempt: u32) -> String {
    staging::name(STAGING_DIRECTORY, process, attempt)
}

/// Whether [`staging_directory`] made this name.
pub(super) fn is_staging_directory(name: &[u8]) -> bool {
    staging::is_name(STAGING_DIRECTORY, name)
}

/// The name of a file that is written beside a credential and renamed over it, of this process.
pub(super) fn staged_file(process: u32) -> String {
    format!("{STAGED_FILE}{process}")
}

/// Removes the staged files that a killed import left in a directory.
pub(super) fn remove_staged_files(directory: &Directory) -> Result<(), Errno> {
    let is_staged = |name: &&CString| name.to_bytes().starts_with(STAGED_FILE.as_bytes());
    directory.names()?.iter().filter(is_staged).try_for_each(|name| directory.remove_file(&**name))
}

/// Whether a directory has only regular files in it, as every staging directory.
pub(super) fn has_only_files(directory: &Directory) -> Result<bool, Errno> {
    for name in directory.names()? {
        if !directory.stat_of(&*name)?.is_file() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staged_file_has_no_name_of_a_credential() {
        assert!(crate::format::credential::Name::new(staged_file(1)).is_err());
    }
}
