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
//! Four more fields may follow, which mean something in a signed set ([`Terms`]):
//!
//! ```json
//! {"audience":["web01"],"serial":7,"not-after":1893456000,"encrypted":{"tls-key":{"size":746,"sha256":"…32 bytes…"}}}
//! ```
//!
//! A program that does not know a field ignores it.
//!
//! Blanks follow the object until its base64 ends in `==`. Incus makes each string of a key and a value with `=` between
//! them (`internal/server/instance/drivers/driver_qemu.go`, Incus 7.3), and drops a key without a value. Split at its
//! first `=`, such a manifest has both: the value is `=`.

mod wire;

use std::collections::BTreeMap;

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
    terms: Terms,
}

/// What a manifest may say of a set beside what is in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Terms {
    /// The machines that it is meant for, each by a name, or by none if that does not matter.
    pub audience: Vec<String>,
    /// Which set it is of those that were made for the same audience: a later one has a higher number.
    pub serial: Option<u64>,
    /// When it ends to be valid, in seconds since 1970-01-01 00:00 UTC.
    pub not_after: Option<u64>,
    /// Credentials that are sent encrypted. They are not among [`Manifest::credentials`].
    pub encrypted: BTreeMap<Name, Ciphertext>,
}

/// What a manifest says of an encrypted credential. A digest of a ciphertext helps nobody to guess the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ciphertext {
    /// Bytes of the text that stands for it in an OEM string, behind the `=`.
    pub size: u64,
    /// SHA-256 of that text.
    pub sha256: [u8; DIGEST_SIZE],
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
    /// A machine that the set is meant for has no name that can be one.
    #[error(
        "it is meant for a machine whose name is empty, is longer than 255 bytes, or has a character that is not printable ASCII"
    )]
    Audience,
    /// It lists nothing, so it would prove nothing.
    #[error("it lists no credential")]
    Empty,
    /// A version this program does not know.
    #[error("it has version {0}, this program knows version {VERSION}")]
    Version(u32),
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
        let mut manifest = Self { credentials, salt, digest: [0; DIGEST_SIZE], terms: Terms::default() };
        manifest.digest = manifest.digest_of(|name| values.get(name).copied());
        Ok(manifest)
    }

    /// The same manifest with these terms.
    ///
    /// # Errors
    /// [`ManifestError::Duplicate`] if an encrypted credential has the name of another one, and
    /// [`ManifestError::Audience`] for a name of no machine.
    pub fn with_terms(self, terms: Terms) -> Result<Self, ManifestError> {
        if let Some(name) = terms.encrypted.keys().find(|name| self.credentials.contains_key(*name)) {
            return Err(ManifestError::Duplicate(name.clone()));
        }
        if !terms.audience.iter().all(|name| is_audience(name)) {
            return Err(ManifestError::Audience);
        }
        Ok(Self { terms, ..self })
    }

    /// What it says of the set beside what is in it.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
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
        let mut json = wire::write(self);
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
        let text = if padded.len() > size { string(&wire::write(self)) } else { padded };
        (text.len() <= size).then_some(text)
    }

    /// Reads what follows [`PREFIX`] in an OEM string.
    ///
    /// # Errors
    /// [`ManifestError`] says what is wrong with it.
    pub fn decode(text: &[u8]) -> Result<Self, ManifestError> {
        wire::read(&base64::decode(text)?)
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

/// Whether it can be the name of a machine in a manifest: 1 to 255 printable ASCII characters.
#[must_use]
pub fn is_audience(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
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
