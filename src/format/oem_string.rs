//! `Credential` <-> OEM string, decoder and encoder side by side.
//!
//! The rules are systemd's to the letter (`parse_smbios_strings()`, `src/core/import-creds.c`, v252 to v262): the
//! prefix is matched byte for byte, name and value are split at the first `=`, a text value is taken verbatim, a
//! binary value is base64 ([`crate::format::base64`]).

use zeroize::Zeroizing;

use crate::format::base64::{self, Base64Error};
use crate::format::credential::{Credential, Name, NameError, Secret, VALUE_MAX};
use crate::format::manifest::{self, Manifest};

pub use super::receipt::PREFIX as RECEIPT_PREFIX;
pub use super::systemd::{BINARY_PREFIX, TEXT_PREFIX};

/// Prefix of the OEM string that carries a signature of the manifest.
pub const SIGNATURE_PREFIX: &str = "io.smbios-creds.signature:";

/// Prefix of an OEM string that carries an encrypted credential.
pub const ENCRYPTED_PREFIX: &str = "io.smbios-creds.encrypted:";

/// How an OEM string carries a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Verbatim, behind [`TEXT_PREFIX`].
    Text,
    /// As base64, behind [`BINARY_PREFIX`].
    Binary,
}

impl Encoding {
    /// The prefix of an OEM string of this form.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Text => TEXT_PREFIX,
            Self::Binary => BINARY_PREFIX,
        }
    }

    /// Its name in listings.
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

/// What an OEM string turned out to be.
#[derive(Debug)]
pub enum OemString<'a> {
    /// A credential.
    Credential(Credential, Encoding),
    /// A credential without a value in the binary form, or a value that has lost its name.
    MaybeNameless(MaybeNameless),
    /// The prefix of a credential, and after it something that does not decode to one. No part of it is ever shown:
    /// what looks like a name may be a value that has lost its own.
    Undecodable(DecodeError, Encoding),
    /// A manifest: what follows its prefix, for [`crate::format::manifest::Manifest::decode`].
    Manifest(&'a [u8]),
    /// A signature of the manifest: what follows its prefix.
    Signature(&'a [u8]),
    /// An encrypted credential: what follows its prefix.
    Encrypted(&'a [u8]),
    /// Where the host wants to hear how the import went: what follows its prefix.
    Receipt(&'a [u8]),
    /// Almost one of our prefixes: most likely a secret behind a mistyped prefix, so its text must not be shown.
    NearMiss {
        /// The prefix that was probably meant.
        meant: &'static str,
    },
    /// Somebody else's string. Its text may be a secret too.
    Foreign,
}

/// The name of a credential without a value, or a value that has lost its name: the base64 of such a value looks like a
/// name in the binary form if its padding is one `=`.
///
/// No [`Name`] of it exists before [`Self::named`] makes one, since names are shown, and never wiped.
#[derive(Debug)]
pub struct MaybeNameless(Secret);

impl MaybeNameless {
    /// The credential that it is, if anybody says so: the manifest that counts lists the text, or `is_name` says that it
    /// is a name.
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

    /// Number of bytes of the text, which follow the prefix.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.len()
    }
}

/// What is wrong with a string that has the prefix of a credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No `=`, or (in base64) no `=` but the padding.
    #[error("has no '=' between name and value")]
    NoEquals,
    /// The name breaks systemd's rules.
    #[error("has a bad name: {0}")]
    Name(#[from] NameError),
    /// The value is not base64.
    #[error("has a value that is not base64: {0}")]
    Base64(#[from] Base64Error),
    /// The value is larger than [`VALUE_MAX`].
    #[error("has a value of {size} bytes, at most {VALUE_MAX} are allowed")]
    TooLarge {
        /// Bytes of the decoded value.
        size: usize,
    },
}

/// Tells what an OEM string is, and decodes it if it is a credential.
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

/// Every prefix that a string of ours may have.
const PREFIXES: [&str; 6] =
    [TEXT_PREFIX, BINARY_PREFIX, manifest::PREFIX, SIGNATURE_PREFIX, ENCRYPTED_PREFIX, RECEIPT_PREFIX];

/// Whether a string begins as ours do that are no credential in plain text.
pub(crate) fn is_accompanying(string: &[u8]) -> bool {
    let [_, _, others @ ..] = PREFIXES;
    others.iter().any(|prefix| string.starts_with(prefix.as_bytes()))
}

fn credential(rest: &[u8], encoding: Encoding) -> OemString<'_> {
    let refuse = |error| OemString::Undecodable(error, encoding);
    let Some((name, value)) = split_at_equals(rest, encoding) else {
        return refuse(DecodeError::NoEquals);
    };
    // There is a copy of the name only of what is a credential: the name of what is refused may be a secret.
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

/// Splits at the first `=`. A binary string whose only `=` are the padding of its base64 has lost its name: what
/// stands before them is the secret, which must not be taken for a name and printed. Nothing is refused by this
/// that systemd accepts, since `==` alone is not base64 and one `=` is left to stand for an empty value.
fn split_at_equals(rest: &[u8], encoding: Encoding) -> Option<(&[u8], &[u8])> {
    let at = rest.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (rest.get(..at)?, rest.get(at + 1..)?);
    let only_padding = encoding == Encoding::Binary && !value.is_empty() && value.iter().all(|&b| b == b'=');
    (!only_padding).then_some((name, value))
}

/// Whether a name is base64, but for a padding of one `=`.
fn may_be_value(name: &str) -> bool {
    base64::decode(&Zeroizing::new([name.as_bytes(), b"="].concat())).is_ok()
}

/// Longest mistyped prefix that is compared letter by letter.
const NEAR_MISS_HEAD: usize = 40;

/// The prefix that was probably meant, and how many bytes of the string stand for it: equal but for case, blanks
/// before or after it, a plural or other ending, or at most two letters.
fn near_miss(string: &[u8]) -> Option<(&'static str, usize)> {
    let start = string.iter().position(u8::is_ascii_graphic)?;
    // Wiped: it may be the beginning of a secret without any prefix.
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

/// How many bytes of a near miss stand for the prefix; what follows may be secret.
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
        // The first cell of the row is never read again.
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
    /// The name holds `=`, at which every reader would split it.
    #[error("its name holds '=', which ends the name in an OEM string")]
    EqualsInName,
    /// A text value holds a NUL byte, which ends every SMBIOS string. The binary form can carry it.
    #[error("its value holds a NUL byte at position {position}, which only the binary form can carry")]
    Nul {
        /// Position in the value, from 0.
        position: usize,
    },
    /// The value is larger than [`VALUE_MAX`].
    #[error("its value has {size} bytes, at most {VALUE_MAX} are allowed")]
    TooLarge {
        /// Bytes of the value.
        size: usize,
    },
}

/// Writes a credential as an OEM string, without the NUL that ends it in the table.
///
/// Prefer [`Encoding::Binary`]: no hypervisor's command line carries every text intact.
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
/// [`EncodeError`] says why no reader would get the credential back.
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
