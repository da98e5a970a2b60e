//! The manifest lists what the host sent, so that the guest can tell whether everything arrived. This module writes and
//! reads manifests.
//!
//! The manifest itself is not signed. Without a separate signature, a manifest finds faults, not attackers: anyone who
//! can change a value can also write a new manifest.
//!
//! A manifest is one OEM string: the prefix `io.smbios-creds.manifest:`, and the base64 of a JSON object such as this
//! one:
//!
//! ```json
//! {"version":1,"credentials":{"db-password":44,"tls-key":1704},"salt":"…16 bytes…","digest":"…32 bytes…"}
//! ```
//!
//! `credentials` gives the size of each value in bytes, sorted by name. `digest` is one SHA-256 over the salt and,
//! after the salt, the name and the value of each credential in the same order. In the hashed data, eight bytes before
//! each name and before each value give the length of this name or value in bytes, with the lowest byte first. There is
//! one digest for the whole set, and never one for each value: a reader of the manifest must not be able to try weak
//! passwords one by one. `salt` and `digest` are in base64. systemd and other programs ignore the manifest's OEM
//! string.
//!
//! Four more fields may follow, which are meant for a signed set ([`Terms`]):
//!
//! ```json
//! {"audience":["web01"],"serial":7,"not-after":1893456000,"encrypted":{"tls-key":{"size":746,"sha256":"…32 bytes…"}}}
//! ```
//!
//! Programs that read a manifest ignore fields that they do not know.
//!
//! After the JSON object, there are as many blanks as are necessary to make the base64 end in `==`. The reason is that
//! Incus builds each string from a key and a value with `=` between them, and drops a key without a value
//! (`internal/server/instance/drivers/driver_qemu.go`, Incus 7.3). A manifest that ends in `==` can be such a pair: the
//! key is the text before the first `=`, and the value is the second `=`.

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

/// Size in bytes of the stack area that [`wipe_stack`] overwrites after a digest was computed. The computation uses a
/// smaller area of the stack.
const STACK_SIZE: usize = 8192;

/// A manifest: the names and sizes of the credentials that the host sent, one digest of all values, and the [`Terms`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest(Fields);

impl Manifest {
    /// Makes the manifest of a set of credentials. `salt` must be random and new for each set.
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

    /// Returns the same manifest, but with `terms` as its terms.
    ///
    /// # Errors
    /// [`ManifestError::Duplicate`] if an encrypted credential has the same name as a plain credential, and
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

    /// Returns the manifest's terms: audience, serial, end of validity, and encrypted credentials.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.0.terms
    }

    /// Writes the manifest as an OEM string that ends in `==`. The OEM string does not include the NUL byte that ends
    /// each string in the SMBIOS table.
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
        // If the number of encoded bytes is one more than a multiple of three, base64 adds two `=` as padding (RFC
        // 4648, section 4).
        while json.len() % 3 != 1 {
            json.push(' ');
        }
        string(&json)
    }

    /// Writes the manifest like [`Self::encode`], but in at most `size` bytes. Omits the blanks after the JSON object
    /// if the string with blanks would have more than `size` bytes. For example, `size` may be the size of a manifest
    /// that another program wrote without blanks. Returns `None` if the string is too large even without blanks.
    pub(crate) fn encode_within(&self, size: usize) -> Option<String> {
        let padded = self.encode();
        let text = if padded.len() > size { string(&wire::write(&self.0)) } else { padded };
        (text.len() <= size).then_some(text)
    }

    /// Reads a manifest from the text after [`PREFIX`] in an OEM string.
    ///
    /// # Errors
    /// [`ManifestError`] says what is wrong with the text.
    pub fn decode(text: &[u8]) -> Result<Self, ManifestError> {
        wire::read(&base64::decode(text)?).map(Self)
    }

    /// Returns the name and the size in bytes of every plain credential that the manifest lists, sorted by name.
    pub fn credentials(&self) -> impl Iterator<Item = (&Name, u64)> {
        self.0.credentials.iter().map(|(name, &size)| (name, size))
    }

    /// Returns the size in bytes that the manifest gives for the plain credential `name`. Returns `None` if the
    /// manifest does not list this credential.
    #[must_use]
    pub fn size_of(&self, name: &Name) -> Option<u64> {
        self.0.credentials.get(name).copied()
    }

    /// Whether the manifest lists a plain credential with this name.
    #[must_use]
    pub fn lists(&self, name: &str) -> bool {
        self.0.credentials.contains_key(name)
    }

    /// Returns the same manifest with the digest of the values that `value_of` returns. If `value_of` is `None`, every
    /// byte of the digest is zero.
    pub(crate) fn with_digest_of<'a>(self, value_of: Option<impl Fn(&Name) -> Option<&'a Secret>>) -> Self {
        let digest = value_of.map_or([0; DIGEST_SIZE], |value_of| self.digest_of(value_of));
        Self(Fields { digest, ..self.0 })
    }

    /// Whether the values that `value_of` returns for the listed names are exactly the values that were sent. The time
    /// of this check depends only on the sizes of the values.
    #[must_use]
    pub fn matches<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> bool {
        self.digest_of(value_of).ct_eq(&self.0.digest).into()
    }

    fn digest_of<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> [u8; DIGEST_SIZE] {
        let digest = self.hash("", value_of);
        wipe_stack();
        digest
    }

    /// Returns the proof for a receipt. The proof shows that the sender of the receipt has the values that `value_of`
    /// returns for the listed names.
    pub fn value_proof<'a>(&self, value_of: impl Fn(&Name) -> Option<&'a Secret>) -> ValueProof {
        let digest = Zeroizing::new(self.hash(PROOF_DOMAIN, value_of));
        wipe_stack();
        ValueProof::new(digest)
    }

    /// Computes a digest. Afterwards, this function's stack area contains parts of the values, so the caller must call
    /// [`wipe_stack`]. `domain` is hashed first, so that digests for different purposes differ.
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

/// Overwrites the stack area of a function that has just returned. While the crate `sha2` hashes a block, it stores
/// this block on the stack, as bytes and as words. The feature `zeroize` of `sha2` wipes neither these bytes nor these
/// words.
#[inline(never)]
fn wipe_stack() {
    // The zeros are in a local variable, because a reference to the expression `[0_u8; STACK_SIZE]` would point to a
    // constant outside of the stack.
    let stack = [0_u8; STACK_SIZE];
    optimization_barrier(&stack);
}
