//! Makes the advice on a finding: what to do on this machine or, if the machine is not known, on any machine.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::finding::{Finding, FindingKind, Severity};
use super::origin::Origin;
use crate::format::smbios::machine::{FirmwareKind, Hypervisor, Machine};

/// Maximum size, in bytes, of a table of cloud-hypervisor or crosvm. Both hypervisors put the table after the 24 bytes
/// of the entry point at 0xf0000, and the table must end below 1 MiB (measured with cloud-hypervisor 53.0 and crosvm
/// f1e797a68).
const TABLE_MAX_BELOW_1_MIB: usize = 65_512;

/// Maximum size, in bytes, of a table whose entry point has a 16-bit number for the size.
const TABLE_MAX_16_BITS: usize = 65_535;

impl Finding {
    /// Returns what to do about the finding on this machine.
    #[must_use]
    pub fn advice(&self, machine: &Machine) -> Cow<'static, str> {
        self.advice_for(machine).unwrap_or_else(|| self.general_advice().into())
    }

    /// Returns what to do about the finding on any machine.
    fn general_advice(&self) -> &'static str {
        let kind = &self.kind;
        kind.table_advice()
            .or_else(|| kind.structure_advice())
            .or_else(|| kind.receipt_advice())
            .or_else(|| kind.set_advice())
            .unwrap_or_default()
    }

    /// Returns the advice that depends on the machine or on the size of its table; `None` if no such advice exists for
    /// this finding.
    fn advice_for(&self, machine: &Machine) -> Option<Cow<'static, str>> {
        let hypervisor = machine.hypervisor;
        match (&self.kind, hypervisor) {
            (FindingKind::TableCut(_) | FindingKind::Damaged { .. }, Some(Hypervisor::HyperV)) => {
                Some("nothing: Hyper-V writes such tables, and has no option for OEM strings".into())
            }
            (FindingKind::TableCut(extent), _) => Some(cut(extent.announced_bytes, machine)),
            (FindingKind::Damaged { remaining, .. }, _) => {
                let size = matches!(self.origin, Some(Origin::Smbios { offset: Some(offset), .. })
                    if offset + remaining > TABLE_MAX_16_BITS);
                Some(damaged(size, machine))
            }
            (FindingKind::StringsMissing { found: 0, .. }, Some(Hypervisor::Qemu)) => Some(dropped(machine)),
            (FindingKind::Duplicate { .. } | FindingKind::ManifestAgain { .. }, _)
                if self.severity == Severity::Note =>
            {
                Some(
                    "nothing: the host also sends it by fw_cfg, from which systemd 256 and older reads all of it"
                        .into(),
                )
            }
            (FindingKind::Missing { near: Some(near), .. }, _) => Some(
                format!(
                    "did you mean {near}, which arrived? If not, check that the host sends the credential"
                )
                .into(),
            ),
            (kind, Some(hypervisor)) => kind.hypervisor_advice(hypervisor),
            (_, None) => None,
        }
    }
}

/// Returns what to do about a table that is shorter than the `announced` number of bytes.
fn cut(announced: usize, machine: &Machine) -> Cow<'static, str> {
    if let Some(hypervisor @ (Hypervisor::CloudHypervisor | Hypervisor::Crosvm)) = machine.hypervisor
        && announced > TABLE_MAX_BELOW_1_MIB
    {
        return format!(
            "{hypervisor}'s table must end below 1 MiB: keep it at {TABLE_MAX_BELOW_1_MIB} bytes or less"
        )
        .into();
    }
    if announced <= TABLE_MAX_16_BITS {
        return "no firmware is known that cuts so small a table: record it again; if it is still cut, another \
                program has overwritten it"
            .into();
    }
    match (machine.firmware_kind(), machine.cuts_tables_above_64_kib()) {
        (Some(FirmwareKind::SeaBios(Some((major, minor)))), Some(true)) => format!(
            "SeaBIOS {major}.{minor} cuts tables above 64 KiB: keep it below 65536 bytes, or use SeaBIOS 1.17 or newer, or \
             UEFI firmware"
        )
        .into(),
        (_, Some(false)) => "this firmware is not known to cut tables: keep it below 65536 bytes, and report it".into(),
        _ => "firmware cut the table: keep it below 65536 bytes, or use SeaBIOS 1.17 or newer, or UEFI firmware".into(),
    }
}

/// Returns what to do about bytes that are not a structure. `is_large` says whether the table is larger than
/// [`TABLE_MAX_16_BITS`].
fn damaged(is_large: bool, machine: &Machine) -> Cow<'static, str> {
    let look = machine.hypervisor.and_then(where_empty_strings_are).unwrap_or(
        "look for empty OEM strings on the \
                hypervisor's command line",
    );
    let rest = if is_large && machine.cuts_tables_above_64_kib() != Some(false) {
        ", and keep the table below 65536 bytes"
    } else {
        ""
    };
    format!("{look}{rest}").into()
}

/// Returns where on a hypervisor's command line the user should look for an empty string, which ends the list of
/// strings or breaks the table.
fn where_empty_strings_are(hypervisor: Hypervisor) -> Option<&'static str> {
    match hypervisor {
        Hypervisor::Qemu => Some(
            "look for an empty 'value=' of '-smbios type=11', and for a broken structure in '-smbios file='",
        ),
        Hypervisor::CloudHypervisor => Some(
            "look for an empty element in oem_strings of '--platform' (a doubled comma, an unset variable)",
        ),
        Hypervisor::Crosvm => {
            Some("look for an empty element in oem-strings of '--smbios' (an unset variable)")
        }
        Hypervisor::HyperV => None,
    }
}

/// Returns what to do if QEMU has dropped every string. QEMU 9.0 and newer drops the strings if the table is too large
/// for a 32-bit entry point, which is the default.
fn dropped(machine: &Machine) -> Cow<'static, str> {
    let mut text =
        "QEMU 9.0 and newer does this when the table exceeds 65535 bytes: send less, start it with \
                    smbios-creds-host, or set smbios-entry-point-type=64"
            .to_owned();
    match (machine.firmware_kind(), machine.cuts_tables_above_64_kib()) {
        (_, Some(false)) => text.push_str(", which this firmware can carry"),
        (Some(FirmwareKind::SeaBios(Some((major, minor)))), Some(true)) => {
            // Writing to a string cannot fail.
            _ = write!(
                text,
                " with SeaBIOS 1.17 or newer or UEFI firmware instead of SeaBIOS {major}.{minor}"
            );
        }
        _ => text.push_str(" with SeaBIOS 1.17 or newer or UEFI firmware"),
    }
    text.into()
}

/// Returns how a host sends credentials to a virtual machine of this hypervisor.
fn how_to_send(hypervisor: Hypervisor) -> &'static str {
    match hypervisor {
        Hypervisor::Qemu => "start QEMU with smbios-creds-host, or pass credentials with '-smbios type=11'",
        Hypervisor::CloudHypervisor => {
            "start cloud-hypervisor with smbios-creds-host, or pass credentials in oem_strings of '--platform'"
        }
        Hypervisor::Crosvm => {
            "start crosvm with smbios-creds-host, or pass credentials in oem-strings of '--smbios'"
        }
        Hypervisor::HyperV => "Hyper-V has no option for OEM strings: send credentials another way",
    }
}

impl FindingKind {
    /// Returns the advice for this hypervisor, which does not mention other hypervisors; `None` if there is no such
    /// advice.
    fn hypervisor_advice(&self, hypervisor: Hypervisor) -> Option<Cow<'static, str>> {
        let writes_one = matches!(hypervisor, Hypervisor::CloudHypervisor | Hypervisor::Crosvm);
        match self {
            Self::NoOemStrings | Self::NoCredentials => Some(how_to_send(hypervisor).into()),
            Self::TableShort(_) | Self::NoEndOfTable if hypervisor != Hypervisor::Qemu => {
                Some("nothing, if a manifest proves that the set is complete".into())
            }
            Self::LongStructure { .. } if writes_one => Some(
                format!(
                    "systemd 256 and older reads only its first page, and {hypervisor} writes one structure only: \
                     import with smbios-creds, which reads all of it"
                )
                .into(),
            ),
            Self::LongStructure { .. } if hypervisor == Hypervisor::Qemu => Some(
                "systemd 256 and older reads only its first page: import with smbios-creds, which reads all of it, \
                 or start QEMU with smbios-creds-host, which writes smaller structures"
                    .into(),
            ),
            Self::CountWrapped { .. } | Self::CountUnclear { .. } if writes_one => Some(
                format!("{hypervisor} writes one structure only: send 255 or fewer strings, with NUL bytes in the binary form")
                    .into(),
            ),
            Self::StringsMissing { .. } | Self::SetEndedEarly | Self::EmptyString => {
                where_empty_strings_are(hypervisor).map(Cow::from)
            }
            Self::DigestDiffers if hypervisor != Hypervisor::Qemu => {
                Some("a value changed on its way: send the set again".into())
            }
            _ => None,
        }
    }

    /// Returns what to do about a finding about the table as a whole; `None` for other findings.
    fn table_advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::EntryPoint { .. } => "the firmware or the recording is broken; record the table again",
            Self::TableLong(_) | Self::MoreStructures(_) => {
                "a kernel never exports such a table; record it again"
            }
            Self::BehindEndOfTable { .. } => {
                "nothing: firmware pads its tables, and Linux reads no further either; OEM strings must be before \
                 the end-of-table structure"
            }
            Self::TableShort(_) | Self::NoEndOfTable => {
                "nothing, if a manifest proves that the set is complete; QEMU makes such tables from '-smbios file=' \
                 with two structures"
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

    /// Returns what to do about a finding about a Type 11 structure, or about a string that is not a credential; `None`
    /// for other findings.
    fn structure_advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::StructureLength { .. } => {
                "systemd refuses this structure and all structures after it; report this to the authors of the \
                 hypervisor or firmware"
            }
            Self::LongStructure { .. } => {
                "systemd 256 and older reads only its first page: import with smbios-creds, which reads all of it, \
                 or pack the strings into structures of 4091 bytes or less if the hypervisor takes structures"
            }
            Self::StringsMissing { found: 0, .. } => {
                "QEMU 9.0 and newer does this when the table exceeds 65535 bytes: send less, or set \
                 smbios-entry-point-type=64 with firmware that can carry it; elsewhere, look for an empty first OEM string"
            }
            Self::StringsMissing { .. } => "look for empty values on the hypervisor's command line",
            Self::StringSplit { .. } => "send values with NUL bytes in the binary form (base64)",
            Self::CountUnclear { .. } => {
                "send values with NUL bytes in the binary form (base64), and at most 255 strings in each structure"
            }
            Self::CountWrapped { .. } => {
                "nothing is lost here, but readers that trust the count byte lose strings; use at most 255 strings \
                 in each structure"
            }
            Self::SetEndedEarly | Self::EmptyString => {
                "on the host, remove the empty OEM string (a doubled comma, or an unset variable)"
            }
            Self::NearMiss { .. } => "on the host, correct the prefix",
            // The match in set_advice() lists all other kinds of findings.
            _ => return None,
        })
    }

    /// Returns what to do about a finding about the receipt that the host asks for; `None` for other findings.
    fn receipt_advice(&self) -> Option<&'static str> {
        match self {
            Self::ReceiptInvalid { .. } => {
                Some("no receipt is sent: let smbios-creds-host write the address, with --receipt PORT")
            }
            _ => None,
        }
    }

    /// Returns what to do about a finding about a credential, the manifest or the set as a whole; `None` for other
    /// findings.
    fn set_advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotACredential { .. } => "on the host, correct the string",
            Self::ItemNotACredential { .. } => "on the host, correct the option -fw_cfg",
            Self::MaybeCut { .. } => {
                "fix the table: see the other findings; a manifest can prove that the value is complete"
            }
            Self::NameBlank => "on the host, remove the blank, if services use the name without the blank",
            Self::Duplicate { .. } | Self::ManifestAgain { .. } | Self::ReceiptAgain => "send it only once",
            Self::AboveSystemd { .. } => {
                "systemd takes 256 credentials and 1048576 bytes at most; send fewer, or import only with \
                 smbios-creds"
            }
            Self::ManifestMissing => "send a manifest from the host, or do not require it",
            Self::ManifestInvalid { .. } => "use the same version of this program on both ends",
            Self::Missing { expected: Some(_), .. } | Self::SizeDiffers { .. } => {
                "the value was lost or cut on the way: fix the other findings, and check the hypervisor's size limits"
            }
            Self::Trust(trust) => trust.advice(),
            Self::Sealed(sealed) => sealed.advice(),
            Self::Missing { expected: None, .. } => "check the credential's name, and that the host sends it",
            Self::DigestDiffers => {
                "a value changed on its way; QEMU before 7.2.18 and 10.0 may add bytes to 'path=' strings"
            }
            Self::NotListed => {
                "send the credential with the others, so that the manifest lists it, or remove it on the host"
            }
            Self::Ineffective => {
                "enable smbios-creds-initrd.service in the initramfs, or load the kernel module dmi-sysfs there"
            }
            Self::NotHandedOver => {
                "run 'smbios-creds import' after switch-root too, or send it under another name"
            }
            Self::Empty { .. } => {
                "correct the variable or the file on the host, or allow an empty value with --allow-empty"
            }
            Self::ReceiptInvalid { .. }
            | Self::EntryPoint { .. }
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
