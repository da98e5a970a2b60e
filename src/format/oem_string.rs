//! Converts a `Credential` to an OEM string and back.
//!
//! For credentials, the rules are exactly systemd's (`parse_smbios_strings()`, `src/core/import-creds.c`, v252 to
//! v262). The prefix must match byte for byte. Name and value are split at the first `=`. A text value is used
//! unchanged, and a binary value is base64 ([`crate::format::base64`]).

use zeroize::Zeroizing;

use crate::format::base64::{self, Base64Error};
use crate::format::credential::{Credential, Name, NameError, Secret, VALUE_MAX};
use crate::format::manifest::{self, Manifest};

pub use super::receipt::PREFIX as RECEIPT_PREFIX;
pub use super::systemd::{BINARY_PREFIX, TEXT_PREFIX};

/// Prefix of an OEM string that contains a signature of the manifest.
pub const SIGNATURE_PREFIX: &str = "io.smbios-creds.signature:";

/// Prefix of an OEM string that contains an encrypted credential.
pub const ENCRYPTED_PREFIX: &str = "io.smbios-creds.encrypted:";

/// The form of a value in an OEM string.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// The value is unchanged. The OEM string begins with [`TEXT_PREFIX`].
    Text,
    /// The value is in base64. The OEM string begins with [`BINARY_PREFIX`].
    Binary,
}

impl Encoding {
    /// Returns the prefix of an OEM string with a value in this form.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Text => TEXT_PREFIX,
            Self::Binary => BINARY_PREFIX,
        }
    }

    /// Returns the name of this form, as listings show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The kind of an OEM string, with its content.
#[derive(Debug)]
pub enum OemString<'a> {
    /// A plain credential, and the form of its value.
    Credential(Credential, Encoding),
    /// Either the name of a credential with an empty value (in the binary form), or a value whose name is missing.
    MaybeNameless(MaybeNameless),
    /// A string that has the prefix of a credential but cannot be decoded. No part of the string is ever shown: text
    /// that looks like a name may be a value whose name is missing.
    Undecodable(DecodeError, Encoding),
    /// A manifest: the text after its prefix, for [`crate::format::manifest::Manifest::decode`].
    Manifest(&'a [u8]),
    /// A signature of the manifest: the text after its prefix.
    Signature(&'a [u8]),
    /// An encrypted credential: the text after its prefix.
    Encrypted(&'a [u8]),
    /// The address for a receipt: the text after its prefix.
    Receipt(&'a [u8]),
    /// A string that starts almost like one of this program's prefixes. Most likely a secret follows a mistyped prefix,
    /// so the text must not be shown.
    NearMiss {
        /// The prefix that the sender probably meant.
        meant: &'static str,
    },
    /// An OEM string of another program. The text of such a string may be a secret too.
    Foreign,
}

/// Text that is either the name of a credential with an empty value, or a value whose name is missing. In the binary
/// form, these two cases look the same if the padding of the value's base64 is one `=`.
///
/// Only [`Self::named`] makes a [`Name`] of this text, because names are shown, and are never wiped from memory.
#[derive(Debug)]
pub struct MaybeNameless(Secret);

impl MaybeNameless {
    /// Returns a credential with an empty value if the text is known to be a name: `manifest` lists the text, or
    /// `is_name` returns true for the text. The caller must pass only a valid manifest.
    pub fn named(
        &self,
        manifest: Option<&Manifest>,
        is_name: impl FnOnce(&str) -> bool,
    ) -> Option<Credential> {
        let text = Name::check(self.0.expose()).ok()?;
        if !manifest.is_some_and(|manifest| manifest.lists(text)) && !is_name(text) {
            return None;
        }
        Some(Credential::new(Name::new(text).ok()?, Vec::new()))
    }

    /// Returns the length in bytes of the text between the prefix and the `=`.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.len()
    }
}

/// What is wrong with a string that has the prefix of a credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The string contains no `=` between name and value. In the binary form, the string may contain `=` as padding of
    /// the base64.
    #[error("has no '=' between name and value")]
    NoEquals,
    /// The credential's name breaks systemd's rules for names.
    #[error("has a name that is not allowed: {0}")]
    Name(#[from] NameError),
    /// The value is not base64.
    #[error("has a value that is not base64: {0}")]
    Base64(#[from] Base64Error),
    /// The value is larger than [`VALUE_MAX`].
    #[error("has a value of {size} bytes, at most {VALUE_MAX} are allowed")]
    TooLarge {
        /// Size of the decoded value in bytes.
        size: usize,
    },
}

/// Returns the kind of an OEM string, and decodes the string if it contains a plain credential.
///
/// ```
/// use smbios_creds::format::oem_string::{OemString, decode};
/// let OemString::Credential(credential, _) = decode(b"io.systemd.credential:key=a=b") else { panic!() };
/// assert_eq!((credential.name.as_str(), credential.value.expose()), ("key", &b"a=b"[..]));
/// assert!(matches!(decode(b"io.systemd.credentials:key=a"), OemString::NearMiss { .. }));
/// ```
#[must_use]
pub fn decode(string: &[u8]) -> OemString<'_> {
    for encoding in [Encoding::Text, Encoding::Binary] {
        if let Some(rest) = string.strip_prefix(encoding.prefix().as_bytes()) {
            return credential(rest, encoding);
        }
    }
    let after = |prefix: &str| string.strip_prefix(prefix.as_bytes());
    if let Some(rest) = after(manifest::PREFIX) {
        OemString::Manifest(rest)
    } else if let Some(rest) = after(SIGNATURE_PREFIX) {
        OemString::Signature(rest)
    } else if let Some(rest) = after(ENCRYPTED_PREFIX) {
        OemString::Encrypted(rest)
    } else if let Some(rest) = after(RECEIPT_PREFIX) {
        OemString::Receipt(rest)
    } else {
        near_miss(string).map_or(OemString::Foreign, |(meant, _)| OemString::NearMiss { meant })
    }
}

/// Every prefix of the OEM strings that this program reads.
const PREFIXES: [&str; 6] =
    [TEXT_PREFIX, BINARY_PREFIX, manifest::PREFIX, SIGNATURE_PREFIX, ENCRYPTED_PREFIX, RECEIPT_PREFIX];

/// Whether a string starts with the prefix of a manifest, a signature, an encrypted credential, or the address for a
/// receipt.
pub(crate) fn is_accompanying(string: &[u8]) -> bool {
    let [_, _, others @ ..] = PREFIXES;
    others.iter().any(|prefix| string.starts_with(prefix.as_bytes()))
}

fn credential(rest: &[u8], encoding: Encoding) -> OemString<'_> {
    let refuse = |error| OemString::Undecodable(error, encoding);
    let Some((name, value)) = split_at_equals(rest, encoding) else {
        return refuse(DecodeError::NoEquals);
    };
    // The name is copied only if the string is a credential: the name in a refused string may be a secret.
    let checked = match Name::check(name) {
        Ok(checked) => checked,
        Err(error) => return refuse(error.into()),
    };
    let value = match encoding {
        Encoding::Text => Zeroizing::new(value.to_vec()),
        Encoding::Binary => match base64::decode(value) {
            Ok(value) => value,
            Err(error) => return refuse(error.into()),
        },
    };
    if value.len() > VALUE_MAX {
        return refuse(DecodeError::TooLarge { size: value.len() });
    }
    if encoding == Encoding::Binary && value.is_empty() && may_be_value(checked) {
        return OemString::MaybeNameless(MaybeNameless(name.to_vec().into()));
    }
    match Name::new(name) {
        Ok(name) => OemString::Credential(Credential::new(name, value), encoding),
        Err(error) => refuse(error.into()),
    }
}

/// Splits a name from its value at the first `=`. If the value of a string in the binary form consists only of `=`,
/// every `=` is padding, and the name is missing. The text before the padding is then the secret, which must not be
/// printed as a name. systemd refuses such a string too, because a value that consists only of `=` is not base64. A
/// string with a single `=`, at its end, has a name and an empty value.
fn split_at_equals(rest: &[u8], encoding: Encoding) -> Option<(&[u8], &[u8])> {
    let at = rest.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (rest.get(..at)?, rest.get(at + 1..)?);
    let only_padding = encoding == Encoding::Binary && !value.is_empty() && value.iter().all(|&b| b == b'=');
    (!only_padding).then_some((name, value))
}

/// Whether a name would be base64 if one `=` followed it as padding.
fn may_be_value(name: &str) -> bool {
    base64::decode(&Zeroizing::new([name.as_bytes(), b"="].concat())).is_ok()
}

/// Maximum number of characters at the start of a string that [`near_miss`] compares with the prefixes.
const NEAR_MISS_HEAD: usize = 40;

/// Returns the prefix that the sender probably meant, and the length of the mistyped prefix in bytes. The string may
/// differ from the prefix in upper and lower case, in blanks before or after the prefix, in a plural or another ending,
/// or in at most two letters.
fn near_miss(string: &[u8]) -> Option<(&'static str, usize)> {
    let start = string.iter().position(u8::is_ascii_graphic)?;
    // This copy is wiped, because the copy may contain the beginning of a secret that has no prefix.
    let mut lowered = Zeroizing::new([0; NEAR_MISS_HEAD]);
    let mut length = 0;
    let word = string.iter().skip(start).take_while(|byte| !matches!(byte, b':' | b'='));
    for (lowered, byte) in lowered.iter_mut().zip(word) {
        *lowered = byte.to_ascii_lowercase();
        length += 1;
    }
    let head = lowered.get(..length).unwrap_or_default();
    let through_separator = (start + head.len() + 1).min(string.len());
    let head = head.trim_ascii_end();
    PREFIXES.into_iter().find_map(|prefix| {
        let word = prefix.trim_end_matches(':').as_bytes();
        if distance_at_most_two(head, word) {
            Some((prefix, through_separator))
        } else {
            head.starts_with(word).then_some((prefix, start + word.len()))
        }
    })
}

/// Returns the length in bytes of the mistyped prefix at the start of a string, or 0 if the string does not start with
/// a mistyped prefix. The text after the prefix may be secret.
pub(crate) fn near_miss_length(string: &[u8]) -> usize {
    near_miss(string).map_or(0, |(_, length)| length)
}

/// Whether the Levenshtein distance of `a` and `b` is 2 or less.
fn distance_at_most_two(a: &[u8], b: &[u8]) -> bool {
    if a.len().abs_diff(b.len()) > 2 {
        return false;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in (1..).zip(a) {
        // The loop below does not need the first cell of `row`: `diagonal` and `left` start with the values of the
        // first column.
        let (mut diagonal, mut left) = (i - 1, i);
        for (cell, y) in row.iter_mut().skip(1).zip(b) {
            let best = (diagonal + usize::from(x != y)).min(*cell + 1).min(left + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
    }
    row.last().is_some_and(|&distance| distance <= 2)
}

/// Why a credential cannot be written as an OEM string.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The name contains `=`: every reader would end the name at this `=`.
    #[error("its name contains '=', which ends the name in an OEM string")]
    EqualsInName,
    /// A text value contains a NUL byte, which ends every SMBIOS string. The binary form allows NUL bytes.
    #[error("its value contains a NUL byte at position {position}, which only the binary form can carry")]
    Nul {
        /// Position of the NUL byte in the value, from 0.
        position: usize,
    },
    /// The value is larger than [`VALUE_MAX`].
    #[error("its value has {size} bytes, at most {VALUE_MAX} are allowed")]
    TooLarge {
        /// Size of the value in bytes.
        size: usize,
    },
}

/// Writes a credential as an OEM string. The OEM string does not include the NUL byte that ends each string in the
/// SMBIOS table.
///
/// Prefer [`Encoding::Binary`]: no hypervisor's command line passes on every text unchanged.
///
/// ```
/// use smbios_creds::format::credential::{Credential, Name};
/// use smbios_creds::format::oem_string::{Encoding, encode};
/// let credential = Credential::new(Name::new("blob")?, vec![0, 1, 2, 3, 4]);
/// let string = encode(&credential, Encoding::Binary)?;
/// assert_eq!(string.expose(), b"io.systemd.credential.binary:blob=AAECAwQ=");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EncodeError`] says why no reader could decode the OEM string of this credential.
pub fn encode(credential: &Credential, encoding: Encoding) -> Result<Secret, EncodeError> {
    let (name, value) = (credential.name.as_str(), credential.value.expose());
    if name.contains('=') {
        return Err(EncodeError::EqualsInName);
    }
    if value.len() > VALUE_MAX {
        return Err(EncodeError::TooLarge { size: value.len() });
    }
    Ok(match encoding {
        Encoding::Text => {
            if let Some(position) = value.iter().position(|&byte| byte == 0) {
                return Err(EncodeError::Nul { position });
            }
            [encoding.prefix().as_bytes(), name.as_bytes(), b"=", value].concat()
        }
        Encoding::Binary => {
            let text = base64::encode(value);
            [encoding.prefix().as_bytes(), name.as_bytes(), b"=", text.as_bytes()].concat()
        }
    }
    .into())
}
