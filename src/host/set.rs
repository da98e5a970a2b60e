//! A set in a file: OEM strings that are packed once, signed by another program, and sent unchanged. Written and read
//! here.
//!
//! Each line is an OEM string and ends in a newline: the credentials in the binary form, whose base64 holds no newline,
//! then the manifest. Signatures of the manifest may follow it. `emit --format strings` writes the same.
//!
//! A signature is over the bytes of the manifest's OEM string. So a set is sent as it is or not at all: the manifest is
//! never written again, and no credential is added to it.

use std::collections::{BTreeMap, BTreeSet};

use super::listed::{Listed, encrypted_content, look_at};
use super::source::TOTAL_MAX;
use super::strings::{Content, EmitError, Existing, OemStrings, Origin, value_of};
use crate::format::credential::{Credential, Name, Secret};
use crate::format::manifest::{Manifest, ManifestError};
use crate::format::oem_string::{DecodeError, Encoding, OemString, decode, encode};
use crate::format::receipt::Verifier;
use crate::trust::sealed::Sealed;
use crate::trust::signature::{KeyId, SIGNATURES_MAX, Signature, SignatureError, TrustedKey, signer};

/// Most bytes of a set's file: all values as base64, their names, a manifest and signatures.
pub const FILE_MAX: usize = 2 * TOTAL_MAX;

/// A set whose manifest proves its values.
#[derive(Debug)]
pub struct Set {
    strings: Vec<(Secret, Content)>,
    manifest: Secret,
    signatures: Vec<Signature>,
}

/// Why a set cannot be sent. No text of the file is shown but names that its manifest lists.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The last line does not end.
    #[error("its last line has no newline, so the file is cut; pack the set again")]
    Cut,
    /// A line that has the prefix of a credential and is none.
    #[error("line {line} {error}; pack the set again")]
    Undecodable {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A line that belongs into no set.
    #[error("line {line} is no string of a set; give a file that 'pack' wrote")]
    Foreign {
        /// Which line, from 1.
        line: usize,
    },
    /// The set has no manifest.
    #[error("it has no manifest, so nothing proves that it is whole; give a file that 'pack' wrote")]
    NoManifest,
    /// The set has two of them.
    #[error("line {line} is a second manifest; pack the set again")]
    SecondManifest {
        /// Which line, from 1.
        line: usize,
    },
    /// The manifest cannot be read.
    #[error("its manifest cannot be read: {0}; pack the set again")]
    Manifest(#[from] ManifestError),
    /// The manifest lists a credential that no line has.
    #[error("credential {0}: the manifest lists it, and no line has it; pack the set again")]
    Missing(Name),
    /// A line has a credential that the manifest does not list.
    #[error("line {line} is a credential that the manifest does not list; pack the set again")]
    Unlisted {
        /// Which line, from 1.
        line: usize,
    },
    /// Two lines have one name.
    #[error("credential {0}: two lines have it; pack the set again")]
    Twice(Name),
    /// A value has another size than the manifest says.
    #[error("credential {name}: it has {size} bytes, and the manifest lists {listed}; pack the set again")]
    Size {
        /// Its name.
        name: Name,
        /// Bytes of its value.
        size: usize,
        /// Bytes that the manifest lists.
        listed: u64,
    },
    /// A value is another one than the manifest was made of.
    #[error("the digest in its manifest is not that of its values; pack the set again")]
    Digest,
    /// An encrypted credential is not the one that the manifest lists.
    #[error(
        "line {line} is an encrypted credential, and not the one that the manifest lists; pack the set again"
    )]
    Ciphertext {
        /// Which line, from 1.
        line: usize,
    },
    /// A line that stands for a signature is none.
    #[error("its signature is refused: {0}")]
    Signature(#[from] SignatureError),
    /// More signatures than a guest looks at.
    #[error(
        "it has more than {SIGNATURES_MAX} signatures, and a guest looks at no more; remove those of old keys"
    )]
    Signatures,
    /// A signature is of another manifest.
    #[error(
        "the signature by key {0} is not of this set's manifest; sign it again: minisign -S -m FILE.manifest"
    )]
    OtherManifest(KeyId),
    /// No signature is by a trusted key.
    #[error("{}", untrusted(.0))]
    Untrusted(Vec<KeyId>),
    /// A name that is expected is not in the set.
    #[error("credential {0}: it is expected (--expect), and the set does not have it")]
    Expected(Name),
}

fn untrusted(keys: &[KeyId]) -> String {
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    match keys.as_slice() {
        [] => {
            "it is not signed, and --trust wants it to be; sign it: minisign -S -m FILE.manifest".to_owned()
        }
        keys => format!("it is signed by key {}, which --trust does not name", keys.join(" and key ")),
    }
}

/// Writes strings as the file of a set.
#[must_use]
pub fn write(strings: &OemStrings) -> Secret {
    strings.texts().flat_map(|text| [text, b"\n"]).collect::<Vec<_>>().concat().into()
}

impl Set {
    /// Reads what [`write()`] wrote, and holds the values against the manifest.
    ///
    /// # Errors
    /// [`SetError`] says why a guest would refuse it.
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

    /// Takes in a line, if it is one that the manifest lists, or a signature.
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
            // Each line is as 'pack' writes it: no hypervisor's command line carries every text intact.
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

    /// Adds a signature, which is sent after the manifest. It is not verified by that.
    ///
    /// # Errors
    /// [`SetError::Signatures`] if there are too many. One that is there already is not added again.
    pub fn sign(&mut self, signature: Signature) -> Result<(), SetError> {
        if self.signatures.contains(&signature) { Ok(()) } else { self.push(signature) }
    }

    fn push(&mut self, signature: Signature) -> Result<(), SetError> {
        self.signatures.push(signature);
        if self.signatures.len() > SIGNATURES_MAX { Err(SetError::Signatures) } else { Ok(()) }
    }

    /// Refuses a set that a guest which trusts only these keys would refuse, and one with a signature of another manifest.
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

    /// The OEM string of its manifest, without the NUL that ends it in a table: what is signed.
    #[must_use]
    pub fn manifest(&self) -> &[u8] {
        self.manifest.expose()
    }

    /// Refuses a set that lacks one of these names.
    ///
    /// # Errors
    /// [`SetError::Expected`] names the first.
    pub fn expect(&self, names: &[Name]) -> Result<(), SetError> {
        let has = |wanted: &Name| {
            self.strings.iter().any(|(_, content)| match content {
                Content::Credential { name, .. } | Content::Encrypted { name, .. } => name == wanted,
                Content::Manifest | Content::Signature(_) | Content::Receipt | Content::Foreign => false,
            })
        };
        names.iter().find(|name| !has(name)).map_or(Ok(()), |name| Err(SetError::Expected(name.clone())))
    }

    /// Its strings after those that are there. Its manifest does not list the credentials among those, and cannot be
    /// made to, so there must be none.
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

    /// What recognises the proof that a guest has every value.
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

/// What was found of the credentials that the manifest lists.
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

/// The encrypted credential in what follows the prefix, if it is to the byte one that the manifest lists.
fn listed_ciphertext(wire: &[u8], manifest: &Manifest) -> Option<Sealed> {
    let sealed = Sealed::decode(wire).ok()?;
    let is_listed = manifest.terms().encrypted.get(&sealed.name) == Some(&sealed.blob.ciphertext());
    // It is sent as it is, so it must be as it would be written.
    let is_own = wire.strip_suffix(sealed.blob.text().as_bytes())?.ends_with(b"=");
    (is_listed && is_own).then_some(sealed)
}

/// Whether a text has base64's characters only. Readers of base64 skip blanks, which not every command line carries.
fn is_base64(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}
