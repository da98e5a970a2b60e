//! The manifest: what the host sent, so that the guest can tell whether all of it arrived. Written and read here.
//!
//! It is not signed. It finds faults, not attackers: whoever can change a value can also write a manifest for it.
//!
//! One OEM string, `io.smbios-creds.manifest:` and base64 of one JSON object:
//!
//! ```json
//! {"version":1,"credentials":{"db-password":44,"tls-key":1704},"salt":"…16 bytes…","digest":"…32 bytes…"}
//! ```
//!
//! `credentials` gives the size of each value in bytes, sorted by name. `digest` is SHA-256 over the salt and, for
//! each credential in that order, the name and the value, each behind its length as eight bytes, lowest first. It
//! is one digest for the whole set and never one for each value: whoever sees the string must not be able to try
//! weak passwords one by one. `salt` and `digest` are base64. Every other importer ignores the string.
//!
//! Blanks follow the object until its base64 ends in `==`. Incus makes each string of a key and a value with `=` between
//! them (`internal/server/instance/drivers/driver_qemu.go`, Incus 7.3), and drops a key without a value. Split at its
//! first `=`, such a manifest has both: the value is `=`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::optimization_barrier;

use crate::format::base64::{self, Base64Error};
use crate::format::credential::{Credential, Name, Secret};

/// Prefix of the OEM string that carries a manifest.
pub const PREFIX: &str = "io.smbios-creds.manifest:";

/// The version this code writes, and the only one it reads.
const VERSION: u32 = 1;

const SALT_SIZE: usize = 16;
const DIGEST_SIZE: usize = 32;

/// More of the stack than it takes to compute the digest.
const STACK_SIZE: usize = 8192;

/// What the host meant to send: names, sizes and one digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    credentials: BTreeMap<Name, u64>,
    salt: [u8; SALT_SIZE],
    digest: [u8; DIGEST_SIZE],
}

/// Why a manifest cannot be written or read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The same name is given twice.
    #[error("it lists credential {0} twice")]
    Duplicate(Name),
    /// The text behind the prefix is not base64.
    #[error("it is not base64: {0}")]
    Base64(#[from] Base64Error),
    /// The base64 does not hold the expected JSON object. The object itself is not shown: the digest of a set of
    /// weak secrets is best kept out of logs.
    #[error("it is not the expected JSON object (line {line}, column {column})")]
    Json {
        /// Line of the JSON text, from 1.
        line: usize,
        /// Column of the JSON text, from 1.
        column: usize,
    },
    /// It lists nothing, so it would prove nothing.
    #[error("it lists no credential")]
    Empty,
    /// A version this program does not know.
    #[error("it has version {0}, this program knows version {VERSION}")]
    Version(u32),
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The JSON object on the wire. Unknown fields are left for later versions to add.
#[derive(Deserialize)]
struct Wire {
    #[serde(deserialize_with = "names_once")]
    credentials: BTreeMap<Name, u64>,
    salt: Fixed<SALT_SIZE>,
    digest: Fixed<DIGEST_SIZE>,
}

impl Manifest {
    /// The manifest of a set. `salt` must be random and new for each set.
    ///
    /// # Errors
    /// [`ManifestError::Duplicate`] if two credentials have the same name.
    pub fn new<'a>(
        set: impl IntoIterator<Item = &'a Credential>,
        salt: [u8; SALT_SIZE],
    ) -> Result<Self, ManifestError> {
        let mut values = BTreeMap::new();
        for Credential { name, value } in set {
            if values.insert(name, value).is_some() {
                return Err(ManifestError::Duplicate(name.clone()));
            }
        }
        let credentials = values.iter().map(|(&name, value)| (name.clone(), value.len() as u64)).collect();
        let mut manifest = Self { credentials, salt, digest: [0; DIGEST_SIZE] };
        manifest.digest = manifest.digest_of(|name| values.get(name).copied());
        Ok(manifest)
    }

    /// Writes the OEM string, without the NUL that ends it in the table. It ends in `==`.
    ///
    /// ```
    /// # use smbios_creds::format::credential::{Credential, Name};
    /// # use smbios_creds::format::manifest::Manifest;
    /// # let credential = Credential::new(Name::new("db").unwrap(), b"secret".to_vec());
    /// let string = Manifest::new([&credential], [0; 16])?.encode();
    /// let (key, value) = string.split_once('=').unwrap();
    /// assert!(key.starts_with("io.smbios-creds.manifest:ey") && value == "=");
    /// # Ok::<(), smbios_creds::format::manifest::ManifestError>(())
    /// ```
    #[must_use]
    pub fn encode(&self) -> String {
        let mut json = self.json();
        // One byte behind a multiple of three takes two bytes of padding (RFC 4648, section 4).
        while json.len() % 3 != 1 {
            json.push(' ');
        }
        string(&json)
    }

    /// As [`Self::encode`], in at most so many bytes. It goes without blanks if they are what is too much: a manifest
    /// that another program wrote may have none.
    pub(crate) fn encode_within(&self, size: usize) -> Option<String> {
        let padded = self.encode();
        let text = if padded.len() > size { string(&self.json()) } else { padded };
        (text.len() <= size).then_some(text)
    }

    fn json(&self) -> String {
        let (salt, digest) = (base64::encode(&self.salt), base64::encode(&self.digest));
        let mut json = format!("{{\"version\":{VERSION},\"credentials\":{{");
        for (index, (name, size)) in self.credentials().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            // A name is printable ASCII, in which JSON knows two bytes that must be escaped.
            let name = name.as_str().replace('\\', r"\\").replace('"', r#"\""#);
            // Writing to a string cannot fail.
            _ = write!(json, "{comma}\"{name}\":{size}");
        }
        _ = write!(json, "}},\"salt\":\"{}\",\"digest\":\"{}\"}}", *salt, *digest);
        json
    }

    /// Reads what follows [`PREFIX`] in an OEM string.
    ///
    /// # Errors
    /// [`ManifestError`] says what is wrong with it.
    pub fn decode(text: &[u8]) -> Result<Self, ManifestError> {
        let json = base64::decode(text)?;
        let misfit =
            |error: serde_json::Error| ManifestError::Json { line: error.line(), column: error.column() };
        // The version first: a later one may have other fields.
        let Version { version } = serde_json::from_slice(&json).map_err(misfit)?;
        if version != VERSION {
            return Err(ManifestError::Version(version));
        }
        let wire: Wire = serde_json::from_slice(&json).map_err(misfit)?;
        if wire.credentials.is_empty() {
            return Err(ManifestError::Empty);
        }
        Ok(Self { credentials: wire.credentials, salt: wire.salt.0, digest: wire.digest.0 })
    }

    /// Name and size of every credential that was sent, sorted by name.
    pub fn credentials(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.credentials.iter().map(|(name, &size)| (name, size))
    }

    /// The size that `name` was sent with, if it was sent.
    #[must_use]
    pub fn size_of(&self, name: &Name) -> Option<u64> {
        self.credentials.get(name).copied()
    }

    /// Whether a credential of this name was sent.
    #[must_use]
    pub fn lists(&self, name: &str) -> bool {
        self.credentials.contains_key(name)
    }

    /// The same manifest with another digest: that of the values that `value_of` gives, or none.
    pub(crate) fn with_digest_of<'a>(self, value_of: Option<impl Fn(&Name) -> Option<&'a Secret>>) -> Self {
        let digest = value_of.map_or([0; DIGEST_SIZE], |value_of| self.digest_of(value_of));
        Self { digest, ..self }
    }

    /// Whether the values that `value_of` gives for the listed names are to the byte what was sent. Needs constant
    /// time for equal sizes.
    #[must_use]
    pub fn matches<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> bool {
        self.digest_of(value_of).ct_eq(&self.digest).into()
    }

    fn digest_of<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> [u8; DIGEST_SIZE] {
        let digest = self.hash(value_of);
        wipe_stack();
        digest
    }

    /// On its own part of the stack, where it leaves words of the values behind.
    #[inline(never)]
    fn hash<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> [u8; DIGEST_SIZE] {
        let mut hash = Sha256::new_with_prefix(self.salt);
        for (name, value) in self.credentials.keys().filter_map(|name| Some((name, value_of(name)?))) {
            for part in [name.as_str().as_bytes(), value.expose()] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hash.finalize().into()
    }
}

fn string(json: &str) -> String {
    format!("{PREFIX}{}", *base64::encode(json.as_bytes()))
}

/// Overwrites what a function left on the stack that has just returned. SHA-256 keeps the block at hand there, as bytes
/// and as words, and its `zeroize` feature wipes neither.
#[inline(never)]
fn wipe_stack() {
    // A variable of its own: a reference to the array itself would be one to a constant elsewhere.
    let stack = [0_u8; STACK_SIZE];
    optimization_barrier(&stack);
}

/// A byte string of known length, base64 in JSON.
struct Fixed<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = base64::decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.as_slice().try_into().map(Self).map_err(|_| D::Error::custom("wrong length"))
    }
}

/// Reads the map of names and sizes; JSON would silently let the last of two equal names win.
fn names_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Name, u64>, D::Error> {
    struct NamesOnce;

    impl<'de> Visitor<'de> for NamesOnce {
        type Value = BTreeMap<Name, u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of names and sizes")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = BTreeMap::new();
            while let Some((name, size)) = map.next_entry()? {
                if names.insert(name, size).is_some() {
                    return Err(A::Error::custom("a name is listed twice"));
                }
            }
            Ok(names)
        }
    }

    deserializer.deserialize_map(NamesOnce)
}
