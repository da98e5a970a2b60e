//! The names of what an import prepares, by which the next one recognises what a killed one left.
//!
//! A prefix is no proof: a credential and a directory of the user's own may have it. So the name of a staging directory
//! ends in a checksum of itself, and the name of a file has a byte that the name of a credential cannot have.

use std::ffi::CString;

use crate::sys::Errno;
use crate::sys::directory::Directory;

const STAGING_DIRECTORY: &str = ".smbios-creds-";

/// No name of a credential has a colon in it (systemd's `fdname_is_valid()`), and systemd skips the file.
const STAGED_FILE: &str = ":smbios-creds-";

/// The name of a staging directory beside a destination, of this process and this attempt.
pub(super) fn staging_directory(process: u32, attempt: u32) -> String {
    let name = format!("{STAGING_DIRECTORY}{process}-{attempt}");
    let checksum = checksum(name.as_bytes());
    format!("{name}-{checksum:016x}")
}

/// Whether [`staging_directory`] made this name.
pub(super) fn is_staging_directory(name: &[u8]) -> bool {
    let parts = || {
        let (process, rest) =
            std::str::from_utf8(name).ok()?.strip_prefix(STAGING_DIRECTORY)?.split_once('-')?;
        Some((process.parse().ok()?, rest.split_once('-')?.0.parse().ok()?))
    };
    parts().is_some_and(|(process, attempt)| staging_directory(process, attempt).as_bytes() == name)
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

/// FNV-1a of 64 bits. It need not withstand an attacker: who can make such a directory in ours is us.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_name_of_a_staging_directory_is_recognised() {
        let name = staging_directory(4_194_304, 12);
        assert!(is_staging_directory(name.as_bytes()));
        for cut in 0..name.len() {
            assert!(!is_staging_directory(&name.as_bytes()[..cut]), "{cut}");
        }
        for other in [
            ".smbios-creds-2026-11",
            ".smbios-creds-2026-11-25",
            ".smbios-creds-key",
            ".smbios-creds-1-0-0000000000000000",
            &format!("{name}0"),
            &name.replace("4194304", "04194304"),
            &name.replace("-12-", "-13-"),
        ] {
            assert!(!is_staging_directory(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn staged_file_has_no_name_of_a_credential() {
        assert!(crate::format::credential::Name::new(staged_file(1)).is_err());
    }
}
