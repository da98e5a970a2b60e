//! The manifest lists what the host sent, so that the guest can tell whether everything arrived. Written and read here.
//!
//! The manifest is not signed. It finds faults, not attackers: anyone who can change a value can also write a new
//! manifest.
//!
//! It is one OEM string, `io.smbios-creds.manifest:` and the base64 of one JSON object:
//!
//! ```json
//! {"version":1,"credentials":{"db-password":44,"tls-key":1704},"salt":"…16 bytes…","digest":"…32 bytes…"}
//! ```
//!
//! `credentials` gives the size of each value in bytes, sorted by name. `digest` is the SHA-256 of the salt and, for
//! each credential in this order, of its name and its value. The length of each name and value precedes it as eight
//! bytes, lowest first. There is one digest for the whole set, and never one for each value: a reader of the string
//! must not be able to try weak passwords one by one. `salt` and `digest` are base64. systemd and other programs ignore
//! the string.
//!
//! Four more fields may follow. They have a meaning in a signed set ([`Terms`]):
//!
//! ```json
//! {"audience":["web01"],"serial":7,"not-after":1893456000,"encrypted":{"tls-key":{"size":746,"sha256":"…32 bytes…"}}}
//! ```
//!
//! Programs ignore fields that they do not know.
//!
//! Blanks follow the object until its base64 ends in `==`. Reason: Incus builds each string from a key and a value with
//! `=` between them, and drops a key without a value (`internal/server/instance/drivers/driver_qemu.go`, Incus 7.3). A
//! manifest that ends in `==` can be split at its first `=`: the second `=` is the value.

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

/// Prefix of an OEM string that contains a manifest.
pub const PREFIX: &str = "io.smbios-creds.manifest:";

/// Size in bytes of the stack area to wipe. Computing the digest uses less.
const STACK_SIZE: usize = 8192;

/// The list of what the host sent: names, sizes and one digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest(Fields);

impl Manifest {
    /// Makes the manifest of a set. `salt` must be random and new for each set.
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

    /// Returns the same manifest with these terms.
    ///
    /// # Errors
    /// [`ManifestError::Duplicate`] if an encrypted credential has the name of another credential, and
    /// [`ManifestError::Audience`] if a name in the audience is not valid.
    pub fn with_terms(self, terms: Terms) -> Result<Self, ManifestError> {
        if let Some(name) = terms.encrypted.keys().find(|name| self.0.credentials.contains_key(*name)) {
            return Err(ManifestError::Duplicate(name.clone()));
        }
        if !terms.audience.iter().all(|name| is_audience(name)) {
            return Err(ManifestError::Audience);
        }
        Ok(Self(Fields { terms, ..self.0 }))
    }

    /// The manifest's terms: audience, serial, end of validity, and encrypted credentials.
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
        // If one byte remains after the groups of three, base64 adds two bytes of padding (RFC 4648, section 4).
        while json.len() % 3 != 1 {
            json.push(' ');
        }
        string(&json)
    }

    /// Does the same as [`Self::encode`], but returns at most `size` bytes. Omits the blanks if the string is too large
    /// with them: a manifest that another program wrote may have no blanks.
    pub(crate) fn encode_within(&self, size: usize) -> Option<String> {
        let padded = self.encode();
        let text = if padded.len() > size { string(&wire::write(&self.0)) } else { padded };
        (text.len() <= size).then_some(text)
    }

    /// Reads the text after [`PREFIX`] in an OEM string.
    ///
    /// # Errors
    /// [`ManifestError`] says what is wrong with the text.
    pub fn decode(text: &[u8]) -> Result<Self, ManifestError> {
        wire::read(&base64::decode(text)?).map(Self)
    }

    /// Returns name and size of every plain credential that was sent, sorted by name.
    pub fn credentials(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.0.credentials.iter().map(|(name, &size)| (name, size))
    }

    /// Returns the size with which `name` was sent, if it was sent.
    #[must_use]
    pub fn size_of(&self, name: &Name) -> Option<u64> {
        self.0.credentials.get(name).copied()
    }

    /// Whether a credential of this name was sent.
    #[must_use]
    pub fn lists(&self, name: &str) -> bool {
        self.0.credentials.contains_key(name)
    }

    /// Returns the same manifest with the digest of the values that `value_of` returns. Without `value_of`, the digest
    /// is zero.
    pub(crate) fn with_digest_of<'a>(self, value_of: Option<impl Fn(&Name) -> Option<&'a Secret>>) -> Self {
        let digest = value_of.map_or([0; DIGEST_SIZE], |value_of| self.digest_of(value_of));
        Self(Fields { digest, ..self.0 })
    }

    /// Whether the values that `value_of` returns for the listed names are exactly the values that were sent. Takes
    /// constant time for equal sizes.
    #[must_use]
    pub fn matches<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> bool {
        self.digest_of(value_of).ct_eq(&self.0.digest).into()
    }

    fn digest_of<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> [u8; DIGEST_SIZE] {
        let digest = self.hash("", value_of);
        wipe_stack();
        digest
    }

    /// Returns the proof for a receipt: it proves that the sender has the values that `value_of` returns for the listed
    /// names.
    pub fn value_proof<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> ValueProof {
        let digest = Zeroizing::new(self.hash(PROOF_DOMAIN, value_of));
        wipe_stack();
        ValueProof::new(digest)
    }

    /// Computes a digest. Afterwards, this function's stack area contains parts of the values, and the caller wipes it.
    /// `domain` separates digests for different purposes.
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

/// Overwrites the stack area of a function that has just returned. SHA-256 stores the current block there, as bytes and
/// as words, and its `zeroize` feature wipes neither.
#[inline(never)]
fn wipe_stack() {
    // A local variable: a reference to the array expression would point to a constant outside of the stack.
    let stack = [0_u8; STACK_SIZE];
    optimization_barrier(&stack);
}
