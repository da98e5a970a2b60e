use std::collections::BTreeMap;

use smbios_creds::format::credential::{Credential, Name};
use smbios_creds::format::manifest::{Manifest, PREFIX};
use smbios_creds::format::oem_string::SIGNATURE_PREFIX;
use smbios_creds::host::set::{Set, write};
use smbios_creds::host::strings::{Existing, OemStrings};
use smbios_creds::host::supply::Sent;
use testkit::systemd::import;

use crate::input::Input;

/// Reads any bytes as the file of a set without a panic. The manifest of an accepted set lists exactly the
/// credentials, with their sizes, that systemd would import from the lines of the file. The set is sent as it was
/// read.
pub fn set(data: &[u8]) {
    let mut input = Input(data);
    let packed = if input.byte().is_multiple_of(2) { input.0.to_vec() } else { changed(&mut input) };
    let Ok(set) = Set::read(&packed) else { return };
    let text = set.manifest().to_vec();
    let manifest = Manifest::decode(text.strip_prefix(PREFIX.as_bytes()).unwrap()).unwrap();
    let lines: Vec<&[u8]> = packed.strip_suffix(b"\n").unwrap().split(|&byte| byte == b'\n').collect();
    assert_eq!(lines.iter().filter(|line| **line == text).count(), 1);
    let imported: Vec<_> = lines.iter().filter_map(|line| import(line)).collect();
    let sizes: BTreeMap<&[u8], u64> =
        imported.iter().map(|(name, value)| (*name, value.len() as u64)).collect();
    assert_eq!(sizes.len(), imported.len(), "a name is there twice");
    assert!(!packed.contains(&0), "no NUL can be in a table");
    assert!(manifest.credentials().map(|(name, size)| (name.as_str().as_bytes(), size)).eq(sizes));
    let strings = Sent::Set(set).beside(Existing::default()).unwrap();
    let again = write(&strings);
    let sorted = |bytes: &[u8]| {
        let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec);
        // Do not compare signatures: `write` encodes each signature again, so the base64 can differ.
        let mut lines: Vec<_> = lines.filter(|line| !line.starts_with(SIGNATURE_PREFIX.as_bytes())).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(again.expose()), sorted(&packed), "what is sent is what was read");
}

/// Returns the file of a set of credentials, with one byte changed.
fn changed(input: &mut Input) -> Vec<u8> {
    let credentials = input.several(|input| {
        let name = Name::new(input.piece()).ok()?;
        Some(Credential::new(name, input.piece().to_vec()))
    });
    let credentials: Vec<_> = credentials.into_iter().flatten().collect();
    let (at, flip) = (u16::from_be_bytes([input.byte(), input.byte()]), input.byte());
    let Ok(strings) = OemStrings::with_salt(Existing::default(), &credentials, [7; 16]) else {
        return Vec::new();
    };
    let mut packed = write(&strings).expose().to_vec();
    let at = usize::from(at) % packed.len();
    packed[at] ^= flip;
    packed
}
