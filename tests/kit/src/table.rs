//! Builders of SMBIOS tables, and an independent walker over tables. The fuzz targets use both too.

/// A structure as the independent walker sees it.
pub struct Walked {
    pub kind: u8,
    pub handle: u16,
    pub length: u8,
    pub formatted: Vec<u8>,
    pub strings: Vec<Vec<u8>>,
}

/// Walks a table by DSP0134 §6.1 only, without smbios-lib and without the project's own code.
pub fn walk(data: &[u8], ends_at_127: bool) -> Vec<Walked> {
    let mut structures = Vec::new();
    let mut rest = data;
    while rest.len() >= 4 && rest[1] >= 4 && rest.len() > usize::from(rest[1]) {
        let (formatted, strings) = rest.split_at(rest[1].into());
        let Some(end) = strings.windows(2).position(|pair| pair == [0, 0]) else { break };
        structures.push(Walked {
            kind: formatted[0],
            handle: u16::from_le_bytes([formatted[2], formatted[3]]),
            length: formatted[1],
            formatted: formatted.to_vec(),
            strings: strings[..end].split(|&b| b == 0).map(<[u8]>::to_vec).filter(|_| end > 0).collect(),
        });
        rest = &strings[end + 2..];
        if ends_at_127 && formatted[0] == 127 {
            break;
        }
    }
    structures
}

/// Builds a structure with its string set.
pub fn structure(kind: u8, formatted: &[u8], strings: &[&[u8]]) -> Vec<u8> {
    let length = u8::try_from(4 + formatted.len()).unwrap();
    let mut bytes = vec![kind, length, kind, 0x0e];
    bytes.extend_from_slice(formatted);
    for string in strings {
        bytes.extend_from_slice(string);
        bytes.push(0);
    }
    bytes.extend_from_slice(if strings.is_empty() { &[0, 0] } else { &[0] });
    bytes
}

/// Builds a Type 11 structure that announces as many strings as it has.
pub fn oem(strings: &[&[u8]]) -> Vec<u8> {
    structure(11, &[u8::try_from(strings.len() % 256).unwrap()], strings)
}

/// The end-of-table structure.
pub const END: &[u8] = &[127, 4, 0, 0xfe, 0, 0];

/// Builds a table that has these strings in one structure, and an end-of-table structure.
pub fn table(strings: &[&[u8]]) -> Vec<u8> {
    [oem(strings).as_slice(), END].concat()
}

/// Builds a 64-bit entry point for a table of this size.
pub fn entry_point_3(size: usize) -> Vec<u8> {
    let mut bytes = b"_SM3_\0\x18\x03\x02\0\x01\0".to_vec();
    bytes.extend_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
    bytes.extend_from_slice(&0xf_0018_u64.to_le_bytes());
    bytes[5] = checksum(&bytes);
    bytes
}

/// Builds a 32-bit entry point of this length (30, 31 or 32) for a table of this size and number of structures.
pub fn entry_point_2(length: u8, size: usize, structures: usize) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    bytes[..8].copy_from_slice(&[b'_', b'S', b'M', b'_', 0, length, 2, 8]);
    bytes[16..21].copy_from_slice(b"_DMI_");
    bytes[22..24].copy_from_slice(&u16::try_from(size).unwrap().to_le_bytes());
    bytes[28..30].copy_from_slice(&u16::try_from(structures).unwrap().to_le_bytes());
    bytes[21] = checksum(&bytes[16..31]);
    bytes.truncate(length.into());
    bytes[4] = checksum(&bytes);
    bytes
}

/// Returns the entry point with correct checksums.
pub fn summed(mut entry_point: Vec<u8>) -> Vec<u8> {
    if entry_point.starts_with(b"_SM3_") {
        entry_point[5] = 0;
        entry_point[5] = checksum(&entry_point);
    } else {
        entry_point[21] = 0;
        entry_point[21] = checksum(&entry_point[16..31]);
        entry_point[4] = 0;
        entry_point[4] = checksum(&entry_point);
    }
    entry_point
}

/// Builds a dump file for dmidecode: the entry point, with the table's address set to 32, and the table after it.
pub fn dump(mut entry_point: Vec<u8>, data: &[u8]) -> Vec<u8> {
    if entry_point.starts_with(b"_SM3_") {
        entry_point[16..24].copy_from_slice(&32_u64.to_le_bytes());
    } else {
        entry_point[24..28].copy_from_slice(&32_u32.to_le_bytes());
    }
    let mut dump = summed(entry_point);
    dump.resize(32, 0);
    dump.extend_from_slice(data);
    dump
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte))
}
