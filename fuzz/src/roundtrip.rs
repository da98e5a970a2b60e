use std::collections::BTreeMap;

use smbios_creds::format::credential::{Credential, Name, Secret};
use smbios_creds::format::smbios::Table;
use smbios_creds::guest::verify::delivery::Delivery;
use smbios_creds::guest::verify::policy::{ManifestPolicy, Policy};
use smbios_creds::guest::verify::set::verify_table;
use smbios_creds::host::strings::{EmitError, Existing, OemStrings};

use crate::input::Input;
use testkit::second_reader::assert_same_structures;
use testkit::table::{END, entry_point_3};

type Set<'a> = BTreeMap<&'a str, &'a [u8]>;

/// Writes credentials as structures, and reads the same credentials from them. If bytes of the table are then
/// changed, the table still has the same credentials, or verification fails.
pub fn roundtrip(data: &[u8]) {
    let mut input = Input(data);
    let damage = input.several(|input| (input.word(), input.byte()));
    let cut = input.word();
    let pieces = input.several(|input| {
        let name = input.piece();
        // Some values are longer than the 4096 bytes of a structure that systemd 256 reads.
        let times = if input.byte() == 255 { 40 } else { 1 };
        (name, input.piece().repeat(times))
    });
    let mut set = Set::new();
    let mut credentials = Vec::new();
    let (mut twice, mut equals) = (false, false);
    for (name, value) in &pieces {
        let Ok(checked) = Name::new(name) else { continue };
        let name = std::str::from_utf8(name).unwrap();
        equals |= name.contains('=');
        twice |= set.insert(name, value).is_some();
        credentials.push(Credential::new(checked, value.clone()));
    }
    let strings = match OemStrings::with_salt(Existing::default(), &credentials, [7; 16]) {
        Ok(strings) => strings,
        Err(EmitError::Encode { .. }) => return assert!(equals),
        Err(EmitError::Duplicate { .. }) => return assert!(twice),
        Err(error) => panic!("{error}"),
    };
    assert!(!equals && !twice);
    let structures = strings.structures().unwrap();
    let parts: Vec<&[u8]> = structures.iter().map(Secret::expose).chain([END]).collect();
    let mut table = parts.concat();
    let entry_point = entry_point_3(table.len());

    let written = Table::parse(&entry_point, table.clone());
    assert_same_structures(&written);
    let read_back = written.oem_structures().flat_map(|oem| oem.strings().map(|(_, string)| string));
    assert!(read_back.eq(strings.texts()), "smbios-lib and we read what was written");
    let delivery = read(&entry_point, &table);
    // A manifest of nothing proves nothing.
    let is_anything_sent = !set.is_empty();
    assert_eq!((delivery.passed(), delivery.proof.is_proven()), (is_anything_sent, is_anything_sent));
    assert_eq!(arrived(&delivery), set);

    let size = table.len() as u64;
    for (at, bits) in damage {
        table[usize::try_from(at % size).unwrap()] ^= bits;
    }
    if cut % 2 == 1 {
        table.truncate(usize::try_from(cut / 2 % size).unwrap());
    }
    let delivery = read(&entry_point, &table);
    if delivery.passed() {
        assert_eq!(arrived(&delivery), set, "damaged, and passed for whole");
    }
    for (name, value) in arrived(&delivery) {
        if delivery.proof.is_proven() {
            assert_eq!(set.get(name), Some(&value), "proven, and not what was sent");
        }
    }
}

/// Verifies a table like a guest that requires a manifest. The manifest says that the host sent an empty value
/// intentionally.
fn read(entry_point: &[u8], table: &[u8]) -> Delivery {
    let policy = Policy { manifest: ManifestPolicy::Require, ..Policy::default() };
    verify_table(&Table::parse(entry_point, table.to_vec()), &policy)
}

fn arrived(delivery: &Delivery) -> Set<'_> {
    delivery.intact().map(|c| (c.name.as_str(), c.value.expose())).collect()
}
