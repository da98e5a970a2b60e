//! The walk over the structures of a table, by smbios-lib. The only file that names it.
//!
//! smbios-lib 0.9.4 ends its walk without a word wherever the bytes stop being a structure, and copies what it
//! reads. Both are dealt with here: the bytes of every structure are accounted for, so the end of the walk is known
//! exactly, and only positions are kept; strings are read from the table's own buffer. Its `get_string` (strict
//! UTF-8) and `Debug` (prints values) are never used.

use std::ops::Range;

use smbioslib::SMBiosData;

use super::END_OF_TABLE;

/// Type, length and handle (DSP0134 §6.1.2).
const HEADER_LENGTH: usize = 4;

/// The two NUL bytes that end a structure's string set (DSP0134 §6.1.3).
const TERMINATOR: usize = 2;

/// Where a structure lies in the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Structure {
    /// Structure type.
    pub kind: u8,
    /// Handle, by which other structures refer to it.
    pub handle: u16,
    /// Where it starts, from the beginning of the table.
    pub offset: usize,
    /// Length of its formatted area.
    pub length: u8,
    /// Where its strings are, without their NUL bytes.
    pub strings: Vec<Range<usize>>,
    /// Where the next structure starts.
    pub end: usize,
}

/// Why bytes are no structure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// Too few bytes for a header and an empty string set.
    #[error("too few bytes are left for a structure")]
    TooShort,
    /// A length byte below that of the header.
    #[error("its length byte says {0}, less than the 4 bytes of its own header")]
    Length(u8),
    /// The formatted area runs past the end of the table.
    #[error("its formatted area runs past the end of the table")]
    FormattedArea,
    /// No two NUL bytes before the end of the table.
    #[error("its strings have no end before the end of the table")]
    Unterminated,
}

/// The structures that could be read, and where and why that stopped.
pub(super) struct Walk {
    pub(super) structures: Vec<Structure>,
    pub(super) end: usize,
    pub(super) damage: Option<Damage>,
}

pub(super) fn walk(data: &[u8], ends_at_127: bool) -> Walk {
    let parsed = SMBiosData::from_vec_and_version(data.to_vec(), None);
    let mut structures = Vec::new();
    let mut end = 0;
    for parsed in parsed.iter() {
        let offset = end;
        let mut at = offset + parsed.fields.len();
        let strings: Vec<_> = parsed
            .strings
            .iter()
            .map(|string| {
                let range = at..at + string.len();
                at = range.end + 1;
                range
            })
            .collect();
        // Each string brought its NUL along, one of the two that end the set; an empty set has both to itself.
        end = at + if strings.is_empty() { TERMINATOR } else { TERMINATOR - 1 };
        let kind = parsed.header.struct_type();
        structures.push(Structure {
            kind,
            handle: *parsed.header.handle(),
            offset,
            length: parsed.header.length(),
            strings,
            end,
        });
        if ends_at_127 && kind == END_OF_TABLE {
            return Walk { structures, end, damage: None };
        }
    }
    Walk { structures, end, damage: damage(data.get(end..).unwrap_or_default()) }
}

/// Why smbios-lib did not take `rest` for a structure.
fn damage(rest: &[u8]) -> Option<Damage> {
    match *rest {
        [] => None,
        [_, length, _, _, ..] if rest.len() >= HEADER_LENGTH + TERMINATOR => {
            Some(if usize::from(length) < HEADER_LENGTH {
                Damage::Length(length)
            } else if rest.len() < usize::from(length) {
                Damage::FormattedArea
            } else {
                Damage::Unterminated
            })
        }
        _ => Some(Damage::TooShort),
    }
}
