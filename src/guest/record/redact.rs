//! Makes a copy of a table without secrets. A guest parses the copy in the same way as the table. `record` writes this
//! copy by default.
//!
//! Every value is replaced by filler of the same length, and a value in base64 by filler in base64. Of structures other
//! than Type 11, only names of a maker, a model or a version are kept (`fields.rs`). A second search then replaces
//! secrets and personal data that are repeated in the kept parts (`repeats.rs`). Names of credentials are kept
//! unchanged. If a table breaks at some place, the bytes after this place may be the text of a lost string. Of these
//! bytes, the copy keeps only the bytes that make the copy break in the same way as the table.

use std::ops::Range;

use zeroize::Zeroizing;

use super::fields::Fields;
use super::items;
use super::repeats::{self, FILLER, OTHER_FILLER};
use super::sealed::{Ciphertexts, plain_filler};
use super::values::Values;
use crate::format::base64::{self, Base64Error};
use crate::format::credential::{Credential, Name, Secret};
use crate::format::fw_cfg::Item;
use crate::format::manifest::{self, Manifest};
use crate::format::oem_string::{self, DecodeError, ENCRYPTED_PREFIX, Encoding, OemString};
use crate::format::receipt::Address;
use crate::format::smbios::{
    self, Damage, END_OF_TABLE, Fault, OEM_STRINGS, OEM_STRINGS_LENGTH, OemStructure, Structure, Table,
};

/// Highest structure type that DSP0134 3.9.0 assigns, except [`INACTIVE`] and [`END_OF_TABLE`].
const LAST_ASSIGNED: u8 = 46;

/// Type of a structure that the firmware has deactivated, whatever type the structure had before (DSP0134 §7.48).
const INACTIVE: u8 = 126;

/// The highest bit of a byte. In a structure's type, the highest bit marks a vendor's own type (DSP0134 §6.1.2). In
/// ASCII text, the highest bit is never set.
const VENDOR_TYPE: u8 = 0x80;

/// Length in bytes of a structure's header: type, length and handle (DSP0134 §6.1.2).
const HEADER_LENGTH: usize = 4;

/// Returns a copy of the table's bytes without secrets and personal data. If the digest of a manifest matches in the
/// table, it also matches in the copy.
#[must_use]
pub fn redact(table: &Table) -> Vec<u8> {
    redact_both(table, &[]).0
}

/// Returns copies of a table and of `fw_cfg` items without secrets and personal data. The items and the table together
/// are one set, in which the items come first.
#[must_use]
pub fn redact_both(table: &Table, items: &[Item]) -> (Vec<u8>, Vec<Item>) {
    let mut data = table.data().to_vec();
    let mut strings_lost = false;
    let mut values = items::values(items, Secret::copy);
    let mut fields = Fields::default();
    let mut ciphertexts = Ciphertexts::default();
    let manifest = items::manifest(items).or_else(|| manifest_that_counts(table));
    let mut oem_structures = table.oem_structures();
    for structure in table.structures() {
        match structure.kind {
            OEM_STRINGS => {
                for range in &structure.strings {
                    let string = bytes(&mut data, range.clone());
                    let public = if string.starts_with(ENCRYPTED_PREFIX.as_bytes()) {
                        let prefix = ENCRYPTED_PREFIX.len();
                        prefix + ciphertexts.redact(string.get_mut(prefix..).unwrap_or_default())
                    } else {
                        redact_string(string, &mut values, manifest.as_ref())
                    };
                    // A string of another program usually comes from the vendor and is not a secret, so the second
                    // search does not look for its text.
                    if public > 0 {
                        fields.personal.push(range.start + public..range.end);
                    }
                }
                let unknown = structure.offset + usize::from(OEM_STRINGS_LENGTH);
                let end = structure.offset + usize::from(structure.length);
                bytes(&mut data, unknown..end).fill(0);
                // `oem_structures` returns the Type 11 structures in the same order in which this loop reaches them.
                strings_lost |= oem_structures.next().is_some_and(|oem| count_exceeds(&oem));
            }
            0..=LAST_ASSIGNED | INACTIVE | END_OF_TABLE if !strings_lost => {
                let meaning = Fields::of(table.data(), structure);
                redact_fields(&mut data, structure, &meaning.kept);
                fields.append(meaning);
            }
            0..=LAST_ASSIGNED | INACTIVE | END_OF_TABLE => redact_content(&mut data, structure),
            _ => redact_unknown(bytes(&mut data, structure.offset..structure.end)),
        }
    }
    let items = redact_manifests(&mut data, table, items, (&values, &ciphertexts), manifest.as_ref());
    redact_rest(&mut data, table);
    let hidden = fields.personal.iter().filter_map(|range| table.data().get(range.clone()));
    let hidden = hidden.chain(fields.repeatable.iter().map(Vec::as_slice));
    repeats::replace(&mut data, &fields.kept, hidden.chain(values.all().map(Secret::expose)));
    (data, items)
}

fn bytes(data: &mut [u8], range: Range<usize>) -> &mut [u8] {
    data.get_mut(range).unwrap_or_default()
}

/// Whether the structure has fewer strings than its count byte announces. If strings are missing, the bytes after the
/// structure may be their text.
fn count_exceeds(oem: &OemStructure<'_>) -> bool {
    oem.count().is_some_and(|count| usize::from(count) > oem.structure.strings.len())
}

/// Overwrites the content of a string, but keeps the bytes that decide how a guest reads the string. `values` contains
/// the values of earlier strings; the value of this string is added. Returns the number of kept bytes at the beginning
/// of the string.
fn redact_string(string: &mut [u8], values: &mut Values, manifest: Option<&Manifest>) -> usize {
    match oem_string::decode(string) {
        OemString::MaybeNameless(text) => {
            if let Some(Credential { name, value }) = text.named(manifest, |_| false) {
                values.add(name, value);
                return string.len();
            }
            // Only the text before the equals sign is replaced. Blanks that follow the equals sign are kept.
            let start = Encoding::Binary.prefix().len();
            redact_nameless(bytes(string, start..start + text.length()), manifest);
            start
        }
        OemString::Credential(Credential { name, value }, encoding) => {
            let filler = match values.get(&name) {
                Some(first) if first.len() == value.len() && first.expose() != value.expose() => OTHER_FILLER,
                _ => FILLER,
            };
            let prefix = encoding.prefix().len() + name.as_str().len() + 1;
            let filler = plain_filler(value.expose(), filler);
            values.add(name, value);
            redact_value(string.get_mut(prefix..).unwrap_or_default(), encoding, &filler);
            prefix
        }
        OemString::Undecodable(error, encoding) => {
            let prefix = encoding.prefix().len();
            redact_undecodable(string.get_mut(prefix..).unwrap_or_default(), error, encoding);
            prefix
        }
        OemString::Manifest(_) => string.len(),
        OemString::Receipt(text) => {
            let public = string.len() - text.len() + Address::public_length(text);
            string.iter_mut().skip(public).for_each(|byte| *byte = FILLER);
            public
        }
        OemString::Signature(text) | OemString::Encrypted(text) => {
            let public = string.len() - text.len();
            string.iter_mut().skip(public).for_each(|byte| *byte = FILLER);
            public
        }
        OemString::NearMiss { .. } => {
            let public = oem_string::near_miss_length(string);
            string.iter_mut().skip(public).for_each(|byte| *byte = FILLER);
            public
        }
        OemString::Foreign => {
            string.fill(FILLER);
            0
        }
    }
}

/// Replaces text that may be a value without a name by filler in base64 that the manifest does not list as a name.
/// Blanks keep their positions.
fn redact_nameless(text: &mut [u8], manifest: Option<&Manifest>) {
    // The last character of the filler is always `A`, because base64 requires some bits of the last character to be
    // zero.
    for filler in b'A'..=b'Z' {
        let mut characters = text.iter_mut().rev().filter(|byte| !base64::is_blank(**byte));
        characters.next().into_iter().for_each(|last| *last = b'A');
        characters.for_each(|byte| *byte = filler);
        let is_listed = |manifest: &Manifest| str::from_utf8(text).is_ok_and(|text| manifest.lists(text));
        if !manifest.is_some_and(is_listed) {
            break;
        }
    }
}

/// Replaces a value by filler of the same length, in the same encoding.
fn redact_value(text: &mut [u8], encoding: Encoding, filler: &Secret) {
    match encoding {
        Encoding::Text => text.iter_mut().zip(filler.expose()).for_each(|(byte, filler)| *byte = *filler),
        Encoding::Binary => {
            // The number of characters stays the same; blanks keep their positions.
            let encoded = base64::encode(filler.expose());
            let characters = text.iter_mut().filter(|byte| !base64::is_blank(**byte));
            characters.zip(encoded.bytes()).for_each(|(byte, filler)| *byte = filler);
        }
    }
}

/// Replaces everything after the prefix of a string by filler that a guest refuses for the same reason. Text that looks
/// like a name may be a value, so no byte of this text is kept.
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
        // The text is too short for the filler `/=`, whose name `/` a guest refuses. So the filler is `=`, whose empty
        // name a guest refuses too.
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
        // [`FILLER`] is a base64 character. The `=` is placed so that the value after it has complete groups of four
        // characters, as base64 requires.
        (DecodeError::TooLarge { .. }, Encoding::Binary) => put(length.saturating_sub(2) % 4 + 1, b'='),
    }
}

/// Replaces text by filler. Base64 decoding accepts the filler if it accepts the text, and otherwise refuses both for
/// the same reason.
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

/// Replaces everything in a structure that is not kept: strings by filler, and fields by zero. In most fields, zero
/// means that the field has no value.
fn redact_fields(data: &mut [u8], structure: &Structure, kept: &[Range<usize>]) {
    let fields = structure.offset + HEADER_LENGTH..structure.offset + usize::from(structure.length);
    let strings = structure.strings.iter().map(|string| (string.clone(), FILLER));
    for (range, filler) in strings.chain([(fields, 0)]) {
        for (position, byte) in (range.start..).zip(bytes(data, range)) {
            if !kept.iter().any(|kept| kept.contains(&position)) {
                *byte = filler;
            }
        }
    }
}

/// Replaces everything in a structure except its type, its length and the number of its strings. If the structure
/// looked like text before, it still looks like text.
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

/// Replaces a structure of an unassigned type by a structure of the same size with one string, because the structure
/// may be the text of a lost string.
fn redact_unknown(structure: &mut [u8]) {
    let content = structure.len().saturating_sub(2);
    fill(bytes(structure, 0..content), Some(4));
}

/// Overwrites a structure, or the rest of a broken one, with filler, and sets its length byte. If the bytes looked like
/// text before, they still look like text.
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

/// Replaces bytes that belong to no structure. The copy of the table still breaks in the same way and for the same
/// reason.
fn redact_rest(data: &mut [u8], table: &Table) {
    for fault in table.faults() {
        let (offset, length) = match *fault {
            Fault::Damaged { offset, damage, .. } => match damage {
                Damage::TooShort => (offset, None),
                Damage::Length(length) => (offset, Some(length)),
                // The original length byte is larger than the rest of the table, so 255 is larger too.
                Damage::FormattedArea => (offset, Some(u8::MAX)),
                Damage::Unterminated => (offset, Some(4)),
            },
            Fault::BehindEndOfTable { offset, .. } => (offset, None),
            _ => continue,
        };
        let rest = data.get_mut(offset..).unwrap_or_default();
        if smbios::is_padding(rest) {
            // Padding is kept: it contains no text, and a table that ends with padding counts as read to its end.
            continue;
        }
        fill(rest, length);
        // If a table breaks off in a Type 11 structure, a guest reports this fault. So the copy keeps the type of this
        // structure.
        if table.broken_oem_structure() == Some(offset) {
            rest.iter_mut().zip([OEM_STRINGS, OEM_STRINGS_LENGTH]).for_each(|(byte, kept)| *byte = kept);
        }
    }
}

/// Returns the first manifest in the table that can be decoded.
fn manifest_that_counts(table: &Table) -> Option<Manifest> {
    let mut strings = table.oem_structures().flat_map(|oem| oem.strings());
    strings.find_map(|(_, string)| match oem_string::decode(string) {
        OemString::Manifest(text) => Manifest::decode(text).ok(),
        _ => None,
    })
}

/// Redacts manifests, but keeps the names and sizes that they list. The digest of the real values could be used to
/// guess a weak value. So a digest that matched the values is replaced by the digest of the filler, and any other
/// digest by zero.
fn redact_manifests(
    data: &mut [u8],
    table: &Table,
    items: &[Item],
    (values, ciphertexts): (&Values, &Ciphertexts),
    counts: Option<&Manifest>,
) -> Vec<Item> {
    let ranges = table.oem_structures().flat_map(|oem| oem.structure.strings.clone());
    let (manifests, others): (Vec<_>, Vec<_>) = ranges.partition(|range| {
        table.data().get(range.clone()).is_some_and(|string| string.starts_with(manifest::PREFIX.as_bytes()))
    });
    let mut filler = items::values(items, items::filler);
    for range in others {
        let credential = match oem_string::decode(bytes(data, range)) {
            OemString::Credential(credential, _) => Some(credential),
            OemString::MaybeNameless(text) => text.named(counts, |_| false),
            _ => None,
        };
        if let Some(Credential { name, value }) = credential {
            filler.add(name, value);
        }
    }
    // A manifest that differs from the first manifest must differ from it in the copy too, even if only the digest
    // differs.
    let is_right = counts.is_some_and(|manifest| manifest.matches(|name| values.get(name)));
    let redacted = |manifest: Manifest, is_other: bool| {
        let value_of = |name: &Name| if is_other { None } else { filler.get(name) };
        let terms = ciphertexts.terms(&manifest);
        let manifest = manifest.with_digest_of((is_right || is_other).then_some(value_of));
        // The manifest lists the same names as before, so the new terms are valid with it.
        manifest.clone().with_terms(terms).unwrap_or(manifest)
    };
    // The filler's digest is computed only once: the values may be large, and the manifest may be repeated a thousand
    // times.
    let first = counts.cloned().map(|manifest| redacted(manifest, false));
    let redact_text = |text: &mut [u8]| {
        let redacted = match Manifest::decode(text) {
            Ok(manifest) if counts == Some(&manifest) => first.clone(),
            Ok(manifest) => Some(redacted(manifest, true)),
            Err(_) => None,
        };
        let room = manifest::PREFIX.len() + text.len();
        let redacted = redacted.and_then(|manifest| manifest.encode_within(room)).map(Zeroizing::new);
        match redacted.as_deref().and_then(|string| string.strip_prefix(manifest::PREFIX)) {
            // Blanks are allowed in base64, so they fill the text to its old length.
            Some(redacted) => {
                text.fill(b' ');
                bytes(text, 0..redacted.len()).copy_from_slice(redacted.as_bytes());
            }
            _ => redact_base64(text),
        }
    };
    for range in manifests {
        redact_text(bytes(data, range).get_mut(manifest::PREFIX.len()..).unwrap_or_default());
    }
    items::redact(items, redact_text)
}
