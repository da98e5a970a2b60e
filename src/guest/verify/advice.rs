//! What to do about a finding: for this machine, where it is known, and for any machine where it is not.

use std::borrow::Cow;

use super::finding::{Finding, FindingKind};
use crate::format::smbios::machine::{FirmwareKind, Hypervisor, Machine};

impl Finding {
    /// What to do about it on this machine.
    #[must_use]
    pub fn advice(&self, machine: &Machine) -> Cow<'static, str> {
        match (&self.kind, machine.firmware_kind()) {
            (FindingKind::TableCut(_), Some(FirmwareKind::SeaBios(Some((major, minor)))))
                if machine.cuts_tables_above_64_kib() == Some(true) =>
            {
                format!(
                    "SeaBIOS {major}.{minor} cuts tables above 64 KiB: keep it below 65536 bytes, or use SeaBIOS 1.17 \
                     or newer, or UEFI firmware"
                )
                .into()
            }
            (FindingKind::TableCut(_) | FindingKind::Damaged { .. }, _)
                if machine.hypervisor == Some(Hypervisor::HyperV) =>
            {
                "nothing: Hyper-V writes such tables, and has no option for OEM strings of the host's".into()
            }
            _ => self.general_advice().into(),
        }
    }

    /// What to do about it on any machine.
    fn general_advice(&self) -> &'static str {
        let kind = &self.kind;
        kind.table_advice()
            .or_else(|| kind.structure_advice())
            .or_else(|| kind.set_advice())
            .unwrap_or_default()
    }
}

impl FindingKind {
    /// What to do, if it is about the table as a whole.
    fn table_advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::EntryPoint { .. } => "the firmware or the recording is broken; record the table again",
            Self::TableCut(_) => {
                "firmware cut the table: keep it below 65536 bytes, or use SeaBIOS 1.17 or newer, or UEFI firmware"
            }
            Self::Damaged { .. } => {
                "look for empty OEM strings on the hypervisor's command line, and keep the table below 65536 bytes"
            }
            Self::TableLong(_) | Self::MoreStructures(_) => {
                "a kernel never exports such a table; record it again"
            }
            Self::BehindEndOfTable { .. } => {
                "nothing: firmware pads its tables, and Linux reads no further either; OEM strings belong in front of the \
                 end-of-table structure"
            }
            Self::TableShort(_) | Self::NoEndOfTable => {
                "nothing, if a manifest says that all arrived; QEMU makes such tables from '-smbios file=' with two structures"
            }
            Self::NoOemStrings => {
                "pass credentials on the host, and check that the hypervisor and its machine type carry OEM strings"
            }
            Self::OemStringsUnknown | Self::OemStringsBroken => {
                "fix what is wrong with the table: see the other findings"
            }
            Self::NoCredentials => {
                "pass credentials on the host as 'io.systemd.credential.binary:NAME=BASE64'"
            }
            _ => return None,
        })
    }

    /// What to do, if it is about a Type 11 structure or a string that is no credential.
    fn structure_advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::StructureLength { .. } => {
                "systemd refuses this structure and every one behind it; report it to whoever built the table"
            }
            Self::LongStructure { .. } => {
                "systemd 256 and older reads only its first page; pack the strings into structures of 4091 bytes or less"
            }
            Self::StringsMissing { found: 0, .. } => {
                "QEMU 9.0 and newer does this when the table exceeds 65535 bytes: send less, or set \
                 smbios-entry-point-type=64 with firmware that can carry it"
            }
            Self::StringsMissing { .. } => "look for empty values on the hypervisor's command line",
            Self::StringSplit { .. } => "send values with NUL bytes in the binary form (base64)",
            Self::CountUnclear { .. } => {
                "send values with NUL bytes in the binary form (base64), and 255 or fewer strings a structure"
            }
            Self::CountWrapped { .. } => {
                "nothing is lost here, but readers that trust the count byte lose strings; use 255 or fewer a structure"
            }
            Self::SetEndedEarly | Self::EmptyString => {
                "remove the empty OEM string on the host (a doubled comma, or an unset variable)"
            }
            Self::NearMiss { .. } => "correct the prefix on the host",
            // set_advice() names all others.
            _ => return None,
        })
    }

    /// What to do, if it is about a credential, the manifest or the set as a whole.
    fn set_advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotACredential { .. } => "correct the string on the host",
            Self::MaybeCut { .. } => {
                "mend the table as said for its damage; a manifest could prove the value whole"
            }
            Self::NameBlank => "remove the blank on the host if services ask for the name without it",
            Self::Duplicate { .. } | Self::ManifestAgain { .. } => "send it once",
            Self::AboveSystemd { .. } => {
                "systemd takes 256 credentials and 1048576 bytes at most; send fewer, or import with this program alone"
            }
            Self::ManifestMissing => "send one from the host, or do not require it",
            Self::ManifestInvalid { .. } => {
                "send it again with the same version of this program on both ends"
            }
            Self::Missing { expected: Some(_), .. } | Self::SizeDiffers { .. } => {
                "it was lost or cut on its way: see the other findings, and the hypervisor's size limits"
            }
            Self::Missing { expected: None, .. } => "check its name, and that the host passes it",
            Self::DigestDiffers => {
                "a value changed on its way; QEMU before 7.2.18 and 10.0 may add bytes to 'path=' strings"
            }
            Self::NotListed => "somebody added it behind the sender's back, or the manifest is an old one",
            Self::Ineffective => {
                "enable smbios-creds-initrd.service in the initramfs, or load the kernel module dmi-sysfs there"
            }
            Self::NotHandedOver => {
                "run 'smbios-creds import' in the host stage too, or send it under another name"
            }
            Self::Empty { .. } => {
                "check where the host takes it from (an unset variable, an empty file), or allow it with --allow-empty"
            }
            Self::EntryPoint { .. }
            | Self::TableCut(_)
            | Self::TableShort(_)
            | Self::TableLong(_)
            | Self::MoreStructures(_)
            | Self::Damaged { .. }
            | Self::NoEndOfTable
            | Self::BehindEndOfTable { .. }
            | Self::NoOemStrings
            | Self::OemStringsUnknown
            | Self::OemStringsBroken
            | Self::NoCredentials
            | Self::StructureLength { .. }
            | Self::LongStructure { .. }
            | Self::StringsMissing { .. }
            | Self::StringSplit { .. }
            | Self::CountUnclear { .. }
            | Self::CountWrapped { .. }
            | Self::SetEndedEarly
            | Self::EmptyString
            | Self::NearMiss { .. } => return None,
        })
    }
}
