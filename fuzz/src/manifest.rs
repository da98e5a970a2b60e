use std::collections::BTreeMap;
use std::fmt::{self, Formatter};

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use smbios_creds::format::base64;
use smbios_creds::format::credential::{Credential, Name, Secret};
use smbios_creds::format::manifest::{Manifest, ManifestError, PREFIX};

use crate::input::Input;
use testkit::systemd::unbase64;

/// Reads any text as a manifest without a panic: a manifest lists what its JSON lists. Also writes a manifest, which
/// must be read as the same manifest, and must match only its own set.
pub fn manifest(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 3 {
        0 => read(input.0),
        1 => read(base64::encode(input.0).as_bytes()),
        _ => written(&mut input),
    }
}

fn read(text: &[u8]) {
    let Ok(manifest) = Manifest::decode(text) else { return };
    let written = manifest.encode();
    assert_eq!(Manifest::decode(written.strip_prefix(PREFIX).unwrap().as_bytes()).as_ref(), Ok(&manifest));
    // A manifest may have fields of a later version, which `Manifest` skips. serde_json cannot read each of them,
    // such as a number that is too large. Then there is nothing to compare.
    let Ok(json) = serde_json::from_slice::<Value>(&unbase64(text).unwrap()) else { return };
    assert_eq!(json["version"], 1);
    let listed: BTreeMap<&str, u64> = json["credentials"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(n, s)| (n.as_str(), s.as_u64().unwrap()))
        .collect();
    assert!(manifest.credentials().map(|(name, size)| (name.as_str(), size)).eq(listed));
    let Once { credentials: Entries(entries) } = serde_json::from_slice(&unbase64(text).unwrap()).unwrap();
    assert_eq!(entries, manifest.credentials().count(), "a name is listed twice");
    let bytes = |field: &str| unbase64(json[field].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!((bytes("salt").len(), bytes("digest").len()), (16, 32));
}

/// The JSON of a manifest, in which the field `credentials` must occur exactly once.
#[derive(Deserialize)]
struct Once {
    credentials: Entries,
}

/// The number of entries in a JSON object. An entry whose name is repeated counts too, unlike in a map.
struct Entries(usize);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;

        impl<'de> Visitor<'de> for Count {
            type Value = usize;

            fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
                let mut count = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(count)
            }
        }

        deserializer.deserialize_map(Count).map(Self)
    }
}

fn written(input: &mut Input<'_>) {
    let mut salt = [0; 16];
    for byte in &mut salt {
        *byte = input.byte();
    }
    let changed = input.word();
    let pieces = input.several(|input| (input.piece(), input.piece()));
    let valid = |&(name, value): &(&[u8], &[u8])| Some((Name::new(name).ok()?, value.to_vec()));
    let pieces: Vec<(Name, Vec<u8>)> = pieces.iter().filter_map(valid).collect();
    let credentials: Vec<Credential> =
        pieces.iter().map(|(name, value)| Credential::new(name.clone(), value.clone())).collect();
    let mut set: BTreeMap<Name, Vec<u8>> = pieces.iter().cloned().collect();
    let manifest = Manifest::new(&credentials, salt);
    assert_eq!(manifest.is_ok(), set.len() == pieces.len(), "a name twice is refused, and nothing else");
    let Ok(manifest) = manifest else { return };
    let text = manifest.encode();
    let manifest_again = Manifest::decode(text.strip_prefix(PREFIX).unwrap().as_bytes());
    if set.is_empty() {
        assert_eq!(manifest_again, Err(ManifestError::Empty));
        return;
    }
    assert_eq!(manifest_again.as_ref(), Ok(&manifest));
    assert!(manifest.credentials().eq(set.iter().map(|(name, value)| (name, value.len() as u64))));
    assert!(matches(&manifest, &set));

    // Change one byte of one value, or add a byte to an empty value.
    let Some(last) = set.len().checked_sub(1) else { return };
    let value = set.values_mut().nth(usize::from(changed.to_be_bytes()[0]) % (last + 1)).unwrap();
    match value.len() {
        0 => value.push(0),
        size => value[usize::try_from(changed % size as u64).unwrap()] ^= 1 << (changed % 7),
    }
    assert!(!matches(&manifest, &set));
}

fn matches(manifest: &Manifest, set: &BTreeMap<Name, Vec<u8>>) -> bool {
    let secrets: BTreeMap<&Name, Secret> =
        set.iter().map(|(name, value)| (name, Secret::from(value.clone()))).collect();
    manifest.matches(|name| secrets.get(name))
}
