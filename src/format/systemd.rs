//! systemd's limits, prefixes and directories. Each value is defined once, with its source in systemd.
//!
//! Version numbers are versions of the systemd in the guest. A constant without a version number is valid for systemd
//! 252 to 262.

/// Longest name of a credential in bytes (`CREDENTIAL_NAME_MAX`, `src/shared/creds-util.h`).
pub const NAME_MAX: usize = 255;

/// Largest value of a credential in bytes (`CREDENTIAL_SIZE_MAX`, `src/shared/creds-util.h`).
pub const VALUE_MAX: usize = 1_048_576;

/// Maximum number of bytes that PID 1 imports in all values together (`CREDENTIALS_TOTAL_SIZE_MAX`,
/// `src/shared/creds-util.h`).
pub const TOTAL_MAX: usize = 1_048_576;

/// Maximum number of credentials that PID 1 can store. Credentials with an empty value do not count toward this number.
/// PID 1's tmpfs for credentials has 256 pages of 4 KiB, and each file takes at least one page
/// (`mount_credentials_fs()`, `src/core/import-creds.c`; measured).
pub const FILES_MAX: usize = 256;

/// Maximum number of bytes that systemd 256 and older reads from one SMBIOS structure. These versions read the
/// structure's sysfs file with one read, which returns at most this number of bytes (`read_virtual_file()`,
/// `src/core/import-creds.c`).
pub const STRUCTURE_MAX: usize = 4096;

/// Size in bytes of the tmpfs that PID 1 mounts for credentials (`fsmount_credentials_fs()`,
/// `src/shared/mount-util.c`).
pub const TMPFS_SIZE: usize = 1_048_576;

/// Number of inodes of the tmpfs that PID 1 mounts for credentials.
pub const TMPFS_INODES: usize = 1024;

/// Prefix of an OEM string that contains a credential whose value is text (`parse_smbios_strings()`,
/// `src/core/import-creds.c`).
pub const TEXT_PREFIX: &str = "io.systemd.credential:";

/// Prefix of an OEM string that contains a credential whose value is in base64.
pub const BINARY_PREFIX: &str = "io.systemd.credential.binary:";

/// Path prefix of the `fw_cfg` items that contain credentials. PID 1 imports these items before it imports OEM strings
/// (`import_credentials_qemu()`, `src/core/import-creds.c`, systemd 251 and newer).
pub const FW_CFG_DIRECTORY: &str = "opt/io.systemd.credentials/";

/// Environment variable that contains the path of a service's credentials directory (systemd.exec(5)).
pub const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Name of the credential that contains the address of a socket on the host. The guest's PID 1 sends notifications to
/// this address (systemd(1) of systemd 254). The address is not secret.
pub const NOTIFY_SOCKET: &str = "vmm.notify_socket";

/// Credentials that only PID 1 and generators read. PID 1 and generators look only into the directory in PID 1's
/// `$CREDENTIALS_DIRECTORY`, and never into `/run/credstore`. systemd's own units do not import these credentials
/// (`ImportCredential=`, `LoadCredential=`). A `*` at the end of a name in the list stands for any text.
///
/// The list is from the man page systemd.system-credentials(7) of systemd 262, which names the version that added each
/// credential. Services import the other credentials on this man page: for example, systemd-firstboot and
/// systemd-sysusers import `passwd.*`, and systemd-network-generator imports `network.*`. No man page describes
/// `fstab.extra.initrd`. Each comment in the list names the source file that reads the credentials below the comment,
/// and the systemd version that added these credentials.
const EARLY: [&str; 12] = [
    // src/fstab-generator/fstab-generator.c, systemd 254
    "fstab.extra",
    "fstab.extra.initrd",
    // src/getty-generator/getty-generator.c, systemd 258 (`getty.auto`) and systemd 254 (`getty.ttys.*`)
    "getty.auto",
    "getty.ttys.container",
    "getty.ttys.serial",
    // src/import/import-generator.c, systemd 257
    "import.pull",
    // src/ssh-generator/ssh-generator.c, systemd 256
    "ssh.listen",
    // PID 1 itself reads the next three credentials. The source files, in the order of the three credentials:
    // src/shared/hostname-setup.c, systemd 254; src/shared/machine-id-setup.c, systemd 254; src/core/import-creds.c,
    // systemd 253
    "system.hostname",
    "system.machine_id",
    NOTIFY_SOCKET,
    // src/debug-generator/debug-generator.c, systemd 256
    "systemd.extra-unit.*",
    "systemd.unit-dropin.*",
];

/// Whether only PID 1 and generators read the credential with this name.
#[must_use]
pub fn is_read_early_only(name: &str) -> bool {
    EARLY.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_unit_imports_are_not_read_early_only() {
        // The names in this list are in systemd.system-credentials(7) of systemd 262, or in `ImportCredential=` or
        // `LoadCredential=` of a unit of systemd.
        for name in [
            "passwd.hashed-password.root",
            "passwd.plaintext-password.root",
            "passwd.shell.root",
            "firstboot.hostname",
            "login.motd",
            "network.network.50-lan",
            "network.dns",
            "ssh.authorized_keys.root",
            "ssh.ephemeral-authorized_keys-all",
            "sysctl.extra",
            "sysusers.extra",
            "tmpfiles.extra",
            "vconsole.keymap",
            "journal.storage",
            "shell.welcome",
            "home.create.user",
            "cryptsetup.passphrase",
            "udev.rules.50-a",
            "userdb.user.a",
            "fsck.mode",
            "quotacheck.mode",
            "imds.vendor",
            "systemd.unit-dropins",
            "fstab.extra2",
        ] {
            assert!(!is_read_early_only(name), "{name}");
        }
        for name in EARLY.map(|pattern| pattern.replace('*', "any.service")) {
            assert!(is_read_early_only(&name), "{name}");
        }
    }
}
