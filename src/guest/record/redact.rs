//! A table without its secrets that still parses the same: what `record` writes unless told otherwise.
//!
//! Every value is replaced by filler of the same length, base64 by base64 of the same kind, and so are the strings
//! of others, serial numbers, asset tags and the machine's UUID. Where the table is broken, what follows may be the
//! text of a lost string, so nothing of it is kept but what makes it break in the same way.

use std::collections::BTreeMap;
use std::ops::Range;

use smbioslib::{DefinedStruct, SMBiosString, SystemUuidData, UndefinedStruct};
use zeroize::Zeroizing;

use crate::format::base64::{self, Base64Error};
use crate::format::credential::{Credential, Name, Secret};
use crate::format::manifest::{self, Manifest};
use crate::format::oem_string::{self, DecodeError, Encoding, OemString};
use crate::format::smbios::{self, Damage, END_OF_TABLE, Fault, OEM_STRINGS, OemStructure, Structure, Table};

/// What replaces a byte.
const FILLER: u8 = b'x';

/// What replaces a byte of a value that is sent again, as long as the first one and another: it must stay another.
const OTHER_FILLER: u8 = b'y';

/// Highest structure type that DSP0134 3.9.0 assigns; 126 (inactive) and 127 (end of table) stand apart.
const LAST_ASSIGNED: u8 = 46;

/// Highest bit set: a structure type of the vendor's own (DSP0134 §6.1.2), and no ASCII.
const VENDOR_TYPE: u8 = 0x80;

/// The UUID in a Type 1 structure (DSP0134 §7.2.1).
const UUID: Range<usize> = 0x08..0x18;

/// A copy of the table's bytes without secrets. Where the digest of a manifest matches, it matches in the copy.
#[must_use]
pub fn redact(table: &Table) -> Vec<u8> {
    let mut data = table.data().to_vec();
    let mut strings_lost = false;
    let mut values = Values::default();
    let mut oem_structures = table.oem_structures();
    for structure in table.structures() {
        match structure.kind {
            OEM_STRINGS => {
                for range in &structure.strings {
                    redact_string(bytes(&mut data, range.clone()), &mut values);
                }
                // They are in the same order.
                strings_lost |= oem_structures.next().is_some_and(|oem| count_exceeds(&oem));
            }
            END_OF_TABLE => {}
            0..=LAST_ASSIGNED | 126 if !strings_lost => redact_identity(&mut data, structure),
            0..=LAST_ASSIGNED | 126 => redact_content(&mut data, structure),
            _ => redact_unknown(bytes(&mut data, structure.offset..structure.end)),
        }
    }
    redact_manifests(&mut data, table, &values);
    redact_rest(&mut data, table);
    data
}

fn bytes(data: &mut [u8], range: Range<usize>) -> &mut [u8] {
    data.get_mut(range).unwrap_or_default()
}

/// Whether strings are missing, so that what follows the structure may be their text.
fn count_exceeds(oem: &OemStructure<'_>) -> bool {
    oem.count().is_some_and(|count| usize::from(count) > oem.structure.strings.len())
}

/// The values of strings that were looked at, of which the first of a name counts.
#[derive(Default)]
struct Values {
    all: Vec<Secret>,
    first: BTreeMap<Name, usize>,
    /// What may be values without a name, numbered.
    nameless: BTreeMap<Name, usize>,
}

impl Values {
    fn get(&self, name: &Name) -> Option<&Secret> {
        self.all.get(*self.first.get(name)?)
    }

    /// The same for the same text, from 1.
    fn number_of(&mut self, nameless: Name) -> usize {
        let next = self.nameless.len() + 1;
        *self.nameless.entry(nameless).or_insert(next)
    }

    fn add(&mut self, name: Name, value: Secret) {
        self.first.entry(name).or_insert(self.all.len());
        self.all.push(value);
    }
}

/// Keeps what tells how a string is read, and nothing of what it says. `values` has those before it.
fn redact_string(string: &mut [u8], values: &mut Values) {
    match oem_string::decode(string) {
        OemString::Credential(credential, encoding) if oem_string::may_be_nameless(&credential, encoding) => {
            // Blanks may follow the equals sign.
            let start = encoding.prefix().len();
            let end = start + credential.name.as_str().len();
            redact_nameless(bytes(string, start..end), values.number_of(credential.name));
        }
        OemString::Credential(Credential { name, value }, encoding) => {
            let filler = match values.get(&name) {
                Some(first) if first.len() == value.len() && first.expose() != value.expose() => OTHER_FILLER,
                _ => FILLER,
            };
            let (size, prefix) = (value.len(), encoding.prefix().len() + name.as_str().len() + 1);
            values.add(name, value);
            redact_value(string.get_mut(prefix..).unwrap_or_default(), encoding, filler, size);
        }
        OemString::Undecodable(error, encoding) => {
            redact_undecodable(
                string.get_mut(encoding.prefix().len()..).unwrap_or_default(),
                error,
                encoding,
            );
        }
        OemString::Manifest(_) => {}
        OemString::NearMiss { .. } => {
            let public = oem_string::near_miss_length(string);
            string.iter_mut().skip(public).for_each(|byte| *byte = FILLER);
        }
        OemString::Foreign => string.fill(FILLER),
    }
}

/// Replaces what may be a value without a name by base64 that only strings with the same text have.
fn redact_nameless(text: &mut [u8], mut number: usize) {
    text.fill(b'A');
    for byte in text.iter_mut().rev().skip(1) {
        *byte = b'A' + u8::try_from(number % 26).unwrap_or_default();
        number /= 26;
    }
}

/// Replaces a value of `size` bytes by filler of the same form.
fn redact_value(text: &mut [u8], encoding: Encoding, filler: u8, size: usize) {
    match encoding {
        Encoding::Text => text.fill(filler),
        Encoding::Binary => {
            // As many characters as there are; blanks stay where they are.
            let encoded = base64::encode(&vec![filler; size]);
            let characters = text.iter_mut().filter(|byte| !base64::is_blank(**byte));
            characters.zip(encoded.bytes()).for_each(|(byte, filler)| *byte = filler);
        }
    }
}

/// Replaces everything after a prefix by filler that is refused for the same reason. What looks like a name may be a
/// value, so no byte of it is kept.
fn redact_undecodable(rest: &mut [u8], error: DecodeError, encoding: Encoding) {
    rest.fill(FILLER);
    let length = rest.len();
    let mut put = |at: usize, byte: u8| {
        if let Some(place) = rest.get_mut(at) {
            *place = byte;
        }
    };
    match (error, encoding) {
        (DecodeError::NoEquals, _) => {}
        // An empty name where there is no room for a bad one.
        (DecodeError::Name(_), _) if length < 2 => put(0, b'='),
        (DecodeError::Name(_), _) => {
            put(0, b'/');
            put(1, b'=');
        }
        (DecodeError::Base64(_), _) => {
            put(1, b'=');
            put(2, b'!');
        }
        (DecodeError::TooLarge { .. }, Encoding::Text) => put(1, b'='),
        // The filler is a base64 character; the value keeps whole groups of four.
        (DecodeError::TooLarge { .. }, Encoding::Binary) => put(length.saturating_sub(2) % 4 + 1, b'='),
    }
}

/// Text that is refused as base64 for the same reason, or accepted.
fn redact_base64(text: &mut [u8]) {
    let refused = base64::decode(text).err();
    for byte in text.iter_mut() {
        *byte = match *byte {
            b'=' => *byte,
            blank if base64::is_blank(blank) => blank,
            b'+' | b'-' | b'/' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => b'A',
            _ => b'!',
        };
    }
    if refused == Some(Base64Error::SpareBits)
        && let Some(last) = text.iter_mut().rev().find(|byte| **byte == b'A')
    {
        *last = b'/';
    }
}

/// Replaces serial numbers, asset tags and the UUID of a structure.
fn redact_identity(data: &mut [u8], structure: &Structure) {
    let fields = numbered(data, structure);
    let fields = fields.defined_struct();
    for number in serials(&fields).into_iter().filter_map(SMBiosString::ok) {
        let index = number.parse().ok().and_then(|number: usize| number.checked_sub(1));
        let string = index.and_then(|index| structure.strings.get(index));
        bytes(data, string.cloned().unwrap_or_default()).fill(FILLER);
    }
    // All zero or all one means that there is none (§7.2.1).
    if let DefinedStruct::SystemInformation(system) = &fields
        && let Some(SystemUuidData::Uuid(_)) = system.uuid()
    {
        bytes(data, structure.offset + UUID.start..structure.offset + UUID.end).fill(FILLER);
    }
}

/// Serial numbers and asset tags, by type (DSP0134 §7.2 to §7.5, §7.18, §7.23 and §7.40). One more type is one more line.
fn serials(fields: &DefinedStruct<'_>) -> Vec<SMBiosString> {
    match fields {
        DefinedStruct::SystemInformation(system) => vec![system.serial_number()],
        DefinedStruct::BaseBoardInformation(board) => vec![board.serial_number(), board.asset_tag()],
        DefinedStruct::SystemChassisInformation(chassis) => {
            vec![chassis.serial_number(), chassis.asset_tag_number()]
        }
        DefinedStruct::ProcessorInformation(processor) => {
            vec![processor.serial_number(), processor.asset_tag()]
        }
        DefinedStruct::MemoryDevice(memory) => vec![memory.serial_number(), memory.asset_tag()],
        DefinedStruct::PortableBattery(battery) => vec![battery.serial_number()],
        DefinedStruct::SystemPowerSupply(supply) => vec![supply.serial_number(), supply.asset_tag_number()],
        _ => vec![],
    }
}

/// The structure as smbios-lib reads it, with the number of each string in place of its text.
///
/// The accessor of a field then says which string the field refers to, and our walk knows where that one is. No text of
/// the table gets into smbios-lib's copies.
fn numbered(data: &[u8], structure: &Structure) -> UndefinedStruct {
    let formatted = structure.offset..structure.offset + usize::from(structure.length);
    let mut copy = data.get(formatted).unwrap_or_default().to_vec();
    // A field refers to a string by one byte.
    for number in 1..=structure.strings.len().min(255) {
        copy.extend_from_slice(number.to_string().as_bytes());
        copy.push(0);
    }
    copy.extend_from_slice(if structure.strings.is_empty() { &[0, 0] } else { &[0] });
    UndefinedStruct::new(&copy)
}

/// Replaces everything but type, length and the number of strings. It looks like text if it did before.
fn redact_content(data: &mut [u8], structure: &Structure) {
    let text = smbios::looks_like_text(bytes(data, structure.offset..structure.end));
    bytes(data, structure.offset + 2..structure.offset + usize::from(structure.length)).fill(FILLER);
    if !text {
        bytes(data, structure.offset + 2..structure.offset + 3).fill(VENDOR_TYPE);
    }
    for range in &structure.strings {
        bytes(data, range.clone()).fill(FILLER);
    }
}

/// A structure of the same size with one string, in place of one whose type nobody has assigned: it may be text.
fn redact_unknown(structure: &mut [u8]) {
    let content = structure.len().saturating_sub(2);
    fill(bytes(structure, 0..content), Some(4));
}

/// Fills a structure or what is left of one, with a length byte of its own. It looks like text if it did before.
fn fill(rest: &mut [u8], length: Option<u8>) {
    let text = smbios::looks_like_text(rest);
    rest.fill(FILLER);
    if let Some(kind) = rest.first_mut().filter(|_| !text) {
        *kind = VENDOR_TYPE;
    }
    if let (Some(byte), Some(length)) = (rest.get_mut(1), length) {
        *byte = length;
    }
}

/// Bytes that no structure holds: broken in the same way, for the same reason.
fn redact_rest(data: &mut [u8], table: &Table) {
    for fault in table.faults() {
        let (offset, length) = match *fault {
            Fault::Damaged { offset, damage, .. } => match damage {
                Damage::TooShort => (offset, None),
                Damage::Length(length) => (offset, Some(length)),
                // More than there is left, and no NUL anywhere.
                Damage::FormattedArea => (offset, Some(u8::MAX)),
                Damage::Unterminated => (offset, Some(4)),
            },
            Fault::BehindEndOfTable { offset, .. } => (offset, None),
            _ => continue,
        };
        fill(data.get_mut(offset..).unwrap_or_default(), length);
    }
}

/// Manifests keep their names and sizes. The digest of the real values would let a weak one be guessed: it becomes
/// that of the filler where it matched, and zero where it did not.
fn redact_manifests(data: &mut [u8], table: &Table, values: &Values) {
    let ranges = table.oem_structures().flat_map(|oem| oem.structure.strings.clone());
    let (manifests, others): (Vec<_>, Vec<_>) = ranges.partition(|range| {
        table.data().get(range.clone()).is_some_and(|string| string.starts_with(manifest::PREFIX.as_bytes()))
    });
    let mut filler = Values::default();
    for range in others {
        if let OemString::Credential(Credential { name, value }, _) = oem_string::decode(bytes(data, range)) {
            filler.add(name, value);
        }
    }
    // The first counts. One that says something else must still do so, and it may be the digest alone that differs.
    let text = |range: &Range<usize>| table.data().get(range.start + manifest::PREFIX.len()..range.end);
    let decode = |range| Manifest::decode(text(range).unwrap_or_default());
    let counts = manifests.iter().find_map(|range| decode(range).ok());
    let is_right = counts.as_ref().is_some_and(|manifest| manifest.matches(|name| values.get(name)));
    let redacted = |manifest: Manifest, is_other: bool| {
        let value_of = |name: &Name| if is_other { None } else { filler.get(name) };
        manifest.with_digest_of((is_right || is_other).then_some(value_of))
    };
    // Once: the values may be large, and the manifest of them may be there a thousand times.
    let first = counts.clone().map(|manifest| redacted(manifest, false));
    for range in manifests {
        let string = bytes(data, range);
        let text = string.get_mut(manifest::PREFIX.len()..).unwrap_or_default();
        let redacted = match Manifest::decode(text) {
            Ok(manifest) if counts.as_ref() == Some(&manifest) => first.clone(),
            Ok(manifest) => Some(redacted(manifest, true)),
            Err(_) => None,
        };
        let room = manifest::PREFIX.len() + text.len();
        let redacted = redacted.and_then(|manifest| manifest.encode_within(room)).map(Zeroizing::new);
        match redacted.as_deref().and_then(|string| string.strip_prefix(manifest::PREFIX)) {
            // Blanks are allowed in base64, and so can make up for a length that differs.
            Some(redacted) => {
                text.fill(b' ');
                bytes(text, 0..redacted.len()).copy_from_slice(redacted.as_bytes());
            }
            _ => redact_base64(text),
        }
    }
}
