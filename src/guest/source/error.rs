//! Why a source received nothing.

use std::borrow::Cow;

use crate::format::smbios::dump::DumpError;
use crate::sys::stat::stat_at;
use crate::text::escape::ShownPath;
use crate::text::help::Help;

/// Why a source received nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The kernel has no SMBIOS information at all.
    #[error(
        "no SMBIOS: {0} does not exist. Either the hypervisor gives this machine none (QEMU's '-M microvm', \
         Firecracker and kvmtool have none), or its table is larger than 256 KiB and the kernel refused it"
    )]
    NoSmbios(ShownPath),
    /// `/sys` is not mounted, so the program cannot know whether SMBIOS exists.
    #[error("cannot look for SMBIOS: {0} does not exist")]
    NoSysfs(ShownPath),
    /// `/sys/firmware/dmi` exists, but its subdirectory `tables` does not, because the kernel could not map the table.
    #[error(
        "no SMBIOS table: {0} exists but is empty: the kernel found an entry point, but could not map the table \
         (cloud-hypervisor: the table must end below 1 MiB, at most 65512 bytes)"
    )]
    NoTables(ShownPath),
    /// The firmware has an entry point, but the kernel has no table.
    #[error(
        "no SMBIOS table: the firmware has one, but {0} does not exist, so the kernel refused the table, most likely \
         because it is larger than 256 KiB"
    )]
    KernelRefused(ShownPath),
    /// The program runs in a container, in which no table is visible. If a table were visible, it would be the
    /// table of the machine that runs the container.
    #[error("no SMBIOS table: this is a container, and {0} does not exist in it")]
    Container(ShownPath),
    /// The recorded directory has neither the file `smbios_entry_point` nor the file `DMI`.
    #[error("no recording in {directory}: {file} is missing")]
    NotARecording {
        /// The directory that was selected as the input.
        directory: ShownPath,
        /// The missing file.
        file: &'static str,
    },
    /// The selected file is not a file that `dmidecode --dump-bin` wrote.
    #[error("{file} is not a file of 'dmidecode --dump-bin': {error}")]
    NotADump {
        /// The file.
        file: ShownPath,
        /// Why the file is not a file of `dmidecode --dump-bin`.
        error: DumpError,
    },
    /// The input (the running system, a recording or a dump) has no `fw_cfg` item of this program.
    #[error("no fw_cfg item is a credential")]
    NoFwCfg,
    /// The machine has the `fw_cfg` device, but `/sys` does not show its content.
    #[error(
        "no SMBIOS, and fw_cfg cannot be read: this machine has QEMU's device, but its kernel has not loaded \
         qemu_fw_cfg"
    )]
    FwCfgNotLoaded,
    /// A `size` file does not contain a number.
    #[error("{0} does not contain a size in bytes")]
    NotASize(ShownPath),
    /// The size of a file differs from the size that the `size` file next to it announces.
    #[error("{file} does not have the {size} bytes that the file 'size' next to it announces")]
    OtherSize {
        /// The file whose size differs.
        file: ShownPath,
        /// The announced size in bytes.
        size: usize,
    },
    /// All `fw_cfg` items of this program together are larger than the limit.
    #[error(
        "{directory} has more than {limit} bytes of credentials, which no host sends; nothing was imported"
    )]
    TooMuch {
        /// The directory that contains all items.
        directory: ShownPath,
        /// Largest accepted size in bytes.
        limit: usize,
    },
    /// The user of this process has no permission to read a file.
    #[error("cannot read {0}: permission denied. Only root can read the running system's table")]
    PermissionDenied(ShownPath),
    /// A file has mode 0000, which sysfs enforces against root too.
    #[error("cannot read {0}: it is closed (mode 0000), for example by 'import --close'")]
    Closed(ShownPath),
    /// A file is larger than this program accepts.
    #[error(
        "{file} is larger than {limit} bytes, the limit for an SMBIOS table with credentials; it was not read"
    )]
    TooLarge {
        /// The file that is too large.
        file: ShownPath,
        /// Largest accepted size in bytes.
        limit: usize,
    },
    /// A path is not a regular file but, for example, a directory, a FIFO or a device.
    #[error("cannot read {0}: it is not a regular file")]
    NotAFile(ShownPath),
    /// Any other error that the kernel reports.
    #[error("cannot read {file}: {error}")]
    Io {
        /// The file that could not be read.
        file: ShownPath,
        /// The kernel's error.
        error: std::io::Error,
    },
}

impl SourceError {
    /// Returns this error, or [`Self::Closed`] if permission was denied because the file has mode 0000. Call this only
    /// for errors of files in the running system.
    #[must_use]
    pub(super) fn or_closed(self) -> Self {
        match self {
            Self::PermissionDenied(path)
                if stat_at(path.as_path()).is_ok_and(|stat| stat.is_file() && stat.is_closed()) =>
            {
                Self::Closed(path)
            }
            error => error,
        }
    }

    /// Whether this error means that the machine does not have the source, so that only the other sources count.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NoSmbios(_)
                | Self::NoTables(_)
                | Self::KernelRefused(_)
                | Self::Container(_)
                | Self::NoFwCfg
                | Self::FwCfgNotLoaded
        )
    }

    /// Whether this error is ignored if another source received something: this machine does not have the source, or
    /// the recording contains only files of another source.
    #[must_use]
    pub fn lets_others_decide(&self) -> bool {
        self.is_absence() || matches!(self, Self::NotARecording { .. })
    }

    /// Whether the machine has no source to import from, as far as this program can detect.
    #[must_use]
    pub fn is_without_source(&self) -> bool {
        matches!(self, Self::NoSmbios(_) | Self::FwCfgNotLoaded)
    }

    /// Returns the more important of two errors: this error, or the error of a later source. Call this only if every
    /// source is absent. An error about the SMBIOS table, except [`Self::NoSmbios`], is more important than a missing
    /// driver for `fw_cfg`.
    #[must_use]
    pub(super) fn or(self, later: Self) -> Self {
        match (&self, &later) {
            (Self::NoSmbios(_) | Self::NoFwCfg, Self::FwCfgNotLoaded) => later,
            (_, Self::NoFwCfg | Self::FwCfgNotLoaded) => self,
            _ => later,
        }
    }
}

impl Help for SourceError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::NoSmbios(_) => "look for 'DMI' in the kernel's log",
            Self::NoSysfs(_) => "mount sysfs on /sys first",
            Self::NoTables(_) => "send fewer or smaller credentials",
            Self::KernelRefused(_) => {
                "send fewer or smaller credentials, and look for 'DMI' in the kernel's log"
            }
            Self::Container(_) => "run this in the virtual machine that the container is in",
            Self::NotARecording { .. } => {
                "use --from with a directory that contains smbios_entry_point and DMI (as /sys/firmware/dmi/tables \
                 does), or qemu_fw_cfg (as /sys/firmware does)"
            }
            Self::NotADump { .. } => {
                "write it again, or use --from with a directory that 'smbios-creds record' wrote"
            }
            Self::FwCfgNotLoaded => "run 'modprobe qemu_fw_cfg' first; in an initramfs, include the module",
            Self::OtherSize { .. } | Self::NotASize(_) => "record it again",
            Self::PermissionDenied(_) => "run this as root, or use --from with a recording",
            Self::Closed(path) => {
                return Some(
                    format!(
                        "'smbios-creds list' shows the last import; to make the table readable again, run 'chmod 400 \
                         {path}' as root"
                    )
                    .into(),
                );
            }
            Self::NoFwCfg
            | Self::TooMuch { .. }
            | Self::TooLarge { .. }
            | Self::NotAFile(_)
            | Self::Io { .. } => return None,
        }))
    }
}
