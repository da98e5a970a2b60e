//! The independent reader smbios-lib finds the same structures, strings and boundaries as we do, in tables that we
//! read and that we write.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use smbios_creds::format::credential::Secret;
use smbios_creds::format::smbios::{Table, write};
use testkit::second_reader::assert_same_structures;
use testkit::{END, entry_point_2, entry_point_3, oem, structure};

/// Compares both readers with an entry point under which type 127 ends the table, and one under which it does not.
fn compare(data: &[u8]) {
    for entry_point in [entry_point_3(data.len()), entry_point_2(31, data.len().min(0xffff), 3)] {
        assert_same_structures(&Table::parse(&entry_point, data.to_vec()));
    }
}

#[test]
#[cfg_attr(miri, ignore = "more than 30,000 tables take Miri hours")]
fn recording_cut_at_any_byte_reads_the_same() {
    for folder in testkit::recorded() {
        let data = std::fs::read(folder.join("DMI")).unwrap();
        // Every byte, except in the table of 64 KiB, which is one long string.
        let step = if data.len() < 10_000 { 1 } else { 97 };
        for cut in (0..data.len()).step_by(step).chain(data.len() - 80..=data.len()) {
            compare(&data[..cut]);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "some 335,000 tables take Miri hours")]
fn every_small_table_reads_the_same() {
    // Header lengths around the minimum, NUL bytes and the end of the table decide where a structure ends.
    const BYTES: [u8; 6] = [0, 4, 5, 6, 7, 127];
    for length in 0..=7 {
        for number in 0..BYTES.len().pow(length) {
            let digits = (0..length).scan(number, |rest, _| {
                let digit = *rest % BYTES.len();
                *rest /= BYTES.len();
                Some(BYTES[digit])
            });
            compare(&digits.collect::<Vec<u8>>());
        }
    }
}

prop_compose! {
    /// A structure of any type with strings of any bytes.
    fn any_structure()(
        kind in any::<u8>(),
        formatted in vec(any::<u8>(), 0..20),
        strings in vec(vec(1..=255_u8, 0..20), 0..6),
    ) -> Vec<u8> {
        structure(kind, &formatted, &strings.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 1000 }))]

    #[test]
    fn any_bytes_read_the_same(data in vec(prop_oneof![Just(0), 4..8_u8, Just(11), Just(127), any::<u8>()], 0..200)) {
        compare(&data);
    }

    #[test]
    fn damaged_table_reads_the_same(
        structures in vec(any_structure(), 0..6),
        damage in vec((any::<Index>(), any::<u8>()), 0..6),
        cut in any::<Index>(),
    ) {
        let mut data = [structures.concat().as_slice(), &oem(&[b"a", b"b"]), END].concat();
        compare(&data);
        for (at, bits) in &damage {
            let at = at.index(data.len());
            data[at] ^= bits;
        }
        compare(&data);
        data.truncate(cut.index(data.len() + 1));
        compare(&data);
    }

    #[test]
    fn written_structures_read_the_same(
        strings in vec(vec(1..=255_u8, 1..600), 0..40),
        taken in vec(write::FIRST_HANDLE..write::FIRST_HANDLE + 4, 0..3),
    ) {
        let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
        let written = write::structures(&strings, &taken).unwrap();
        let data = written.iter().map(Secret::expose).chain([END]).collect::<Vec<_>>().concat();
        let table = Table::parse(&entry_point_3(data.len()), data);
        assert_same_structures(&table);
        // The strings that smbios-lib and we read are those that were written.
        let read: Vec<&[u8]> = table.oem_structures().flat_map(|oem| oem.strings()).map(|(_, string)| string).collect();
        prop_assert_eq!(read, strings);
        for (index, oem) in table.oem_structures().enumerate() {
            prop_assert_eq!(oem.structure.end - oem.structure.offset, written[index].len());
            prop_assert!(!taken.contains(&oem.structure.handle));
        }
    }
}
