//! Converts a minisign signature of a manifest to an OEM string and back. Reads the trusted public keys.
//!
//! The OEM string consists of the prefix `io.smbios-creds.signature:` and the base64 of a whole signature file, as
//! `minisign -S` writes it. The signed data is the manifest's whole OEM string with its prefix, as in the file
//! `NAME.manifest`: without a NUL or a newline at the end. Because the prefix is signed too, a signature of another
//! file is never valid for a manifest.
//!
//! This program never uses a private key. Only this file uses the crate `minisign_verify`.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use minisign_verify::{PublicKey, Signature as Minisign};

use crate::format::base64;
use crate::text::help::Help;

pub use crate::format::oem_string::SIGNATURE_PREFIX as PREFIX;

/// Largest number of signatures that a set may have. While one key replaces another, a set has two signatures. The
/// number is limited, because the guest must verify each signature.
pub const SIGNATURES_MAX: usize = 8;

/// Largest size in bytes of a signature file. minisign allows 1024 and 8192 bytes for the two comments
/// (`src/minisign.h`, 0.11).
pub const SIGNATURE_MAX: usize = 10_240;

/// Largest size in bytes of a file with a public key.
pub const KEY_MAX: usize = 4096;

/// Start of the first line in a key file and in a signature file.
const UNTRUSTED: &str = "untrusted comment:";

/// Start of the third line of a signature file.
const TRUSTED: &str = "trusted comment: ";

/// Size in bytes of a public key: two bytes for the algorithm, eight for the key's number, and 32 for the key itself.
const KEY_SIZE: usize = 42;

/// Size in bytes of a secret key (`SeckeyStruct`, `src/minisign.h`, 0.11).
const SECRET_KEY_SIZE: usize = 158;

/// Size in bytes of a signature: two bytes for the algorithm, eight for the key's number, and 64 for the signature
/// itself.
const SIGNATURE_SIZE: usize = 74;

/// The algorithm in every public key. A signature also has this algorithm if it was made over the file itself, and not
/// over the file's digest (`minisign -S -l`, the default before minisign 0.10).
const PLAIN: [u8; 2] = *b"Ed";

/// The algorithm in a signature that was made over the file's `BLAKE2b` digest, the default since minisign 0.10.
const PREHASHED: [u8; 2] = *b"ED";

/// The number of a key. `Display` writes the number as minisign does: in upper-case hexadecimal, without leading
/// zeroes.
///
/// The number in a signature names the key that made the signature, but is no proof: anyone can make a key with the
/// number of another key.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KeyId(u64);

impl Display for KeyId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", self.0)
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is not a public key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file is larger than [`KEY_MAX`], or it is not text.
    #[error("it is not a minisign public key: it is not text of at most {KEY_MAX} bytes")]
    NotText,
    /// The file does not consist of an optional comment line and one line with the key.
    #[error(
        "it is not a minisign public key: expected an 'untrusted comment:' line and one line that starts with RW"
    )]
    Lines,
    /// The line with the key is damaged.
    #[error("it is not a minisign public key: the line that starts with RW is damaged")]
    Damaged,
    /// The file contains a secret key. A secret key must not be on a machine that only verifies signatures.
    #[error("it is a minisign SECRET key")]
    Secret,
}

impl Help for KeyError {
    fn help(&self) -> Option<Cow<'static, str>> {
        (*self == Self::Secret)
            .then_some("remove it from this machine, and use the public key (the .pub file)".into())
    }
}

/// Why a text is not a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The file is larger than [`SIGNATURE_MAX`], or it is not text.
    #[error("it is not a minisign signature: it is not text of at most {SIGNATURE_MAX} bytes")]
    NotText,
    /// The file does not have the four lines of a signature file.
    #[error("it is not a minisign signature: a signature file has four complete lines")]
    Lines,
    /// A base64 line of the file is damaged.
    #[error("it is not a minisign signature: a line of base64 in it is damaged")]
    Damaged,
    /// The signature was made by `minisign -S -l`, or by a minisign older than 0.10.
    #[error("it has minisign's legacy format")]
    Legacy,
}

impl Help for SignatureError {
    fn help(&self) -> Option<Cow<'static, str>> {
        (*self == Self::Legacy).then_some("sign without -l, or with -H if minisign is older than 0.10".into())
    }
}

impl serde::Serialize for SignatureError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.on_one_line())
    }
}

/// A public key of a person who may sign sets.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    id: KeyId,
    key: PublicKey,
}

impl TrustedKey {
    /// Reads a public key from the content of a `.pub` file, or from only the line of this file that starts with `RW`.
    ///
    /// ```
    /// use smbios_creds::trust::signature::TrustedKey;
    /// let key = TrustedKey::read(b"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")?;
    /// assert_eq!(key.id().to_string(), "E7620F1842B4E81F");
    /// # Ok::<(), smbios_creds::trust::signature::KeyError>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with the text.
    pub fn read(text: &[u8]) -> Result<Self, KeyError> {
        let text = text_of(text, KEY_MAX).ok_or(KeyError::NotText)?;
        let mut lines = text.trim_ascii_end().lines();
        let (first, second, rest) = (lines.next(), lines.next(), lines.next());
        let line = match (first, second, rest) {
            (Some(line), None, None) if !line.starts_with(UNTRUSTED) => line,
            (Some(comment), Some(line), None) if comment.starts_with(UNTRUSTED) => line,
            _ => return Err(KeyError::Lines),
        };
        let bytes = base64::decode(line.as_bytes()).map_err(|_| KeyError::Damaged)?;
        if bytes.len() == SECRET_KEY_SIZE {
            return Err(KeyError::Secret);
        }
        let parts = parts::<KEY_SIZE>(&bytes).ok_or(KeyError::Damaged)?;
        let (algorithm, id) = algorithm_and_id(&parts).ok_or(KeyError::Damaged)?;
        let key = PublicKey::from_base64(&base64::encode(&bytes)).map_err(|_| KeyError::Damaged)?;
        if algorithm == PLAIN { Ok(Self { id, key }) } else { Err(KeyError::Damaged) }
    }

    /// Returns the key's number.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether the owner of this key made `signature` for exactly these bytes.
    #[must_use]
    pub fn has_signed(&self, bytes: &[u8], signature: &Signature) -> bool {
        self.key.verify(bytes, &signature.inner, false).is_ok()
    }
}

impl std::str::FromStr for TrustedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::read(text.as_bytes())
    }
}

/// A signature that is not verified yet.
#[derive(Clone)]
pub struct Signature {
    /// The four lines of the signature file, each with its newline.
    text: String,
    id: KeyId,
    inner: Minisign,
}

impl Signature {
    /// Reads a signature from a signature file, as `minisign -S` writes it. Lines may end with CR LF, and the newline
    /// of the last line may be missing. Adds blanks to the untrusted comment until the base64 of the file ends in `==`.
    ///
    /// # Errors
    /// [`SignatureError`] says what is wrong with the file.
    pub fn read(file: &[u8]) -> Result<Self, SignatureError> {
        let text = text_of(file, SIGNATURE_MAX).ok_or(SignatureError::NotText)?;
        let mut whole: String = text.trim_ascii_end().lines().flat_map(|line| [line, "\n"]).collect();
        // The file is padded like a manifest, because Incus needs a `=` at the end of the OEM string. Blanks in the
        // untrusted comment do no harm, because this comment is not signed.
        let blanks = (4 - whole.len() % 3) % 3;
        if let Some(end) = whole.find('\n')
            && whole.len() + blanks <= SIGNATURE_MAX
        {
            whole.insert_str(end, &" ".repeat(blanks));
        }
        Self::whole(whole)
    }

    /// Reads a signature from the text after [`PREFIX`] in an OEM string: the base64 of four complete lines. Refuses an
    /// OEM string that was cut: such a string contains fewer than four lines, or its last line has no newline.
    ///
    /// # Errors
    /// [`SignatureError`] says what is wrong with the text.
    pub fn decode(text: &[u8]) -> Result<Self, SignatureError> {
        // This function checks the size of the base64 before it makes a decoded copy. Base64 has four characters for
        // every three bytes.
        if text.len() > SIGNATURE_MAX.div_ceil(3) * 4 {
            return Err(SignatureError::NotText);
        }
        let file = base64::decode(text).map_err(|_| SignatureError::Damaged)?;
        Self::whole(text_of(&file, SIGNATURE_MAX).ok_or(SignatureError::NotText)?.to_owned())
    }

    /// Reads a signature from the four lines of a signature file. Each line must end with a newline, and nothing may
    /// follow the last line.
    fn whole(text: String) -> Result<Self, SignatureError> {
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(SignatureError::Lines);
        let (untrusted, signature, trusted, _, end) = (line()?, line()?, line()?, line()?, line()?);
        let is_whole = untrusted.starts_with(UNTRUSTED) && trusted.starts_with(TRUSTED) && end.is_empty();
        // This function refuses carriage returns, because some readers end a line at a carriage return, and others do
        // not.
        if !is_whole || lines.next().is_some() || text.contains('\r') {
            return Err(SignatureError::Lines);
        }
        let bytes = base64::decode(signature.as_bytes()).map_err(|_| SignatureError::Damaged)?;
        let bytes = parts::<SIGNATURE_SIZE>(&bytes).ok_or(SignatureError::Damaged)?;
        let (algorithm, id) = algorithm_and_id(&bytes).ok_or(SignatureError::Damaged)?;
        match algorithm {
            PREHASHED => {}
            PLAIN => return Err(SignatureError::Legacy),
            _ => return Err(SignatureError::Damaged),
        }
        let inner = Minisign::decode(&text).map_err(|_| SignatureError::Damaged)?;
        Ok(Self { text, id, inner })
    }

    /// Returns the number of the key that the signature names. Only [`TrustedKey::has_signed`] proves that this key
    /// made the signature.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// Writes the signature as an OEM string. The OEM string does not include the NUL byte that ends each string in the
    /// SMBIOS table.
    #[must_use]
    pub fn encode(&self) -> String {
        format!("{PREFIX}{}", *base64::encode(self.text.as_bytes()))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signature").field(&self.id).finish()
    }
}

impl PartialEq for Signature {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Signature {}

/// Returns the number of the trusted key that signed `manifest`, which is the manifest's whole OEM string. This
/// function checks only the first [`SIGNATURES_MAX`] signatures. The first valid signature determines the result, and
/// later signatures have no effect.
///
/// ```
/// use smbios_creds::trust::signature::{Signature, TrustedKey, signer};
/// let key = TrustedKey::read(b"RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")?;
/// let signature = Signature::read(
///     b"untrusted comment: signature from minisign secret key
/// RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
/// trusted comment: timestamp:1633700835\tfile:test\tprehashed
/// wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==
/// ",
/// )?;
/// assert_eq!(signer(b"test", [&signature], std::slice::from_ref(&key)), Some(key.id()));
/// assert_eq!(signer(b"test ", [&signature], &[key]), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn signer<'a>(
    manifest: &[u8],
    signatures: impl IntoIterator<Item = &'a Signature>,
    keys: &[TrustedKey],
) -> Option<KeyId> {
    let mut signatures = signatures.into_iter().take(SIGNATURES_MAX);
    signatures.find_map(|signature| {
        let key = keys.iter().find(|key| key.has_signed(manifest, signature))?;
        Some(key.id())
    })
}

/// Returns the bytes as text, if there are at most `max` bytes and no NUL. minisign's files contain no NUL.
fn text_of(bytes: &[u8], max: usize) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    (bytes.len() <= max && !text.contains('\0')).then_some(text)
}

/// Returns the bytes as an array, if there are exactly `N` bytes.
fn parts<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Reads the start of a key or a signature: the algorithm, and the key's number, whose lowest byte comes first.
fn algorithm_and_id(bytes: &[u8]) -> Option<([u8; 2], KeyId)> {
    let (algorithm, rest) = bytes.split_first_chunk()?;
    let (id, _) = rest.split_first_chunk()?;
    Some((*algorithm, KeyId(u64::from_le_bytes(*id))))
}
