//! A packed set is a file with OEM strings. The subcommand `pack` writes the file, another program signs the manifest,
//! and the strings are sent unchanged. This module writes and reads the file.
//!
//! Each line is an OEM string and ends in a newline. The credentials come first, in the binary form, because base64
//! contains no newline. The manifest is next, and signatures of the manifest may follow. `emit --format strings` writes
//! the same format.
//!
//! A signature covers the exact bytes of the manifest's OEM string. So a set is sent unchanged or not at all: the
//! manifest is never rewritten, and no credential is added.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::listed::{Listed, encrypted_content, look_at};
use super::near::Near;
use super::source::TOTAL_MAX;
use super::strings::{Content, EmitError, Existing, OemStrings, Origin, value_of};
use crate::format::credential::{Credential, Name, Secret};
use crate::format::manifest::{Manifest, ManifestError};
use crate::format::oem_string::{DecodeError, Encoding, OemString, decode, encode};
use crate::format::receipt::Verifier;
use crate::text::help::Help;
use crate::trust::sealed::Sealed;
use crate::trust::signature::{KeyId, SIGNATURES_MAX, Signature, SignatureError, TrustedKey, signer};

/// Maximum size of a set's file in bytes. All values in base64, their names, a manifest and signatures fit into a file
/// of this size.
pub const FILE_MAX: usize = 2 * TOTAL_MAX;

/// A set whose values match its manifest.
#[derive(Debug)]
pub struct Set {
    strings: Vec<(Secret, Content)>,
    manifest: Secret,
    signatures: Vec<Signature>,
}

/// Why a set cannot be sent. The error messages show no text of the file, except names that the manifest lists.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The last line has no newline.
    #[error("the last line has no newline, so the file is cut")]
    Cut,
    /// A line has the prefix of a credential, but cannot be decoded.
    #[error("line {line} {error}")]
    Undecodable {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with the line.
        error: DecodeError,
    },
    /// A set cannot contain this line.
    #[error("line {line} is not a string of a set")]
    Foreign {
        /// Number of the line, from 1.
        line: usize,
    },
    /// The set has no manifest.
    #[error("it has no manifest, so nothing proves that it is complete")]
    NoManifest,
    /// The set has two manifests.
    #[error("line {line} is a second manifest")]
    SecondManifest {
        /// Number of the line, from 1.
        line: usize,
    },
    /// The manifest cannot be read.
    #[error("its manifest cannot be read: {0}")]
    Manifest(#[from] ManifestError),
    /// The manifest lists a credential that is missing in the file.
    #[error("credential {0}: the manifest lists it, but no line contains it")]
    Missing(Name),
    /// A line contains a credential that the manifest does not list.
    #[error("line {line} is a credential that the manifest does not list")]
    Unlisted {
        /// Number of the line, from 1.
        line: usize,
    },
    /// Two lines contain a credential with the same name.
    #[error("credential {0}: two lines contain it")]
    Twice(Name),
    /// The size of a value differs from the size in the manifest.
    #[error("credential {name}: it has {size} bytes, but the manifest lists {listed}")]
    Size {
        /// The credential's name.
        name: Name,
        /// Size of the value in bytes.
        size: usize,
        /// Size in bytes that the manifest lists.
        listed: u64,
    },
    /// The values do not match the digest in the manifest.
    #[error("the digest in its manifest does not match its values")]
    Digest,
    /// An encrypted credential differs from the one that the manifest lists.
    #[error("line {line} is an encrypted credential, but not the one that the manifest lists")]
    Ciphertext {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A line with the prefix of a signature is not a valid signature.
    #[error("its signature is refused: {0}")]
    Signature(#[from] SignatureError),
    /// The set has more signatures than a guest checks.
    #[error("it has more than {SIGNATURES_MAX} signatures, the most that a guest checks")]
    Signatures,
    /// A trusted key's signature is for another manifest.
    #[error("the signature by key {0} is not of this set's manifest")]
    OtherManifest(KeyId),
    /// No signature was made with a trusted key.
    #[error("{}", untrusted(.0))]
    Untrusted(Vec<KeyId>),
    /// The set does not contain a credential that `--expect` names.
    #[error("credential {0}: it is expected (--expect), but the set does not contain it{1}")]
    Expected(Name, Near),
}

impl Help for SetError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Cut
            | Self::Undecodable { .. }
            | Self::SecondManifest { .. }
            | Self::Manifest(_)
            | Self::Missing(_)
            | Self::Unlisted { .. }
            | Self::Twice(_)
            | Self::Size { .. }
            | Self::Digest
            | Self::Ciphertext { .. } => "pack the set again",
            Self::Foreign { .. } | Self::NoManifest => "use a file that 'pack' wrote",
            Self::Signature(error) => return error.help(),
            Self::Signatures => "remove the signatures of old keys",
            Self::OtherManifest(_) => "sign it again: minisign -S -m FILE.manifest",
            Self::Untrusted(keys) if keys.is_empty() => "sign it: minisign -S -m FILE.manifest",
            Self::Untrusted(_) => "sign it with a trusted key, or name this key with --trust",
            Self::Expected(..) => "pack the set with this credential, or correct --expect",
        }))
    }
}

fn untrusted(keys: &[KeyId]) -> String {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    match keys.as_slice() {
        [] => "it is not signed, but --trust requires a signature".to_owned(),
        keys => format!("it is signed by key {}, which --trust does not name", keys.join(" and key ")),
    }
}

/// Returns the content of a set's file, which contains these OEM strings.
#[must_use]
pub fn write(strings: &OemStrings) -> Secret {
    strings.texts().flat_map(|text| [text, b"\n"]).collect::<Vec<_>>().concat().into()
}

impl Set {
    /// Reads a file that [`write()`] wrote, and checks the values against the manifest.
    ///
    /// # Errors
    /// [`SetError`] says why a guest would refuse the set.
    pub fn read(bytes: &[u8]) -> Result<Self, SetError> {
        let lines = bytes.strip_suffix(b"\n").ok_or(SetError::Cut)?;
        let lines = || (1..).zip(lines.split(|&byte| byte == b'\n'));
        let mut found = None;
        for (line, text) in lines() {
            if let OemString::Manifest(wire) = decode(text)
                && is_base64(wire)
                && found.replace((text, Manifest::decode(wire)?)).is_some()
            {
                return Err(SetError::SecondManifest { line });
            }
        }
        let (text, manifest) = found.ok_or(SetError::NoManifest)?;
        let mut set = Self { strings: Vec::new(), manifest: text.to_vec().into(), signatures: Vec::new() };
        let mut values = Values::default();
        for (line, text) in lines() {
            set.take(line, text, &manifest, &mut values)?;
        }
        let listed = manifest.credentials().map(|(name, _)| name).chain(manifest.terms().encrypted.keys());
        if let Some(name) = listed.into_iter().find(|name| !values.has(name)) {
            return Err(SetError::Missing(name.clone()));
        }
        if !manifest.matches(|name| values.plain.get(name)) {
            return Err(SetError::Digest);
        }
        Ok(set)
    }

    /// Adds the string in a line to the set: a credential that the manifest lists, or a signature.
    fn take(
        &mut self,
        line: usize,
        text: &[u8],
        manifest: &Manifest,
        values: &mut Values,
    ) -> Result<(), SetError> {
        let credential = match decode(text) {
            OemString::Manifest(wire) if is_base64(wire) => return Ok(()),
            OemString::Signature(wire) => return self.push(Signature::decode(wire)?),
            // Each credential must be exactly as 'pack' writes it, in the binary form: no hypervisor's command line
            // passes on every text unchanged.
            OemString::Credential(credential, _) => match encode(&credential, Encoding::Binary) {
                Ok(own) if own.expose() == text => credential,
                Ok(_) | Err(_) => return Err(SetError::Foreign { line }),
            },
            OemString::MaybeNameless(text) => {
                text.named(Some(manifest), |_| false).ok_or(SetError::Unlisted { line })?
            }
            OemString::Encrypted(wire) => {
                let sealed = listed_ciphertext(wire, manifest).ok_or(SetError::Ciphertext { line })?;
                let content = encrypted_content(&sealed);
                if !values.encrypted.insert(sealed.name.clone()) {
                    return Err(SetError::Twice(sealed.name));
                }
                self.strings.push((text.to_vec().into(), content));
                return Ok(());
            }
            OemString::Undecodable(error, _) => return Err(SetError::Undecodable { line, error }),
            OemString::Manifest(_)
            | OemString::Receipt(_)
            | OemString::NearMiss { .. }
            | OemString::Foreign => {
                return Err(SetError::Foreign { line });
            }
        };
        let Credential { name, value } = credential;
        let size = value.len();
        match manifest.size_of(&name) {
            None => return Err(SetError::Unlisted { line }),
            Some(listed) if listed != size as u64 => return Err(SetError::Size { name, size, listed }),
            Some(_) => {}
        }
        if values.plain.insert(name.clone(), value).is_some() {
            return Err(SetError::Twice(name));
        }
        self.strings.push((text.to_vec().into(), Content::Credential { name, size, origin: Origin::Set }));
        Ok(())
    }

    /// Adds a signature, which is sent after the manifest. Does not verify the signature.
    ///
    /// # Errors
    /// [`SetError::Signatures`] if the set then has too many signatures. A signature that the set already has is not
    /// added again, and is not an error.
    pub fn sign(&mut self, signature: Signature) -> Result<(), SetError> {
        if self.signatures.contains(&signature) { Ok(()) } else { self.push(signature) }
    }

    fn push(&mut self, signature: Signature) -> Result<(), SetError> {
        self.signatures.push(signature);
        if self.signatures.len() > SIGNATURES_MAX { Err(SetError::Signatures) } else { Ok(()) }
    }

    /// Refuses a set that a guest that trusts only these keys would refuse. Also refuses a set if a signature names one
    /// of these keys, but is not this key's signature of the set's manifest.
    ///
    /// # Errors
    /// [`SetError::OtherManifest`] and [`SetError::Untrusted`] name the keys.
    pub fn verify(&self, keys: &[TrustedKey]) -> Result<(), SetError> {
        let text = self.manifest.expose();
        for signature in &self.signatures {
            let mut own = keys.iter().filter(|key| key.id() == signature.key_id()).peekable();
            if own.peek().is_some() && !own.any(|key| key.has_signed(text, signature)) {
                return Err(SetError::OtherManifest(signature.key_id()));
            }
        }
        if signer(text, &self.signatures, keys).is_none() {
            return Err(SetError::Untrusted(self.signatures.iter().map(Signature::key_id).collect()));
        }
        Ok(())
    }

    /// Returns the manifest's OEM string, without the NUL that ends it in a table. Signatures cover the bytes of this
    /// string.
    #[must_use]
    pub fn manifest(&self) -> &[u8] {
        self.manifest.expose()
    }

    /// Refuses a set that does not contain all credentials in `names`.
    ///
    /// # Errors
    /// [`SetError::Expected`] names the first missing credential.
    pub fn expect(&self, names: &[Name]) -> Result<(), SetError> {
        let sent = self.strings.iter().filter_map(|(_, content)| match content {
            Content::Credential { name, .. } | Content::Encrypted { name, .. } => Some(name),
            Content::Manifest | Content::Signature(_) | Content::Receipt | Content::Foreign => None,
        });
        match names.iter().find(|wanted| !sent.clone().any(|name| name == *wanted)) {
            Some(name) => Err(SetError::Expected(name.clone(), Near::among(name, sent, names))),
            None => Ok(()),
        }
    }

    /// Appends the set's strings to existing strings. The existing strings must not contain credentials: the set's
    /// manifest does not list them, and cannot be changed.
    pub(super) fn beside(self, existing: Existing) -> Result<OemStrings, EmitError> {
        let mut set = Listed::default();
        let mut strings = Vec::with_capacity(existing.kept.len() + self.strings.len() + 1);
        let count = existing.kept.len();
        for (index, (text, origin)) in existing.kept.into_iter().enumerate() {
            let content = look_at(&text, origin, index + 1, &mut set)?;
            strings.push((text, content));
        }
        for (index, text) in existing.elsewhere.iter().enumerate() {
            look_at(text, Origin::File, count + index + 1, &mut set)?;
        }
        let plain = set.plain.into_iter().chain(existing.items.into_iter().map(|(item, _)| item));
        let encrypted = set.encrypted.into_iter().map(|(sealed, _)| sealed.name);
        if let Some(unlisted) = plain.map(|credential| credential.name).chain(encrypted).next() {
            return Err(EmitError::BesideSet(unlisted));
        }
        let asked = existing.receipt.and_then(|address| Some((address, self.verifier()?)));
        strings.extend(self.strings);
        strings.push((self.manifest, Content::Manifest));
        strings.extend(self.signatures.into_iter().map(|signature| {
            let key = signature.key_id();
            (signature.encode().into_bytes().into(), Content::Signature(key))
        }));
        OemStrings::of_set(strings).asking(asked)
    }

    /// Returns the verifier, which checks a guest's proof that it has every value.
    fn verifier(&self) -> Option<Verifier> {
        let OemString::Manifest(text) = decode(self.manifest.expose()) else { return None };
        let manifest = Manifest::decode(text).ok()?;
        let values = self.strings.iter().filter_map(|(text, content)| match content {
            Content::Credential { name, .. } => Some((name, value_of(name, text)?.value)),
            _ => None,
        });
        let values: BTreeMap<&Name, Secret> = values.collect();
        Some(manifest.value_proof(|name| values.get(name)).verifier())
    }
}

/// The credentials that were found in the file: the values of plain credentials, and the names of encrypted
/// credentials.
#[derive(Default)]
struct Values {
    plain: BTreeMap<Name, Secret>,
    encrypted: BTreeSet<Name>,
}

impl Values {
    fn has(&self, name: &Name) -> bool {
        self.plain.contains_key(name) || self.encrypted.contains(name)
    }
}

/// Decodes an encrypted credential from `wire`, its OEM string without the prefix. Returns `None` if the manifest does
/// not list a credential with exactly these bytes.
fn listed_ciphertext(wire: &[u8], manifest: &Manifest) -> Option<Sealed> {
    let sealed = Sealed::decode(wire).ok()?;
    let is_listed = manifest.terms().encrypted.get(&sealed.name) == Some(&sealed.blob.ciphertext());
    // The OEM string is sent unchanged, so it must be exactly as this program would write it.
    let is_own = wire.strip_suffix(sealed.blob.text().as_bytes())?.ends_with(b"=");
    (is_listed && is_own).then_some(sealed)
}

/// Whether a text contains only base64 characters. Readers of base64 skip blanks, but not every command line passes on
/// blanks.
fn is_base64(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}
