//! The names of temporary files and directories of an import. By these names, the next import recognises the files that
//! a killed import left.
//!
//! A fixed prefix is not enough to recognise these names: a credential or a directory of the user may have the same
//! prefix. So the name of a staging directory ends in a checksum of the name ([`staging`]). The name of a temporary
//! file has a byte that is not allowed in the name of a credential.

use std::ffi::CString;

use crate::sys::Errno;
use crate::sys::directory::Directory;
use crate::sys::staging;

const STAGING_DIRECTORY: &str = ".smbios-creds-";

/// The name of a temporary file begins with a colon. The name of a credential must not contain a colon (systemd's
/// `fdname_is_valid()`), so systemd skips the file.
const STAGED_FILE: &str = ":smbios-creds-";

/// Returns the name of a staging directory next to a destination, for this process and this attempt.
pub(super) fn staging_directory(process: u32, attempt: u32) -> String {
    staging::name(STAGING_DIRECTORY, process, attempt)
}

/// Whether [`staging_directory`] made this name.
pub(super) fn is_staging_directory(name: &[u8]) -> bool {
    staging::is_name(STAGING_DIRECTORY, name)
}

/// Returns the name of this process's temporary file, which is written next to a credential's file and then replaces
/// that file by a rename.
pub(super) fn staged_file(process: u32) -> String {
    format!("{STAGED_FILE}{process}")
}

/// Removes the temporary files that a killed import left in a directory.
pub(super) fn remove_staged_files(directory: &Directory) -> Result<(), Errno> {
    let is_staged = |name: &&CString| name.to_bytes().starts_with(STAGED_FILE.as_bytes());
    directory.names()?.iter().filter(is_staged).try_for_each(|name| directory.remove_file(&**name))
}

/// Whether a directory contains only regular files, as every staging directory does.
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
