//! Reads and writes the JSON object of a manifest.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::{ManifestError, VERSION};
use super::terms::{Ciphertext, Terms, is_audience};
use crate::format::base64;
use crate::format::credential::Name;

pub(super) const SALT_SIZE: usize = 16;
pub(super) const DIGEST_SIZE: usize = 32;

/// The fields of the JSON object. In this type, salt and digest are bytes, and not base64.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Fields {
    pub(super) credentials: BTreeMap<Name, u64>,
    pub(super) salt: [u8; SALT_SIZE],
    pub(super) digest: [u8; DIGEST_SIZE],
    pub(super) terms: Terms,
}

/// The version, which is the only field that every version of the manifest has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The JSON object of a manifest, as serde reads it. Unknown fields are ignored, so later versions of this program can
/// add fields.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wire {
    #[serde(deserialize_with = "names_once")]
    credentials: BTreeMap<Name, u64>,
    salt: Fixed<SALT_SIZE>,
    digest: Fixed<DIGEST_SIZE>,
    #[serde(default)]
    audience: Vec<String>,
    serial: Option<u64>,
    not_after: Option<u64>,
    #[serde(default, deserialize_with = "names_once")]
    encrypted: BTreeMap<Name, WireCiphertext>,
}

#[derive(Deserialize)]
struct WireCiphertext {
    size: u64,
    sha256: Fixed<DIGEST_SIZE>,
}

pub(super) fn read(json: &[u8]) -> Result<Fields, ManifestError> {
    let misfit =
        |error: serde_json::Error| ManifestError::Json { line: error.line(), column: error.column() };
    // The version number is read first, because a manifest of a later version may have other fields.
    let Version { version } = serde_json::from_slice(json).map_err(misfit)?;
    if version != VERSION {
        return Err(ManifestError::Version(version));
    }
    let wire: Wire = serde_json::from_slice(json).map_err(misfit)?;
    if wire.credentials.is_empty() && wire.encrypted.is_empty() {
        return Err(ManifestError::Empty);
    }
    if let Some(name) = wire.encrypted.keys().find(|name| wire.credentials.contains_key(*name)) {
        return Err(ManifestError::Duplicate(name.clone()));
    }
    if !wire.audience.iter().all(|name| is_audience(name)) {
        return Err(ManifestError::Audience);
    }
    let ciphertext = |WireCiphertext { size, sha256 }| Ciphertext { size, sha256: sha256.0 };
    let encrypted = wire.encrypted.into_iter().map(|(name, wire)| (name, ciphertext(wire))).collect();
    let (audience, serial, not_after) = (wire.audience, wire.serial, wire.not_after);
    let terms = Terms { audience, serial, not_after, encrypted };
    Ok(Fields { credentials: wire.credentials, salt: wire.salt.0, digest: wire.digest.0, terms })
}

/// Writes the JSON object of a manifest. Omits terms that have no value.
pub(super) fn write(manifest: &Fields) -> String {
    let (salt, digest) = (base64::encode(&manifest.salt), base64::encode(&manifest.digest));
    let sizes = manifest.credentials.iter().map(|(name, size)| format!("{}:{size}", quoted(name.as_str())));
    let mut json = format!("{{\"version\":{VERSION},\"credentials\":{{{}}}", joined(sizes));
    // Writing to a string cannot fail.
    _ = write!(json, ",\"salt\":\"{}\",\"digest\":\"{}\"", *salt, *digest);
    let Terms { audience, serial, not_after, encrypted } = &manifest.terms;
    if !audience.is_empty() {
        _ = write!(json, ",\"audience\":[{}]", joined(audience.iter().map(|text| quoted(text))));
    }
    if let Some(serial) = serial {
        _ = write!(json, ",\"serial\":{serial}");
    }
    if let Some(not_after) = not_after {
        _ = write!(json, ",\"not-after\":{not_after}");
    }
    if !encrypted.is_empty() {
        let each = encrypted.iter().map(|(name, Ciphertext { size, sha256 })| {
            let sha256 = base64::encode(sha256);
            format!("{}:{{\"size\":{size},\"sha256\":\"{}\"}}", quoted(name.as_str()), *sha256)
        });
        _ = write!(json, ",\"encrypted\":{{{}}}", joined(each));
    }
    json.push('}');
    json
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

/// Writes a JSON string. Names and audiences are printable ASCII. In JSON, only two of the printable ASCII characters
/// must be escaped.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}

/// An array of `N` bytes, which the JSON text contains in base64.
struct Fixed<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = base64::decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.as_slice().try_into().map(Self).map_err(|_| D::Error::custom("wrong length"))
    }
}

/// Reads a JSON object whose keys are names of credentials. Refuses a name that occurs twice: by default, serde would
/// silently use the last value.
fn names_once<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Name, T>, D::Error> {
    struct NamesOnce<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for NamesOnce<T> {
        type Value = BTreeMap<Name, T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of names")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = BTreeMap::new();
            while let Some((name, value)) = map.next_entry()? {
                if names.insert(name, value).is_some() {
                    return Err(A::Error::custom("a name is listed twice"));
                }
            }
            Ok(names)
        }
    }

    deserializer.deserialize_map(NamesOnce(PhantomData))
}
