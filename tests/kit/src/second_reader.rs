//! smbios-lib as the second reader of a table. The fuzz targets use this reader too.

use smbios_creds::format::smbios::{END_OF_TABLE, Structure, Table};
use smbioslib::{SMBiosData, UndefinedStruct};

/// Asserts that smbios-lib finds the same structures in a table: types, handles, bytes and boundaries.
///
/// Our reader may end at the end-of-table structure. smbios-lib reads on after it, so further structures of
/// smbios-lib are no error there.
pub fn assert_same_structures(table: &Table) {
    let data = table.data();
    let theirs = SMBiosData::from_vec_and_version(data.to_vec(), None);
    let mut theirs = theirs.iter();
    let mut end = 0;
    for ours in table.structures() {
        let theirs = theirs.next().expect("smbios-lib finds as many structures");
        assert_eq!(ours.offset, end);
        assert_same(data, ours, theirs);
        end += size(theirs);
        assert_eq!(ours.end, end);
    }
    let ended = table.structures().last().is_some_and(|last| last.kind == END_OF_TABLE);
    assert!(ended || theirs.next().is_none(), "smbios-lib finds more structures than we do");
}

fn assert_same(data: &[u8], ours: &Structure, theirs: &UndefinedStruct) {
    let header = (theirs.header.struct_type(), *theirs.header.handle(), theirs.header.length());
    assert_eq!((ours.kind, ours.handle, ours.length), header);
    assert_eq!(&data[ours.offset..ours.offset + usize::from(ours.length)], theirs.fields);
    assert!(ours.strings.iter().map(|range| &data[range.clone()]).eq(theirs.strings.iter()));
}

/// Returns the size of a structure in the table. smbios-lib keeps the strings without the NUL byte after each string,
/// and without the NUL byte that ends the set. A set without strings consists of two NUL bytes.
fn size(structure: &UndefinedStruct) -> usize {
    let strings: usize = structure.strings.iter().map(|string| string.len() + 1).sum();
    structure.fields.len() + strings + if strings == 0 { 2 } else { 1 }
}
