//! Reads and writes OEM strings in SMBIOS tables (structures of Type 11), as DSP0134 specifies (System Management BIOS
//! Reference Specification, 3.9.0).
//!
//! [`Table::parse`] never fails, and keeps everything that can be read. Each error in the table becomes a [`Fault`],
//! which the table contains in addition to its structures. So a cut or damaged table is noticed, even if its beginning
//! looks correct.

pub mod dump;
pub mod entry_point;
pub mod machine;
mod structure;
pub mod write;

use std::cmp::Ordering;

use super::credential::Secret;

use entry_point::{EntryPoint, EntryPointError, Form};
pub use structure::{Damage, END_OF_TABLE, Structure};

/// Structure type of OEM strings (DSP0134 §7.12).
pub const OEM_STRINGS: u8 = 11;

/// Length in bytes of the formatted area of a Type 11 structure: type, length, handle and count (DSP0134 §7.12).
/// systemd refuses every other length (`read_smbios11_field()`).
pub const OEM_STRINGS_LENGTH: u8 = 5;

/// An error that [`Table::parse`] found in a table or its entry point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The entry point is damaged, so it cannot be read.
    EntryPoint(EntryPointError),
    /// The table has fewer bytes or structures than the entry point announces, and nothing shows that the table is
    /// complete.
    Cut(Extent),
    /// The table has fewer bytes than the entry point announces, but every structure was found. The announced size may
    /// be a maximum, so the table may be smaller.
    Short(Extent),
    /// The table has more bytes than the entry point announces.
    Long(Extent),
    /// The table has more structures than the entry point announces. The kernel would not read the additional
    /// structures.
    MoreStructures(Extent),
    /// The bytes from `offset` on do not form a structure.
    Damaged {
        /// Start of the damaged structure, in bytes from the start of the table.
        offset: usize,
        /// Number of bytes from this offset to the end of the table.
        remaining: usize,
        /// Why the bytes do not form a structure.
        damage: Damage,
    },
    /// The table does not end with a structure of type 127.
    NoEndOfTable,
    /// Bytes follow the end-of-table structure (Type 127). No program reads these bytes. A table with an `_SM3_` entry
    /// point ends at the end-of-table structure. In a table with an `_SM_` entry point, every announced structure
    /// precedes these bytes.
    BehindEndOfTable {
        /// Start of the bytes after the end-of-table structure, in bytes from the start of the table.
        offset: usize,
        /// Number of bytes after the end-of-table structure.
        remaining: usize,
    },
}

/// The size of a table that the entry point announces, and the size that was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Extent {
    /// Announced size of the table in bytes.
    pub announced_bytes: usize,
    /// Number of bytes found in the table.
    pub found_bytes: usize,
    /// Announced number of structures. An `_SM3_` entry point does not announce a number of structures, so this field
    /// is `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced_structures: Option<usize>,
    /// Number of structures found in the table.
    pub found_structures: usize,
}

/// A parsed table. The bytes of the table can contain secrets, and are wiped from memory when the table is dropped.
pub struct Table {
    entry_point: Option<EntryPoint>,
    data: Secret,
    structures: Vec<Structure>,
    faults: Vec<Fault>,
}

impl Table {
    /// Parses the content of the two files that Linux exports: the entry point (`smbios_entry_point`) and the structure
    /// table (`DMI`).
    ///
    /// ```
    /// use smbios_creds::format::smbios::Table;
    /// let table = Table::parse(b"", vec![127, 4, 0, 0, 0, 0]);
    /// assert_eq!(table.structures().len(), 1);
    /// assert_eq!(table.faults().len(), 1); // the entry point is missing
    /// ```
    pub fn parse(entry_point: &[u8], data: impl Into<Secret>) -> Self {
        let data = data.into();
        let entry_point = EntryPoint::parse(entry_point);
        // A structure of Type 127 ends the table only if the entry point has the 64-bit form (Linux
        // drivers/firmware/dmi_scan.c).
        let ends_at_127 = matches!(entry_point, Ok(EntryPoint { form: Form::Smbios3, .. }));
        let walk = structure::walk(data.expose(), ends_at_127);

        let mut faults = Vec::new();
        let (offset, remaining) = (walk.end, data.len().saturating_sub(walk.end));
        match walk.damage {
            Some(damage) if !ends_before_damage(entry_point.as_ref().ok(), &walk.structures) => {
                faults.push(Fault::Damaged { offset, remaining, damage });
            }
            None if remaining == 0 => {}
            Some(_) | None => faults.push(Fault::BehindEndOfTable { offset, remaining }),
        }
        let ended = walk.structures.iter().any(|structure| structure.kind == END_OF_TABLE);
        let entry_point = match entry_point {
            Ok(entry_point) => {
                faults.extend(extent_fault(&entry_point, data.len(), walk.structures.len(), ended));
                Some(entry_point)
            }
            Err(error) => {
                faults.push(Fault::EntryPoint(error));
                None
            }
        };
        let cut = faults.iter().any(|fault| matches!(fault, Fault::Damaged { .. } | Fault::Cut(_)));
        if !ended && !cut {
            faults.push(Fault::NoEndOfTable);
        }
        Self { entry_point, data, structures: walk.structures, faults }
    }

    /// Returns the entry point, if it could be read.
    #[must_use]
    pub fn entry_point(&self) -> Option<&EntryPoint> {
        self.entry_point.as_ref()
    }

    /// Returns the errors that [`Table::parse`] found in the table and its entry point.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether the table was read to its end. If the table was read to its end, it contains no string that this program
    /// did not find. The result is true only if the end of the table is known, and if the table is neither cut nor
    /// damaged. If bytes follow the end-of-table structure, the result is true only if these bytes are padding, because
    /// other bytes may belong to the table.
    #[must_use]
    pub fn is_read_to_its_end(&self) -> bool {
        let is_end_known = self.entry_point.is_some()
            || self.structures.iter().any(|structure| structure.kind == END_OF_TABLE);
        is_end_known
            && self.faults.iter().all(|fault| match *fault {
                Fault::Cut(_) | Fault::Damaged { .. } => false,
                Fault::BehindEndOfTable { offset, .. } => {
                    is_padding(self.data().get(offset..).unwrap_or_default())
                }
                _ => true,
            })
    }

    /// Returns the offset of the table's damaged structure, if the table has a damaged structure of Type 11. The
    /// strings of the damaged structure were not read.
    #[must_use]
    pub fn broken_oem_structure(&self) -> Option<usize> {
        self.faults.iter().find_map(|fault| match *fault {
            Fault::Damaged { offset, .. } => match self.data().get(offset..)? {
                [OEM_STRINGS] | [OEM_STRINGS, OEM_STRINGS_LENGTH, ..] => Some(offset),
                _ => None,
            },
            _ => None,
        })
    }

    /// Returns every structure, in the order of the table.
    #[must_use]
    pub fn structures(&self) -> &[Structure] {
        &self.structures
    }

    /// Returns the bytes of the structure table.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.data.expose()
    }

    /// Returns the Type 11 structures in the order of the table. The kernel calls the first Type 11 structure `11-0`,
    /// and the next one `11-1`.
    pub fn oem_structures(&self) -> impl Iterator<Item = OemStructure<'_>> {
        self.structures
            .iter()
            .filter(|structure| structure.kind == OEM_STRINGS)
            .enumerate()
            .map(|(index, structure)| OemStructure { index, structure, data: self.data() })
    }
}

fn extent_fault(entry_point: &EntryPoint, bytes: usize, structures: usize, ended: bool) -> Option<Fault> {
    let extent = Extent {
        announced_bytes: entry_point.table_size,
        found_bytes: bytes,
        announced_structures: entry_point.structures,
        found_structures: structures,
    };
    let complete = entry_point.structures.map_or(ended, |announced| structures >= announced);
    if !complete && (bytes < entry_point.table_size || entry_point.structures.is_some()) {
        Some(Fault::Cut(extent))
    } else if bytes > entry_point.table_size {
        Some(Fault::Long(extent))
    } else if entry_point.structures.is_some_and(|announced| structures > announced) {
        Some(Fault::MoreStructures(extent))
    } else {
        (bytes < entry_point.table_size).then_some(Fault::Short(extent))
    }
}

/// Whether a table with an `_SM_` entry point is complete although damaged bytes follow its structures: the structures
/// before these bytes include an end-of-table structure and every announced structure. Linux does not read the damaged
/// bytes of such a table either (`dmi_decode_table()`, `drivers/firmware/dmi_scan.c`).
///
/// If the table has more structures than the entry point announces, the last structure must be the end-of-table
/// structure. If the last structure is of another type, the damaged bytes may be one of the announced structures.
fn ends_before_damage(entry_point: Option<&EntryPoint>, structures: &[Structure]) -> bool {
    let Some(announced) = entry_point.and_then(|entry_point| entry_point.structures) else { return false };
    let is_end = |structure: &Structure| structure.kind == END_OF_TABLE;
    match structures.len().cmp(&announced) {
        Ordering::Less => false,
        Ordering::Equal => structures.iter().any(is_end),
        Ordering::Greater => structures.last().is_some_and(is_end),
    }
}

/// Whether bytes are padding. Firmware fills the rest of a table with zeroes, or with the 0xFF bytes of erased flash
/// memory.
pub(crate) fn is_padding(bytes: &[u8]) -> bool {
    [0, u8::MAX].iter().any(|padding| bytes.iter().all(|byte| byte == padding))
}

/// A Type 11 structure and its strings.
#[derive(Clone, Copy)]
pub struct OemStructure<'a> {
    /// Number of this structure among the Type 11 structures, counted from 0.
    pub index: usize,
    /// Position and length of the structure.
    pub structure: &'a Structure,
    data: &'a [u8],
}

impl<'a> OemStructure<'a> {
    /// Returns the count byte: the number of strings that the structure announces. The number may be wrong: some
    /// hypervisors let the byte overflow (256 strings become 0), or count strings that they then omit. Returns `None`
    /// if the structure is too short for a count byte.
    #[must_use]
    pub fn count(&self) -> Option<u8> {
        let at = self.structure.offset + usize::from(OEM_STRINGS_LENGTH) - 1;
        (self.structure.length >= OEM_STRINGS_LENGTH).then(|| self.data.get(at).copied())?
    }

    /// Returns every string that was found, even empty strings. Each string is returned as its offset in the table and
    /// its bytes. The count byte has no effect on the result.
    pub fn strings(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let data = self.data;
        self.structure
            .strings
            .clone()
            .into_iter()
            .map(move |range| (range.start, data.get(range).unwrap_or_default()))
    }

    /// Returns all bytes of the table that follow this structure.
    #[must_use]
    pub fn behind(&self) -> &'a [u8] {
        self.data.get(self.structure.end..).unwrap_or_default()
    }
}

/// Whether bytes that should be a structure's header look like text: the bytes for type and handle are printable.
pub(crate) fn looks_like_text(header: &[u8]) -> bool {
    matches!(header, [kind, _, low, high, ..] if [kind, low, high].iter().all(|byte| byte.is_ascii_graphic()))
}
