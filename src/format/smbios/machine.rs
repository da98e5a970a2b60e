//! Reads what the firmware and the hypervisor say about themselves in structures of Type 0 and Type 1 (DSP0134 §7.1 and
//! §7.2).
//!
//! The crate smbios-lib decodes these two structures. This module passes no other structure to the crate, and no
//! structure that follows a Type 11 structure with a wrong number of strings: the bytes after such a structure may be
//! text of OEM strings. So the copies that the crate makes never contain a secret.
//!
//! The strings in these two structures do not prove which firmware or hypervisor runs the machine: anyone who starts
//! the machine can set most of the strings.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use smbioslib::{SMBiosInformation, SMBiosString, SMBiosStruct, SMBiosSystemInformation, UndefinedStruct};

use super::{OemStructure, Table};
use crate::text::escape::Escaped;

/// Maximum number of bytes that this module keeps of a string. In SMBIOS 2.6 and older, every string was limited to 64
/// bytes (DSP0134 §6.1.3).
const SHOWN_MAX: usize = 64;

/// The machine that a table describes. Every string is escaped for printing, and at most 64 bytes long before escaping.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Machine {
    /// The hypervisor, if the strings of the table identify it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<Hypervisor>,
    /// The firmware, if the table contains a Type 0 structure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// The machine's model, if the table contains a Type 1 structure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
}

/// The firmware, as it describes itself in a Type 0 structure (DSP0134 §7.1).
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Firmware {
    /// The vendor, such as `SeaBIOS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The firmware's version, in the vendor's own format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The firmware's release date, month first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

/// The model of a machine, as its hypervisor describes it in a Type 1 structure (DSP0134 §7.2).
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Model {
    /// The machine's manufacturer, such as `QEMU`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// Name of the product, such as `Standard PC (Q35 + ICH9, 2009)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The model's version. In QEMU, this is the machine type, such as `pc-q35-7.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A hypervisor, recognized by strings in the Type 0 and Type 1 structures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hypervisor {
    /// QEMU. The Type 1 structure contains `QEMU` as the manufacturer, and the machine type as the version
    /// (`hw/smbios/smbios.c`; recorded from QEMU 7.2 and 10.0).
    Qemu,
    /// cloud-hypervisor. This hypervisor writes the Type 0 structure itself, with its own name as the vendor
    /// (`arch/src/x86_64/smbios.rs`; recorded from cloud-hypervisor 53).
    CloudHypervisor,
    /// crosvm. This hypervisor writes the Type 0 structure itself, with its own name as the vendor
    /// (`x86_64/src/smbios.rs`).
    Crosvm,
    /// Hyper-V. A Hyper-V machine has the product name `Virtual Machine` and the manufacturer `Microsoft Corporation`.
    /// The vendor of its firmware is Microsoft too, or, in a machine of generation 1, American Megatrends (seen in
    /// published recordings of SMBIOS tables). Hyper-V writes OEM strings of its own, but has no option to add other
    /// OEM strings.
    HyperV,
}

/// The manufacturer's name in Hyper-V's machines.
const MICROSOFT: &str = "Microsoft Corporation";

/// A kind of firmware. For each kind of firmware in this list, this program knows how the firmware handles tables of
/// more than 65,535 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FirmwareKind {
    /// SeaBIOS, with its major and minor version if SeaBIOS reports them.
    SeaBios(Option<(u32, u32)>),
    /// UEFI firmware made from EDK II, such as OVMF.
    EdkII,
}

impl Machine {
    /// Reads from a table what firmware and hypervisor say about themselves. Uses only the first structure of Type 0
    /// and the first structure of Type 1.
    ///
    /// ```
    /// use smbios_creds::format::smbios::{Table, machine::{Hypervisor, Machine}};
    /// let system = b"\x01\x1b\0\x01\x01\x02\x03\0................\x06\0\0QEMU\0Standard PC\0pc-q35-7.2\0\0";
    /// let machine = Machine::of(&Table::parse(b"", system.to_vec()));
    /// assert_eq!(machine.hypervisor, Some(Hypervisor::Qemu));
    /// assert_eq!(machine.to_string(), "QEMU (pc-q35-7.2)");
    /// ```
    #[must_use]
    pub fn of(table: &Table) -> Self {
        let end = lost_strings(table).unwrap_or(usize::MAX);
        let (mut firmware, mut model) = (None, None);
        for structure in table.structures().iter().take_while(|structure| structure.offset < end) {
            let bytes = || table.data().get(structure.offset..structure.end).unwrap_or_default();
            match structure.kind {
                SMBiosInformation::STRUCT_TYPE if firmware.is_none() => firmware = Firmware::read(bytes()),
                SMBiosSystemInformation::STRUCT_TYPE if model.is_none() => model = Model::read(bytes()),
                _ => {}
            }
        }
        let hypervisor = Hypervisor::of(firmware.as_ref(), model.as_ref());
        Self { hypervisor, firmware, model }
    }

    /// Returns the kind of the firmware. Returns `None` if the firmware is of another kind than the kinds in
    /// [`FirmwareKind`].
    #[must_use]
    pub fn firmware_kind(&self) -> Option<FirmwareKind> {
        let firmware = self.firmware.as_ref()?;
        match firmware.vendor.as_deref()? {
            "SeaBIOS" => Some(FirmwareKind::SeaBios(firmware.version.as_deref().and_then(major_and_minor))),
            // Examples of vendors: "EDK II", "Debian distribution of EDK II", and, before 2023, "EFI Development Kit II
            // / OVMF".
            vendor if vendor.contains("EDK II") || vendor.contains("EFI Development Kit II") => {
                Some(FirmwareKind::EdkII)
            }
            _ => None,
        }
    }

    /// Whether the firmware cuts tables that are larger than 65,535 bytes. Returns `None` if the firmware or its
    /// version is not known.
    ///
    /// SeaBIOS before 1.17.0 copies only `size % 65536` bytes of a table (`src/fw/biostables.c`, fixed by commit
    /// 163fd9f0). A distribution may have included the fix in an older version.
    #[must_use]
    pub fn cuts_tables_above_64_kib(&self) -> Option<bool> {
        match self.firmware_kind()? {
            FirmwareKind::SeaBios(version) => version.map(|version| version < (1, 17)),
            FirmwareKind::EdkII => Some(false),
        }
    }
}

impl Firmware {
    /// Reads vendor, version and date from the bytes of a Type 0 structure (its formatted area and its strings).
    fn read(structure: &[u8]) -> Option<Self> {
        let structure = UndefinedStruct::new(&structure.to_vec());
        let fields = structure.as_type::<SMBiosInformation<'_>>()?;
        Some(Self {
            vendor: shown(&fields.vendor()),
            version: shown(&fields.version()),
            date: shown(&fields.release_date()),
        })
    }
}

impl Model {
    /// Reads manufacturer, product and version from the bytes of a Type 1 structure (its formatted area and its
    /// strings).
    fn read(structure: &[u8]) -> Option<Self> {
        let structure = UndefinedStruct::new(&structure.to_vec());
        let fields = structure.as_type::<SMBiosSystemInformation<'_>>()?;
        Some(Self {
            manufacturer: shown(&fields.manufacturer()),
            product: shown(&fields.product_name()),
            version: shown(&fields.version()),
        })
    }
}

impl Hypervisor {
    /// Whether the hypervisor has an option to add OEM strings.
    #[must_use]
    pub fn carries_oem_strings(self) -> bool {
        match self {
            Self::Qemu | Self::CloudHypervisor | Self::Crosvm => true,
            Self::HyperV => false,
        }
    }

    fn of(firmware: Option<&Firmware>, model: Option<&Model>) -> Option<Self> {
        let vendor = firmware.and_then(|firmware| firmware.vendor.as_deref());
        let manufacturer = model.and_then(|model| model.manufacturer.as_deref());
        let version = model.and_then(|model| model.version.as_deref()).unwrap_or_default();
        if vendor == Some("cloud-hypervisor") || manufacturer == Some("Cloud Hypervisor") {
            Some(Self::CloudHypervisor)
        } else if vendor == Some("crosvm") {
            Some(Self::Crosvm)
        } else {
            // QEMU is often started with another manufacturer's name than `QEMU`, but the version in the Type 1
            // structure is a machine type of QEMU even then.
            let is_machine_type = version.starts_with("pc-i440fx-") || version.starts_with("pc-q35-");
            let product = model.and_then(|model| model.product.as_deref());
            let is_hyper_v = (manufacturer, product) == (Some(MICROSOFT), Some("Virtual Machine"))
                && vendor.is_some_and(|vendor| [MICROSOFT, "American Megatrends Inc."].contains(&vendor));
            let is_qemu = manufacturer == Some("QEMU") || is_machine_type;
            is_qemu.then_some(Self::Qemu).or(is_hyper_v.then_some(Self::HyperV))
        }
    }
}

impl Display for Hypervisor {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Qemu => "QEMU",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Crosvm => "crosvm",
            Self::HyperV => "Hyper-V",
        })
    }
}

/// Displays the machine in one line: `QEMU (pc-q35-7.2), firmware SeaBIOS 1.16.2-debian-1.16.2-1`.
impl Display for Machine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let model = self.model.as_ref();
        if let Some(hypervisor) = self.hypervisor {
            write!(f, "{hypervisor}")?;
        } else {
            let parts = model.map(|model| [&model.manufacturer, &model.product]);
            let name = parts.map(words).filter(|name| !name.is_empty());
            f.write_str(name.as_deref().unwrap_or("unknown machine"))?;
        }
        if let Some(version) = model.and_then(|model| model.version.as_deref()) {
            write!(f, " ({version})")?;
        }
        // If cloud-hypervisor or crosvm runs the machine, no firmware is displayed: these two hypervisors write the
        // Type 0 structure themselves, so this structure does not describe firmware.
        if matches!(self.hypervisor, Some(Hypervisor::CloudHypervisor | Hypervisor::Crosvm)) {
            return Ok(());
        }
        let parts = self.firmware.as_ref().map(|firmware| [&firmware.vendor, &firmware.version]);
        match parts.map(words).filter(|firmware| !firmware.is_empty()) {
            Some(firmware) => write!(f, ", firmware {firmware}"),
            None => Ok(()),
        }
    }
}

/// Joins the parts that are not `None`, with a blank between them.
fn words(parts: [&Option<String>; 2]) -> String {
    parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Prepares a string for printing: removes blanks at both ends, cuts the string to [`SHOWN_MAX`] bytes, and escapes it.
/// Returns `None` if the string is missing, or if it contains nothing except blanks.
fn shown(string: &SMBiosString) -> Option<String> {
    let string = string.to_utf8_lossy()?;
    let bytes = string.trim_ascii().as_bytes();
    let cut = bytes.get(..SHOWN_MAX).unwrap_or(bytes);
    (!cut.is_empty()).then(|| Escaped(cut).to_string())
}

/// Returns the first two numbers of a version such as `1.16.2-debian-1.16.2-1` or `rel-1.17.0-0-gb52ca86e094d`.
fn major_and_minor(version: &str) -> Option<(u32, u32)> {
    let version = version.strip_prefix("rel-").unwrap_or(version);
    let (major, rest) = version.split_once('.')?;
    let minor = rest.split(|character: char| !character.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Returns the offset of the first Type 11 structure whose number of strings differs from its count byte. The bytes
/// after this structure may be text of its strings, which can look like a structure by chance.
fn lost_strings(table: &Table) -> Option<usize> {
    let lost =
        |oem: &OemStructure<'_>| oem.count().map(usize::from) != Some(oem.structure.strings.len() % 256);
    table.oem_structures().find(lost).map(|oem| oem.structure.offset)
}
