//! What systemd allows, expects and loses: each limit, prefix and directory once, with its source.
//!
//! Versions are those of systemd in the guest. Where none is given, it is true of 252 to 262.

/// Longest name of a credential in bytes (`CREDENTIAL_NAME_MAX`, `src/shared/creds-util.h`).
pub const NAME_MAX: usize = 255;

/// Largest value of a credential in bytes (`CREDENTIAL_SIZE_MAX`, `src/shared/creds-util.h`).
pub const VALUE_MAX: usize = 1_048_576;

/// Bytes of all values that PID 1 imports (`CREDENTIALS_TOTAL_SIZE_MAX`, `src/shared/creds-util.h`).
pub const TOTAL_MAX: usize = 1_048_576;

/// Credentials that PID 1 can hold, those without a byte aside. Its tmpfs has 256 pages of 4 KiB, and each file takes
/// at least one (`mount_credentials_fs()`, `src/core/import-creds.c`; measured).
pub const FILES_MAX: usize = 256;

/// Bytes of one structure that 256 and older reads: one read of a sysfs file (`read_virtual_file()`,
/// `src/core/import-creds.c`).
pub const STRUCTURE_MAX: usize = 4096;

/// Size in bytes of the tmpfs that PID 1 mounts for credentials (`fsmount_credentials_fs()`,
/// `src/shared/mount-util.c`).
pub const TMPFS_SIZE: usize = 1_048_576;

/// Inodes of that tmpfs.
pub const TMPFS_INODES: usize = 1024;

/// Prefix of an OEM string that carries a credential as text (`parse_smbios_strings()`, `src/core/import-creds.c`).
pub const TEXT_PREFIX: &str = "io.systemd.credential:";

/// Prefix of an OEM string that carries a credential as base64.
pub const BINARY_PREFIX: &str = "io.systemd.credential.binary:";

/// Directory of `fw_cfg` files that PID 1 imports, before SMBIOS (`import_credentials_qemu()`,
/// `src/core/import-creds.c`, 251 and newer).
pub const FW_CFG_DIRECTORY: &str = "opt/io.systemd.credentials/";

/// Variable that names a service's credentials directory (systemd.exec(5)).
pub const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Credentials that only PID 1 and generators read: no service imports them. They look into the directory that PID 1
/// names in `$CREDENTIALS_DIRECTORY`, and never into `/run/credstore`. A `*` at the end stands for any text
/// (systemd.system-credentials(7), 252 to 262).
const EARLY: [&str; 10] = [
    // src/fstab-generator, src/getty-generator
    "fstab.extra",
    "getty.ttys.container",
    "getty.ttys.serial",
    // src/import/import-generator.c, src/ssh-generator
    "import.pull",
    "ssh.listen",
    // src/core: machine_id_setup(), hostname_setup(), setenv_notify_socket()
    "system.hostname",
    "system.machine_id",
    "vmm.notify_socket",
    // src/debug-generator
    "systemd.extra-unit.*",
    "systemd.unit-dropin.*",
];

/// Whether only PID 1 and generators read the credential of this name.
#[must_use]
pub fn is_read_early_only(name: &str) -> bool {
    EARLY.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == *pattern,
    })
}
