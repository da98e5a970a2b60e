//! Names of staging directories, in which a process prepares files before it moves them to their destination. A later
//! process recognises by its name a staging directory that a killed process left.
//!
//! A prefix is not enough to recognise a staging directory, because the name of a user's own directory may begin with
//! the same prefix. So the name of a staging directory ends with a checksum of the text before the checksum.

/// Returns the name of a staging directory or of a temporary file for this process and this attempt.
pub(crate) fn name(prefix: &str, process: u32, attempt: u32) -> String {
    let name = format!("{prefix}{process}-{attempt}");
    let checksum = checksum(name.as_bytes());
    format!("{name}-{checksum:016x}")
}

/// Whether `found` is a name that [`name`] returns for this prefix.
pub(crate) fn is_name(prefix: &str, found: &[u8]) -> bool {
    let parts = || {
        let (process, rest) = std::str::from_utf8(found).ok()?.strip_prefix(prefix)?.split_once('-')?;
        Some((process.parse().ok()?, rest.split_once('-')?.0.parse().ok()?))
    };
    parts().is_some_and(|(process, attempt)| name(prefix, process, attempt).as_bytes() == found)
}

/// Returns the 64-bit FNV-1a checksum. The checksum does not have to stop attackers, because only this user can create
/// a directory next to the staging directories.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::{is_name, name};

    const PREFIX: &str = ".smbios-creds-";

    #[test]
    fn only_whole_name_of_a_staging_directory_is_recognised() {
        let made = name(PREFIX, 4_194_304, 12);
        assert!(is_name(PREFIX, made.as_bytes()));
        assert!(!is_name(".smbios-creds-host-", made.as_bytes()));
        for cut in 0..made.len() {
            assert!(!is_name(PREFIX, &made.as_bytes()[..cut]), "{cut}");
        }
        for other in [
            ".smbios-creds-2026-11",
            ".smbios-creds-2026-11-25",
            ".smbios-creds-key",
            ".smbios-creds-1-0-0000000000000000",
            &format!("{made}0"),
            &made.replace("4194304", "04194304"),
            &made.replace("-12-", "-13-"),
            &name(".smbios-creds-host-", 1, 0),
        ] {
            assert!(!is_name(PREFIX, other.as_bytes()), "{other}");
        }
    }
}
