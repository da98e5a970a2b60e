//! Walks over the structures of a table (DSP0134 §6.1), and records their positions.
//!
//! The walk copies nothing, so secrets are only in the table's own buffer. If bytes do not form a structure, the walk
//! reports the position of the bytes and the reason.

use std::ops::Range;

use memchr::memchr;

/// Type number of the structure that ends a table (DSP0134 §7.46).
pub const END_OF_TABLE: u8 = 127;

/// Length in bytes of a structure's header: type, length and handle (DSP0134 §6.1.2).
const HEADER_LENGTH: usize = 4;

/// Length of the two NUL bytes that end a structure's string set (DSP0134 §6.1.3).
const TERMINATOR: usize = 2;

/// A structure of a table: its type, handle and position.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Structure {
    /// Type number of the structure.
    pub kind: u8,
    /// Handle: a number with which other structures refer to this structure.
    pub handle: u16,
    /// Start of the structure, in bytes from the start of the table.
    pub offset: usize,
    /// Length of the formatted area in bytes.
    pub length: u8,
    /// Positions of the structure's strings in the table, without the NUL byte that ends each string.
    pub strings: Vec<Range<usize>>,
    /// Start of the next structure, in bytes from the start of the table.
    pub end: usize,
}

/// Why bytes do not form a structure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// Fewer bytes are left in the table than a header and an empty string set have.
    #[error("too few bytes are left for a structure")]
    TooShort,
    /// The length byte gives a length that is smaller than the length of the header.
    #[error("its length byte says {0}, less than the 4 bytes of its own header")]
    Length(u8),
    /// The formatted area extends beyond the end of the table.
    #[error("its formatted area runs past the end of the table")]
    FormattedArea,
    /// The table ends before the two NUL bytes that end the structure's string set.
    #[error("its strings do not end before the end of the table")]
    Unterminated,
}

/// The result of a walk: the structures that were read, the position where reading stopped, and the reason if the bytes
/// were damaged.
pub(super) struct Walk {
    pub(super) structures: Vec<Structure>,
    pub(super) end: usize,
    pub(super) damage: Option<Damage>,
}

/// Reads structures until the table ends or the bytes do not form a structure. If `ends_at_127` is true, an
/// end-of-table structure (Type 127) also ends the reading.
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

/// Reads the structure at the start of `rest`. `offset` is the position of `rest` in the table.
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
        // If a structure has no strings, its string set consists only of the two NUL bytes that end it.
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
