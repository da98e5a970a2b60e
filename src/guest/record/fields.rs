//! Selects what a recording keeps of a structure other than Type 11, by the meaning of its fields.
//!
//! For the machine, its firmware and its parts, a recording keeps the names of the maker, the model and the version. A
//! recording keeps no other string, and no field of a structure type that is not listed in this file. All other content
//! is not needed for a bug report, and may be a serial number, an address or a host name.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use smbioslib::{DefinedStruct, HostProtocolType, SMBiosString, SystemUuidData, UndefinedStruct};

use crate::format::smbios::Structure;

/// Maximum number of bytes that a recording keeps of a string. Up to SMBIOS 2.6, this was the maximum length of a
/// string (DSP0134 §6.1.3).
const KEPT_MAX: usize = 64;

/// Position of the UUID in a Type 1 structure (DSP0134 §7.2.1).
const UUID: Range<usize> = 0x08..0x18;

/// The parts of a structure, as ranges of positions in the table.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// Bytes that the recording keeps: fields, and strings that name a maker, a model or a version.
    pub(super) kept: Vec<Range<usize>>,
    /// Strings that may identify machines or people, such as serial numbers.
    pub(super) personal: Vec<Range<usize>>,
    /// UUIDs, addresses and host names, in every form in which another field or string of the table may repeat them.
    pub(super) repeatable: Vec<Vec<u8>>,
}

impl Fields {
    /// Reads a structure whose type DSP0134 assigns.
    pub(super) fn of(data: &[u8], structure: &Structure) -> Self {
        let formatted = structure.offset..structure.offset + usize::from(structure.length);
        let bytes = data.get(formatted.clone()).unwrap_or_default();
        let numbered = numbered(bytes, structure.strings.len());
        let meaning = numbered.defined_struct();
        let string = |number: SMBiosString| {
            let number: usize = number.ok()?.parse().ok()?;
            structure.strings.get(number.checked_sub(1)?).cloned()
        };
        let personal: Vec<_> = if is_personal_as_a_whole(&meaning) {
            structure.strings.clone()
        } else {
            serials(&meaning).into_iter().filter_map(string).collect()
        };
        let mut kept: Vec<_> = models(&meaning).into_iter().filter_map(string).collect();
        // In some tables, a field for a model and a field for a serial number refer to the same string, for example
        // "Not Specified". A recording does not keep such a string.
        kept.retain(|range| !personal.contains(range));
        for range in &mut kept {
            range.end = range.end.min(range.start + KEPT_MAX);
        }
        kept.extend(kept_fields(structure.kind).iter().map(|&(start, end)| {
            let at = |position: usize| (structure.offset + position).min(formatted.end);
            at(start)..at(end)
        }));
        Self { kept, personal, repeatable: repeatable(&meaning, bytes) }
    }

    /// Adds the fields of another structure.
    pub(super) fn append(&mut self, mut other: Self) {
        self.kept.append(&mut other.kept);
        self.personal.append(&mut other.personal);
        self.repeatable.append(&mut other.repeatable);
    }
}

/// Makes a copy of the structure for smbios-lib, in which the text of each string is the string's number.
///
/// If smbios-lib is then asked for the string of a field, it returns the number of this string. This program knows at
/// which position in the table the string with this number is. So smbios-lib copies no text of the table.
fn numbered(formatted: &[u8], strings: usize) -> UndefinedStruct {
    let mut copy = formatted.to_vec();
    // A field refers to a string by a one-byte number.
    for number in 1..=strings.min(255) {
        copy.extend_from_slice(number.to_string().as_bytes());
        copy.push(0);
    }
    copy.extend_from_slice(if strings == 0 { &[0, 0] } else { &[0] });
    UndefinedStruct::new(&copy)
}

/// Returns strings that name a maker, a model or a version (DSP0134 §7.1 to §7.5, §7.18, §7.23 and §7.40).
fn models(meaning: &DefinedStruct<'_>) -> Vec<SMBiosString> {
    match meaning {
        DefinedStruct::Information(firmware) => {
            vec![firmware.vendor(), firmware.version(), firmware.release_date()]
        }
        DefinedStruct::SystemInformation(system) => {
            vec![system.manufacturer(), system.product_name(), system.version(), system.family()]
        }
        DefinedStruct::BaseBoardInformation(board) => {
            vec![board.manufacturer(), board.product(), board.version()]
        }
        DefinedStruct::SystemChassisInformation(chassis) => vec![chassis.manufacturer(), chassis.version()],
        DefinedStruct::ProcessorInformation(processor) => {
            vec![processor.processor_manufacturer(), processor.processor_version()]
        }
        DefinedStruct::MemoryDevice(memory) => vec![memory.manufacturer()],
        DefinedStruct::PortableBattery(battery) => vec![battery.manufacturer()],
        DefinedStruct::SystemPowerSupply(supply) => vec![supply.manufacturer()],
        _ => vec![],
    }
}

/// Returns strings that contain serial numbers, asset tags and SKU numbers, in the same structure types as [`models`].
fn serials(meaning: &DefinedStruct<'_>) -> Vec<SMBiosString> {
    match meaning {
        DefinedStruct::SystemInformation(system) => vec![system.serial_number(), system.sku_number()],
        DefinedStruct::BaseBoardInformation(board) => {
            vec![board.serial_number(), board.asset_tag(), board.location_in_chassis()]
        }
        DefinedStruct::SystemChassisInformation(chassis) => {
            vec![chassis.serial_number(), chassis.asset_tag_number(), chassis.sku_number()]
        }
        DefinedStruct::ProcessorInformation(processor) => {
            vec![processor.serial_number(), processor.asset_tag()]
        }
        DefinedStruct::MemoryDevice(memory) => vec![memory.serial_number(), memory.asset_tag()],
        DefinedStruct::PortableBattery(battery) => vec![battery.serial_number(), battery.manufacture_date()],
        DefinedStruct::SystemPowerSupply(supply) => vec![supply.serial_number(), supply.asset_tag_number()],
        _ => vec![],
    }
}

/// Whether any string in the structure may contain personal data. Four types may contain personal data in any string:
/// free text (Type 12, DSP0134 §7.13), a management controller's interface (Type 42, §7.43), any property (Type 46,
/// §7.47) and an inactive structure, which had another type before (Type 126, §7.48).
fn is_personal_as_a_whole(meaning: &DefinedStruct<'_>) -> bool {
    matches!(
        meaning,
        DefinedStruct::SystemConfigurationOptions(_)
            | DefinedStruct::ManagementControllerHostInterface(_)
            | DefinedStruct::StringProperty(_)
            | DefinedStruct::Inactive(_)
    )
}

/// Returns the start and the end of each range of fields that a recording keeps of a structure type. The ranges include
/// the numbers that refer to strings. The ranges do not include the UUID (Type 1), vendor-defined data (Type 3), and
/// the serial number, the date and vendor-defined data of a Smart Battery (Type 22, DSP0134 §7.23).
fn kept_fields(kind: u8) -> &'static [(usize, usize)] {
    match kind {
        0 => &[(0x04, 0x1a)],
        1 => &[(0x04, UUID.start), (UUID.end, 0x1b)],
        2 => &[(0x04, 0x0e)],
        3 => &[(0x04, 0x0d)],
        4 => &[(0x04, 0x30)],
        17 => &[(0x04, 0x28)],
        22 => &[(0x04, 0x10)],
        39 => &[(0x04, 0x16)],
        _ => &[],
    }
}

/// Returns UUIDs, addresses and host names in the fields of a structure.
fn repeatable(meaning: &DefinedStruct<'_>, formatted: &[u8]) -> Vec<Vec<u8>> {
    match meaning {
        // If the bits of the UUID are all zero or all one, the machine has no UUID (DSP0134 §7.2.1).
        DefinedStruct::SystemInformation(system)
            if matches!(system.uuid(), Some(SystemUuidData::Uuid(_))) =>
        {
            uuid(formatted.get(UUID).unwrap_or_default())
        }
        DefinedStruct::ManagementControllerHostInterface(interface) => {
            let mut found = Vec::new();
            for record in interface.protocol_record_iterator() {
                let is_redfish =
                    record.protocol_type().is_some_and(|kind| kind.value == HostProtocolType::RedfishOverIP);
                let data = record.protocol_type_specific_data().filter(|_| is_redfish);
                found.extend(redfish(data.unwrap_or_default()));
            }
            found
        }
        _ => vec![],
    }
}

/// Returns the UUID, the addresses and the host name in a record of the protocol "Redfish over IP" (DSP0270 1.3,
/// §"Redfish over IP protocol").
fn redfish(data: &[u8]) -> Vec<Vec<u8>> {
    let mut found = uuid(data.get(..16).unwrap_or_default());
    // The record contains the address of the host and the address of the service, each after a byte for its format.
    for format in [17, 51] {
        let address = data.get(format + 1..format + 17).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let text = match (data.get(format), address) {
            (Some(1), Some([a, b, c, d, ..])) => Ipv4Addr::new(a, b, c, d).to_string(),
            (Some(2), Some(address)) => Ipv6Addr::from(address).to_string(),
            _ => continue,
        };
        found.push(text.into_bytes());
    }
    let length = data.get(90).copied().map_or(0, usize::from);
    let host = data.get(91..).unwrap_or_default();
    let host = host.get(..length).unwrap_or(host);
    // Some vendors pad the host name with NUL bytes.
    let host = host.iter().position(|&byte| byte == 0).and_then(|end| host.get(..end)).unwrap_or(host);
    found.push(host.to_vec());
    found
}

/// Returns all forms in which a UUID may be repeated. The first three fields of a UUID can have either byte order. The
/// UUID in each order is returned as bytes, and as text with and without dashes, in lower and upper case.
fn uuid(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Ok(bytes) = <[u8; 16]>::try_from(bytes) else { return vec![] };
    let mut swapped = bytes;
    for field in [0..4, 4..6, 6..8] {
        swapped.get_mut(field).unwrap_or_default().reverse();
    }
    let mut forms = Vec::new();
    for order in [bytes, swapped] {
        let mut dashed = String::new();
        for (index, byte) in order.iter().enumerate() {
            dashed.push_str(if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" });
            // Writing to a string cannot fail.
            _ = write!(dashed, "{byte:02x}");
        }
        for text in [dashed.replace('-', ""), dashed] {
            forms.push(text.to_ascii_uppercase().into_bytes());
            forms.push(text.into_bytes());
        }
        forms.push(order.to_vec());
    }
    forms
}
