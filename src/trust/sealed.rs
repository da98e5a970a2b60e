//! Encrypted credentials, which only the guest's own key can decrypt: the blob from `systemd-creds encrypt`, and the
//! OEM string that contains the blob.
//!
//! `io.smbios-creds.encrypted:NAME=BLOB` contains the blob in base64, on one line. The guest writes the base64 text to
//! the file `/run/credstore.encrypted/NAME`, where systemd decrypts it for a unit (`LoadCredentialEncrypted=` and
//! `ImportCredential=`, systemd.exec(5)). This program contains no key and no cipher. This program reads only the
//! header of a blob, which is not encrypted. The header shows which kind of key decrypts the blob.
//!
//! This project has its own prefix for encrypted credentials because systemd does not decrypt a blob that arrives under
//! systemd's prefix. A service would get the ciphertext instead of the secret (`LoadCredential=` and
//! `ImportCredential=`, measured with systemd 254 and 262).

use std::fmt::{self, Display, Formatter};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::format::base64::{self, Base64Error};
use crate::format::credential::{Name, NameError};
use crate::format::manifest::Ciphertext;

/// Prefix of an OEM string that contains a blob.
pub use crate::format::oem_string::ENCRYPTED_PREFIX as PREFIX;

/// Largest size in bytes of a blob in base64 (`CREDENTIAL_ENCRYPTED_SIZE_MAX`, systemd `src/shared/creds-util.h`,
/// v262).
pub const BLOB_MAX: usize = 1_048_576 + 128 * 1024;

/// A kind of key that encrypts blobs.
#[derive(Debug, Eq, PartialEq)]
pub struct Key {
    /// Name of the kind of key, as in `systemd-creds encrypt --with-key=`.
    name: &'static str,
    /// ID of the kind of key. Each blob that was encrypted with a key of this kind begins with this ID.
    id: [u8; ID_SIZE],
}

/// Size in bytes of the ID of a kind of key (`sd_id128_t`).
const ID_SIZE: usize = 16;

/// Every kind of key that a blob can name (systemd `src/shared/creds-util.h`, v262). A blob that was encrypted with a
/// key of a pinned kind (`-pinned`) also names the storage root key of the TPM that encrypted the blob. systemd 261 and
/// older do not support pinned kinds.
const KEYS: [Key; 15] = [
    key("host", 0x5a1c_6a86_df9d_4096_b1d5_a65e_0862_f19a),
    key("host-of-one-user", 0x55b9_ed1d_3859_4d43_a831_9d2e_bb33_2ac6),
    key("tpm2", 0x0c7c_c07b_1176_4591_9c4b_0bea_08bc_20fe),
    key("tpm2-with-public-key", 0xfaf7_eb93_41e3_412c_a1a4_36f9_5a29_362f),
    key("host+tpm2", 0x93a8_9409_4874_4490_90ca_f2fc_93ca_b553),
    key("host+tpm2-of-one-user", 0xef4a_c136_79a9_480e_a7db_6889_7f9f_165d),
    key("host+tpm2-with-public-key", 0xaf49_50a8_4913_4eb1_a738_4630_4ff3_0c05),
    key("host+tpm2-with-public-key-of-one-user", 0xadbc_4ca3_efb6_4201_ba88_1b6f_2e40_95ea),
    key("tpm2-pinned", 0xd406_2dfb_71ad_4c86_804b_40ef_1180_f1fc),
    key("tpm2-with-public-key-pinned", 0x5e2d_5c76_0372_4eaf_843c_6fb5_f640_98f5),
    key("host+tpm2-pinned", 0x1414_2588_18a2_40cd_900b_ce86_2db5_c7b9),
    key("host+tpm2-pinned-of-one-user", 0x2a1f_877a_4275_431a_b3f9_ed1f_5d8f_6601),
    key("host+tpm2-with-public-key-pinned", 0xafbf_eaac_eb6a_4a37_9541_9d13_5c47_f37b),
    key("host+tpm2-with-public-key-pinned-of-one-user", 0x16e4_9294_9f94_4002_8675_8f94_b7c5_2bc7),
    key(NULL, 0x0584_69da_f6f5_4324_8005_49da_0f8e_a2fb),
];

/// Name of the empty key, which everybody has. `systemd-creds` 254 and older calls this key `tpm2-absent`.
const NULL: &str = "null";

const fn key(name: &'static str, id: u128) -> Key {
    Key { name, id: id.to_be_bytes() }
}

impl Key {
    /// Whether this is the empty key, with which everybody can encrypt and decrypt blobs.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.name == NULL
    }

    /// Whether only a unit of one user's service manager can decrypt a blob that was encrypted with this kind of key.
    /// Units of the system manager cannot decrypt such a blob.
    #[must_use]
    pub fn is_of_one_user(&self) -> bool {
        self.name.ends_with("-of-one-user")
    }

    /// Returns the name of the kind of key.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.name
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// Four sizes in bytes: of the key, the cipher block, the initialization vector, and the tag. In a blob, these sizes
/// follow the ID, each as a 32-bit number with the lowest byte first (`struct encrypted_credential_header`, systemd
/// `src/shared/creds-util.c`, v262). The sizes are those that AES-256-GCM uses, the only cipher that systemd uses with
/// these kinds of key.
const SIZES: [u8; 16] = [32, 0, 0, 0, 1, 0, 0, 0, 12, 0, 0, 0, 16, 0, 0, 0];

/// Size in bytes of the part of a blob that this program reads: the ID and the sizes.
pub(crate) const HEADER_SIZE: usize = ID_SIZE + SIZES.len();

/// Smallest size of a blob in bytes; systemd refuses a shorter blob. A blob has at least four parts: the header; the
/// initialization vector, padded from 12 to 16 bytes; two timestamps and the size of the credential's name, together
/// padded from 20 to 24 bytes; and the tag of 16 bytes.
const BLOB_MIN: usize = HEADER_SIZE + 16 + 24 + 16;

/// Number of base64 characters that contain the header.
const HEADER_TEXT: usize = HEADER_SIZE.div_ceil(3) * 4;

/// Returns the kind of key with which a blob is encrypted. The blob can be raw or in base64. Returns `None` if `value`
/// is not a systemd blob.
///
/// This function is also called for plain values, to find a blob that was sent as a plain credential. So this function
/// keeps no part of `value`.
#[must_use]
pub fn key_of(value: &[u8]) -> Option<&'static Key> {
    if value.len() < BLOB_MIN {
        return None;
    }
    key_in(value).or_else(|| {
        let characters = value.iter().copied().filter(|byte| !base64::is_blank(*byte)).take(HEADER_TEXT);
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
        // Most values are not base64. For such values, this function returns here, so that it does not make a copy that
        // must be wiped from memory.
        if !characters.clone().all(is_base64) {
            return None;
        }
        let mut text = Zeroizing::new([0; HEADER_TEXT]);
        let copied = text.iter_mut().zip(characters).map(|(place, byte)| *place = byte).count();
        if copied < HEADER_TEXT {
            return None;
        }
        key_in(&base64::decode(text.as_slice()).ok()?)
    })
}

/// Returns how many bytes at the beginning of a value show that it is a blob, raw or in base64. Returns 0 for other
/// values.
pub(crate) fn header_length(value: &[u8]) -> usize {
    if key_of(value).is_none() {
        0
    } else if key_in(value).is_some() {
        HEADER_SIZE
    } else {
        let mut characters = value.iter().enumerate().filter(|(_, byte)| !base64::is_blank(**byte));
        characters.nth(HEADER_TEXT - 1).map_or(value.len(), |(position, _)| position + 1)
    }
}

/// Returns the kind of key whose ID is at the start of a blob's header.
fn key_in(header: &[u8]) -> Option<&'static Key> {
    let id = header.get(..ID_SIZE)?;
    header.get(ID_SIZE..HEADER_SIZE).filter(|sizes| *sizes == SIZES)?;
    KEYS.iter().find(|key| key.id == id)
}

/// A blob from `systemd-creds encrypt`. A blob is not secret, because [`Blob::new`] refuses blobs that are encrypted
/// with the empty key, which everybody can decrypt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Blob {
    /// The blob in base64, on one line.
    text: String,
    key: &'static Key,
}

/// An encrypted credential: its name and its blob.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sealed {
    /// The name with which services in the guest ask for the value. The blob contains the same name, which was given to
    /// `systemd-creds encrypt --name=`.
    pub name: Name,
    /// The encrypted value.
    pub blob: Blob,
}

/// Why a text is not an encrypted credential. The error contains no part of the text, which may be a misplaced secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// The text contains no `=`.
    #[error("has no '=' between name and blob")]
    NoEquals,
    /// The credential's name breaks systemd's rules for names.
    #[error("has a name that is not allowed: {0}")]
    Name(#[from] NameError),
    /// The text after the name is not a blob that may be sent to a guest.
    #[error("has a value that {0}")]
    Blob(#[from] BlobError),
    /// The blob is encrypted with the empty key, so everybody can make and decrypt it.
    #[error("is encrypted with the null key, which everybody has")]
    NullKey(Name),
}

/// Why a file is not a blob that may be sent to a guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The file is not base64.
    #[error("is not base64: {0}")]
    Base64(#[from] Base64Error),
    /// The blob is larger than [`BLOB_MAX`].
    #[error("has {size} bytes, at most {BLOB_MAX} are allowed")]
    TooLarge {
        /// Size in bytes of the blob in base64.
        size: usize,
    },
    /// The file does not start with the header of a known kind of key, or it is shorter than the shortest possible
    /// blob.
    #[error("does not begin like the output of 'systemd-creds encrypt' in a format that this version knows")]
    NotABlob,
    /// The blob is encrypted with the empty key, so everybody can make and decrypt it.
    #[error("is encrypted with the null key, which everybody has")]
    NullKey,
}

impl Blob {
    /// Reads the base64 of a blob. Blanks and newlines, as `systemd-creds` writes them, are allowed.
    ///
    /// ```
    /// use smbios_creds::trust::sealed::{Blob, BlobError};
    /// let text = b"Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAACOnwGUnxe1PVbavwwAAAAA4meERK0zDpE8H+l
    ///     TJAwFJYvRYruzXyMYrkyxQmUNcFo8EGTriaYQhGnvQfvlIXSvdb5PPeJgHA==";
    /// assert_eq!(Blob::new(text)?.key().as_str(), "host");
    /// assert_eq!(Blob::new(b"aHVudGVyMg=="), Err(BlobError::NotABlob));
    /// # Ok::<(), BlobError>(())
    /// ```
    ///
    /// # Errors
    /// [`BlobError`] says why this blob must not be sent to a guest.
    pub fn new(text: &[u8]) -> Result<Self, BlobError> {
        let bytes = base64::decode(text)?;
        let key = key_in(&bytes).filter(|_| bytes.len() >= BLOB_MIN).ok_or(BlobError::NotABlob)?;
        if key.is_null() {
            return Err(BlobError::NullKey);
        }
        // The blob is encoded again, so that the text is on one line, and in the standard alphabet, which every version
        // of systemd reads.
        let text = base64::encode(&bytes).as_str().to_owned();
        if text.len() > BLOB_MAX {
            return Err(BlobError::TooLarge { size: text.len() });
        }
        Ok(Self { text, key })
    }

    /// Returns the blob in base64. The guest writes this text to `/run/credstore.encrypted/NAME`, and the manifest
    /// lists the size and the SHA-256 of this text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the manifest's entry for this blob.
    #[must_use]
    pub fn ciphertext(&self) -> Ciphertext {
        Ciphertext { size: self.text.len() as u64, sha256: Sha256::digest(&self.text).into() }
    }

    /// Returns the kind of key that decrypts the blob.
    #[must_use]
    pub fn key(&self) -> &'static Key {
        self.key
    }
}

impl Sealed {
    /// Reads an encrypted credential from the text after [`PREFIX`] in an OEM string.
    ///
    /// # Errors
    /// [`SealedError`] says what is wrong with the text. The error contains the credential's name only if a blob
    /// follows the name. If no blob follows, the text before the `=` may be a secret.
    pub fn decode(rest: &[u8]) -> Result<Self, SealedError> {
        let at = rest.iter().position(|&byte| byte == b'=').ok_or(SealedError::NoEquals)?;
        let (name, blob) = rest.split_at(at);
        Name::check(name)?;
        match Blob::new(blob.get(1..).unwrap_or_default()) {
            Err(BlobError::NullKey) => Err(SealedError::NullKey(Name::new(name)?)),
            blob => Ok(Self { blob: blob?, name: Name::new(name)? }),
        }
    }

    /// Writes the encrypted credential as an OEM string. The OEM string does not include the NUL byte that ends each
    /// string in the SMBIOS table. Returns `None` if the name contains `=`: every reader would end the name at this
    /// `=`.
    #[must_use]
    pub fn encode(&self) -> Option<String> {
        let (name, text) = (self.name.as_str(), self.blob.text());
        (!name.contains('=')).then(|| format!("{PREFIX}{name}={text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(key: &Key) -> Vec<u8> {
        let mut bytes = [&key.id[..], &SIZES].concat();
        bytes.resize(BLOB_MIN, 0xa5);
        bytes
    }

    #[test]
    fn every_kind_of_key_but_the_null_key_is_accepted() {
        for key in &KEYS {
            let bytes = made(key);
            assert_eq!(key_of(&bytes), Some(key));
            let blob = Blob::new(base64::encode(&bytes).as_bytes()).map(|blob| blob.key);
            assert_eq!(blob, if key.as_str() == NULL { Err(BlobError::NullKey) } else { Ok(key) });
        }
        let is_of_one_user = KEYS.iter().filter(|key| key.is_of_one_user()).count();
        assert_eq!((is_of_one_user, KEYS.iter().filter(|key| key.is_null()).count()), (5, 1));
    }

    #[test]
    fn blob_with_any_other_bit_in_its_header_is_none() {
        let whole = made(&KEYS[2]);
        for bit in 0..HEADER_SIZE * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key_of(&bytes), None, "{bit}");
            assert_eq!(Blob::new(base64::encode(&bytes).as_bytes()), Err(BlobError::NotABlob), "{bit}");
        }
        for size in 0..BLOB_MIN {
            let text = base64::encode(&whole[..size]);
            assert_eq!(key_of(&whole[..size]), None, "{size}");
            assert_eq!(Blob::new(text.as_bytes()), Err(BlobError::NotABlob), "{size}");
        }
    }

    #[test]
    fn string_that_holds_no_blob_never_shows_a_name() {
        for rest in ["hunter2", "aHVudGVyMg==", "db=hunter2", "db=aHVudGVyMg==", "=", "hun/ter2=x", ""] {
            let error = Sealed::decode(rest.as_bytes()).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("db") && !shown.contains("hun") && !shown.contains("aHV"), "{shown}");
        }
    }
}
