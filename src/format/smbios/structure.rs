//! The walk over the structures of a table (DSP0134 §6.1), by positions.
//!
//! It copies nothing, so the table's own buffer is the only memory that holds a secret. Wherever the bytes stop being a
//! structure, the walk says where and why.

use std::ops::Range;

use memchr::memchr;

/// Structure type that ends a table (DSP0134 §7.46).
pub const END_OF_TABLE: u8 = 127;

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

/// Reads structures until the table ends or its bytes are no structure. With `ends_at_127`, the end-of-table structure is
/// the last one.
pub(super) fn walk(data: &[u8], ends_at_127: bool) -> Walk {
    let mut walk = Walk { structures: Vec::new(), end: 0, damage: None };
    while let Some(rest) = data.get(walk.end..).filter(|rest| !rest.is_empty()) {
        match structure(rest, walk.end) {
            Ok(structure) => {
                let is_last = ends_at_127 && structure.kind == END_OF_TABLE;
                walk.end = structure.end;
                walk.structures.push(structure);
                if is_last {
                    break;
                }
            }
            Err(damage) => {
                walk.damage = Some(damage);
                break;
            }
        }
    }
    walk
}

/// Reads the structure at the beginning of `rest`, which is at `offset` in the table.
fn structure(rest: &[u8], offset: usize) -> Result<Structure, Damage> {
    let [kind, length, handle_low, handle_high, _, _, ..] = *rest else { return Err(Damage::TooShort) };
    let formatted = usize::from(length);
    if formatted < HEADER_LENGTH {
        return Err(Damage::Length(length));
    }
    let set = rest.get(formatted..).ok_or(Damage::FormattedArea)?;
    let at = offset + formatted;
    let mut strings = Vec::new();
    let mut start = 0;
    let size = loop {
        let end = start + memchr(0, set.get(start..).unwrap_or_default()).ok_or(Damage::Unterminated)?;
        let next = *set.get(end + 1).ok_or(Damage::Unterminated)?;
        // The set of a structure without strings is its terminator only.
        if end > 0 || next != 0 {
            strings.push(at + start..at + end);
        }
        if next == 0 {
            break end + TERMINATOR;
        }
        start = end + 1;
    };
    Ok(Structure {
        kind,
        handle: u16::from_le_bytes([handle_low, handle_high]),
        offset,
        length,
        strings,
        end: at + size,
    })
}
