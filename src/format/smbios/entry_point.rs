//! The SMBIOS entry point (DSP0134 §5.2.1 and §5.2.2), as Linux exports it in `smbios_entry_point`.
//!
//! This program parses the entry point itself: the crate smbios-lib 0.9.4 panics on an `_SM_` entry point of 32 bytes,
//! a length that Linux accepts and exports (`dmi_present()`, `drivers/firmware/dmi_scan.c`).
//! `docs/decisions/0001-smbios-lib.md` says for what this program uses smbios-lib, and for what this program does not
//! use smbios-lib.

/// Size in bytes of the largest entry point that Linux exports.
pub const SIZE_MAX: usize = 32;

/// The data about an SMBIOS table that its entry point contains.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EntryPoint {
    /// Form of the entry point. The form decides whether a structure of Type 127 ends the table.
    pub form: Form,
    /// Major and minor version of DSP0134 that the table claims to follow.
    pub version: (u8, u8),
    /// Size of the table in bytes. An `_SM_` entry point contains the exact size, and an `_SM3_` entry point the
    /// maximum size.
    pub table_size: usize,
    /// Number of structures in the table. Only an `_SM_` entry point contains this number.
    pub structures: Option<usize>,
    /// Physical address of the table in memory.
    pub address: u64,
}

/// The two forms of the entry point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// The 32-bit form, which starts with `_SM_` (DSP0134 §5.2.1).
    Smbios2,
    /// The 64-bit form, which starts with `_SM3_` (DSP0134 §5.2.2).
    Smbios3,
}

/// Why an entry point cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryPointError {
    /// The entry point starts with neither `_SM_` nor `_SM3_`.
    #[error("it starts with neither '_SM_' nor '_SM3_'")]
    Anchor,
    /// Neither DSP0134 nor Linux allows the length that the length byte gives.
    #[error("its length byte says {0}, which is not allowed")]
    Length(u8),
    /// The entry point has fewer bytes than its length byte says.
    #[error("it has {found} bytes, but its length byte says {announced}")]
    Cut {
        /// Length of the entry point in bytes, according to its length byte.
        announced: u8,
        /// Number of bytes that the entry point has.
        found: usize,
    },
    /// The checksum is wrong: the sum of the entry point's bytes, modulo 256, is not 0.
    #[error("its checksum is wrong")]
    Checksum,
    /// The second part of an `_SM_` entry point does not start with its own anchor, `_DMI_`.
    #[error("its second part does not start with '_DMI_'")]
    IntermediateAnchor,
    /// The checksum of the second part of an `_SM_` entry point is wrong: the sum of this part's bytes, modulo 256, is
    /// not 0.
    #[error("the checksum of its second part is wrong")]
    IntermediateChecksum,
}

impl EntryPoint {
    /// Reads an entry point and verifies its checksums.
    ///
    /// # Errors
    /// [`EntryPointError`] says what is wrong with the entry point.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryPointError> {
        if bytes.starts_with(b"_SM3_") {
            Self::smbios3(bytes)
        } else if bytes.starts_with(b"_SM_") {
            Self::smbios2(bytes)
        } else {
            Err(EntryPointError::Anchor)
        }
    }

    fn smbios2(bytes: &[u8]) -> Result<Self, EntryPointError> {
        // According to DSP0134, an `_SM_` entry point has 31 bytes. A misprint in version 2.1 of DSP0134 says 30, and
        // newer firmware pads the entry point to 32 bytes.
        let bytes = checked(bytes, 5, 30..=32)?;
        let intermediate = bytes.get(16..).unwrap_or_default();
        if !intermediate.starts_with(b"_DMI_") {
            return Err(EntryPointError::IntermediateAnchor);
        }
        // The second part of an `_SM_` entry point has 15 bytes. If an entry point has 30 bytes, Linux exports it
        // without the last byte of the second part, so the checksum of this part cannot be verified.
        if intermediate.get(..15).is_some_and(|part| sum(part) != 0) {
            return Err(EntryPointError::IntermediateChecksum);
        }
        Ok(Self {
            form: Form::Smbios2,
            version: (byte(bytes, 6), byte(bytes, 7)),
            table_size: count(bytes, 22..24),
            structures: Some(count(bytes, 28..30)),
            address: little_endian(bytes, 24..28),
        })
    }

    fn smbios3(bytes: &[u8]) -> Result<Self, EntryPointError> {
        let bytes = checked(bytes, 6, 24..=32)?;
        Ok(Self {
            form: Form::Smbios3,
            version: (byte(bytes, 7), byte(bytes, 8)),
            table_size: count(bytes, 12..16),
            structures: None,
            address: little_endian(bytes, 16..24),
        })
    }
}

/// Writes a 64-bit entry point (DSP0134 §5.2.2) of SMBIOS 3.2, for a table of `table_size` bytes at the physical
/// address `address`.
///
/// ```
/// use smbios_creds::format::smbios::entry_point::{EntryPoint, write};
/// let entry_point = EntryPoint::parse(&write(4096, 0xf_0018))?;
/// assert_eq!((entry_point.table_size, entry_point.version), (4096, (3, 2)));
/// # Ok::<(), smbios_creds::format::smbios::entry_point::EntryPointError>(())
/// ```
#[must_use]
pub fn write(table_size: u32, address: u64) -> [u8; 24] {
    let [s0, s1, s2, s3] = table_size.to_le_bytes();
    let [a0, a1, a2, a3, a4, a5, a6, a7] = address.to_le_bytes();
    let with = |checksum| {
        let [c0, c1, c2, c3, c4] = *b"_SM3_";
        // The entry point contains these fields between its checksum and the table's size. The version of SMBIOS is
        // 3.2, without an errata number (`docrev`).
        let [length, major, minor, docrev, revision, reserved] = [24, 3, 2, 0, 1, 0];
        [
            c0, c1, c2, c3, c4, checksum, length, major, minor, docrev, revision, reserved, s0, s1, s2, s3,
            a0, a1, a2, a3, a4, a5, a6, a7,
        ]
    };
    with(sum(&with(0)).wrapping_neg())
}

/// Returns the bytes that the length byte at `length_at` covers, if the length is allowed and the sum of these bytes,
/// modulo 256, is 0.
fn checked(
    bytes: &[u8],
    length_at: usize,
    allowed: std::ops::RangeInclusive<u8>,
) -> Result<&[u8], EntryPointError> {
    let Some(&announced) = bytes.get(length_at) else {
        return Err(EntryPointError::Cut { announced: *allowed.start(), found: bytes.len() });
    };
    if !allowed.contains(&announced) {
        return Err(EntryPointError::Length(announced));
    }
    let covered =
        bytes.get(..announced.into()).ok_or(EntryPointError::Cut { announced, found: bytes.len() })?;
    if sum(covered) == 0 { Ok(covered) } else { Err(EntryPointError::Checksum) }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte))
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

fn little_endian(bytes: &[u8], range: std::ops::Range<usize>) -> u64 {
    let bytes = bytes.get(range).unwrap_or_default();
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn count(bytes: &[u8], range: std::ops::Range<usize>) -> usize {
    usize::try_from(little_endian(bytes, range)).unwrap_or(usize::MAX)
}
