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

mod error;
mod terms;
mod wire;

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroizing, optimization_barrier};

pub use self::error::ManifestError;
pub use self::terms::{Ciphertext, Terms, is_audience};
use self::wire::{DIGEST_SIZE, Fields, SALT_SIZE};
use crate::format::base64;
use crate::format::credential::{Credential, Name, Secret};
use crate::format::receipt::{PROOF_DOMAIN, ValueProof};

/// Prefix of the OEM string that carries a manifest.
pub const PREFIX: &str = "io.smbios-creds.manifest:";

/// More of the stack than it takes to compute the digest.
const STACK_SIZE: usize = 8192;

/// What the host meant to send: names, sizes and one digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest(Fields);

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
        let terms = Terms::default();
        let mut manifest = Self(Fields { credentials, salt, digest: [0; DIGEST_SIZE], terms });
        manifest.0.digest = manifest.digest_of(|name| values.get(name).copied());
        Ok(manifest)
    }

    /// The same manifest with these terms.
    ///
    /// # Errors
    /// [`ManifestError::Duplicate`] if an encrypted credential has the name of another one, and
    /// [`ManifestError::Audience`] for a name of no machine.
    pub fn with_terms(self, terms: Terms) -> Result<Self, ManifestError> {
        if let Some(name) = terms.encrypted.keys().find(|name| self.0.credentials.contains_key(*name)) {
            return Err(ManifestError::Duplicate(name.clone()));
        }
        if !terms.audience.iter().all(|name| is_audience(name)) {
            return Err(ManifestError::Audience);
        }
        Ok(Self(Fields { terms, ..self.0 }))
    }

    /// What it says of the set beside what is in it.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.0.terms
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
        let mut json = wire::write(&self.0);
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
        let text = if padded.len() > size { string(&wire::write(&self.0)) } else { padded };
        (text.len() <= size).then_some(text)
    }

    /// Reads what follows [`PREFIX`] in an OEM string.
    ///
    /// # Errors
    /// [`ManifestError`] says what is wrong with it.
    pub fn decode(text: &[u8]) -> Result<Self, ManifestError> {
        wire::read(&base64::decode(text)?).map(Self)
    }

    /// Name and size of every credential that was sent, sorted by name.
    pub fn credentials(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.0.credentials.iter().map(|(name, &size)| (name, size))
    }

    /// The size that `name` was sent with, if it was sent.
    #[must_use]
    pub fn size_of(&self, name: &Name) -> Option<u64> {
        self.0.credentials.get(name).copied()
    }

    /// Whether a credential of this name was sent.
    #[must_use]
    pub fn lists(&self, name: &str) -> bool {
        self.0.credentials.contains_key(name)
    }

    /// The same manifest with another digest: that of the values that `value_of` gives, or none.
    pub(crate) fn with_digest_of<'a>(self, value_of: Option<impl Fn(&Name) -> Option<&'a Secret>>) -> Self {
        let digest = value_of.map_or([0; DIGEST_SIZE], |value_of| self.digest_of(value_of));
        Self(Fields { digest, ..self.0 })
    }

    /// Whether the values that `value_of` gives for the listed names are to the byte what was sent. Needs constant
    /// time for equal sizes.
    #[must_use]
    pub fn matches<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> bool {
        self.digest_of(value_of).ct_eq(&self.0.digest).into()
    }

    fn digest_of<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> [u8; DIGEST_SIZE] {
        let digest = self.hash("", value_of);
        wipe_stack();
        digest
    }

    /// The proof of a receipt: that its sender has the values that `value_of` gives for the listed names.
    pub fn value_proof<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> ValueProof {
        let digest = Zeroizing::new(self.hash(PROOF_DOMAIN, value_of));
        wipe_stack();
        ValueProof::new(digest)
    }

    /// On its own part of the stack, where it leaves words of the values behind. `domain` tells digests for different
    /// purposes apart.
    #[inline(never)]
    fn hash<'a>(&self, domain: &str, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> [u8; DIGEST_SIZE] {
        let mut hash = Sha256::new_with_prefix(domain);
        hash.update(self.0.salt);
        for (name, value) in self.0.credentials.keys().filter_map(|name| Some((name, value_of(name)?))) {
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
