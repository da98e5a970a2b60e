//! Writes credentials as OEM strings, adds a manifest, and packs the strings into Type 11 structures.
//!
//! Values are always written in the binary form: no hypervisor's command line passes on every text unchanged. The
//! manifest follows the credentials, so that a guest that loses only the last strings still gets all credentials.

use std::collections::BTreeMap;

pub use super::content::{Content, Existing, Origin};
pub use super::emit_error::EmitError;
use super::listed::{Both, Listed, both_sources, encrypted_content, look_at, with_encrypted};
use crate::format::credential::{Credential, Name, Secret};
use crate::format::manifest::{Manifest, ManifestError, PREFIX, Terms};
use crate::format::oem_string::{
    self, ENCRYPTED_PREFIX, Encoding, OemString, RECEIPT_PREFIX, SIGNATURE_PREFIX, decode,
};
use crate::format::receipt::{Address, Verifier};
use crate::format::smbios::write::{self, WriteError};
use crate::sys::fill_random;
use crate::trust::sealed::{Key, Sealed, key_of};

/// OEM strings that are ready to send.
#[derive(Debug)]
pub struct OemStrings {
    strings: Vec<(Secret, Content)>,
    elsewhere: Vec<Content>,
    items: Vec<(Credential, Origin)>,
    encrypted: Vec<(Sealed, Origin)>,
    verifier: Option<Verifier>,
}

impl OemStrings {
    /// Writes credentials as OEM strings, and adds a manifest.
    ///
    /// # Errors
    /// [`EmitError`] names the credential that cannot be sent.
    pub fn new(credentials: &[Credential]) -> Result<Self, EmitError> {
        Self::beside(Existing::default(), credentials)
    }

    /// Writes credentials as OEM strings after the existing strings, and adds a manifest of all credentials.
    ///
    /// # Errors
    /// [`EmitError`] names the credential or the string that cannot be sent.
    pub fn beside(existing: Existing, credentials: &[Credential]) -> Result<Self, EmitError> {
        Self::beside_encrypted(existing, credentials, &[])
    }

    /// Does the same as [`Self::beside`], and adds encrypted credentials.
    ///
    /// # Errors
    /// [`EmitError`] names the credential or the string that cannot be sent.
    pub fn beside_encrypted(
        existing: Existing,
        credentials: &[Credential],
        encrypted: &[Sealed],
    ) -> Result<Self, EmitError> {
        Self::of(existing, (credentials, encrypted), random_salt()?, Terms::default())
    }

    /// Makes the OEM strings of a set from plain and encrypted credentials, for a command line that contains no OEM
    /// strings yet. The set's manifest contains `terms`, for example the names of the machines for which the set is
    /// meant.
    ///
    /// # Errors
    /// [`EmitError`] names the credential that cannot be sent.
    pub fn set(credentials: &[Credential], encrypted: &[Sealed], terms: Terms) -> Result<Self, EmitError> {
        Self::of(Existing::default(), (credentials, encrypted), random_salt()?, terms)
    }

    /// Does the same as [`Self::beside`], but uses `salt` for the manifest. The salt must be random, and each set needs
    /// a new one.
    ///
    /// # Errors
    /// [`EmitError`] names the credential or the string that cannot be sent.
    pub fn with_salt(
        existing: Existing,
        credentials: &[Credential],
        salt: [u8; 16],
    ) -> Result<Self, EmitError> {
        Self::of(existing, (credentials, &[]), salt, Terms::default())
    }

    fn of(
        existing: Existing,
        (credentials, encrypted): (&[Credential], &[Sealed]),
        salt: [u8; 16],
        terms: Terms,
    ) -> Result<Self, EmitError> {
        let mut set = Listed::default();
        let mut strings = Vec::with_capacity(existing.kept.len() + credentials.len() + encrypted.len() + 1);
        let count = existing.kept.len();
        for (index, (text, origin)) in existing.kept.into_iter().enumerate() {
            let content = look_at(&text, origin, index + 1, &mut set)?;
            strings.push((text, content));
        }
        let mut elsewhere = Vec::with_capacity(existing.elsewhere.len());
        for (index, text) in existing.elsewhere.iter().enumerate() {
            elsewhere.push(look_at(text, Origin::File, count + index + 1, &mut set)?);
        }
        for credential in credentials {
            let name = credential.name.clone();
            let text = oem_string::encode(credential, Encoding::Binary)
                .map_err(|error| EmitError::Encode { name: name.clone(), error })?;
            let size = credential.value.len();
            strings.push((text, Content::Credential { name, size, origin: Origin::Directory }));
        }
        for sealed in encrypted {
            let text = sealed.encode().ok_or_else(|| EmitError::SealedName(sealed.name.clone()))?;
            strings.push((text.into_bytes().into(), encrypted_content(sealed)));
            set.encrypted.push((sealed.clone(), Origin::Directory));
        }
        let items = existing.items;
        let all = || set.plain.iter().chain(items.iter().map(|(item, _)| item)).chain(credentials);
        if let Some(blob) = all().find(|credential| key_of(credential.value.expose()).is_some()) {
            return Err(EmitError::SentAsPlain(blob.name.clone()));
        }
        let manifest = match Manifest::new(all(), salt) {
            Ok(manifest) => manifest,
            Err(ManifestError::Duplicate(name)) => {
                let before = strings.iter().map(|(_, content)| content).chain(&elsewhere);
                let in_items = items.iter().filter(|(credential, _)| credential.name == name).count();
                let Both { sources, help } = both_sources(&name, in_items, before);
                return Err(EmitError::Duplicate { name, sources, help });
            }
            Err(error) => return Err(EmitError::Set(error)),
        };
        let manifest = with_encrypted(manifest, &set.encrypted, terms)?;
        strings.push((manifest.encode().into_bytes().into(), Content::Manifest));
        let verifier = || {
            let values: BTreeMap<&Name, &Secret> = all().map(|sent| (&sent.name, &sent.value)).collect();
            manifest.value_proof(|name| values.get(name).copied()).verifier()
        };
        let asked = existing.receipt.map(|address| (address, verifier()));
        Self { strings, elsewhere, items, encrypted: set.encrypted, verifier: None }.asking(asked)
    }

    /// Makes an [`OemStrings`] from the strings of a packed set, which already include the manifest.
    pub(super) fn of_set(strings: Vec<(Secret, Content)>) -> Self {
        let encrypted = strings.iter().filter_map(|(text, _)| {
            let sealed = Sealed::decode(text.expose().strip_prefix(ENCRYPTED_PREFIX.as_bytes())?);
            Some((sealed.ok()?, Origin::Set))
        });
        let encrypted = encrypted.collect();
        Self { strings, elsewhere: Vec::new(), items: Vec::new(), encrypted, verifier: None }
    }

    /// Inserts an OEM string with the address for a receipt before the manifest, if a receipt is requested.
    pub(super) fn asking(mut self, asked: Option<(Address, Verifier)>) -> Result<Self, EmitError> {
        let Some((address, verifier)) = asked else { return Ok(self) };
        let mut contents = self.strings.iter().map(|(_, content)| content).chain(&self.elsewhere);
        if let Some(index) = contents.position(|content| *content == Content::Receipt) {
            return Err(EmitError::SecondReceipt { string: index + 1 });
        }
        let manifest = self.strings.iter().position(|(_, content)| *content == Content::Manifest);
        let receipt = (address.encode().into_bytes().into(), Content::Receipt);
        self.strings.insert(manifest.unwrap_or_default(), receipt);
        self.verifier = Some(verifier);
        Ok(self)
    }

    /// Returns the strings in the order in which they are sent, without the NUL that ends each string in the table.
    #[must_use]
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.strings.iter().map(|(text, _)| text.expose())
    }

    /// Returns kind and size of each string. The size does not include the NUL.
    pub fn contents(&self) -> impl Iterator<Item = (&Content, usize)> {
        self.strings.iter().map(|(text, content)| (content, text.len()))
    }

    /// Returns name, size and source of every plain credential that the manifest lists.
    pub fn credentials(&self) -> impl Iterator<Item = (&Name, usize, Origin)> {
        let all = self.strings.iter().map(|(_, content)| content).chain(&self.elsewhere);
        let in_strings = all.filter_map(|content| match content {
            Content::Credential { name, size, origin } => Some((name, *size, *origin)),
            _ => None,
        });
        in_strings.chain(self.items().map(|(Credential { name, value }, origin)| (name, value.len(), origin)))
    }

    /// Returns name, size, kind of key and source of every encrypted credential that the manifest lists.
    pub fn encrypted(&self) -> impl Iterator<Item = (&Name, usize, &'static Key, Origin)> {
        self.encrypted
            .iter()
            .map(|(Sealed { name, blob }, origin)| (name, blob.text().len(), blob.key(), *origin))
    }

    /// Returns the credentials that are in `fw_cfg` items and not in a string, and the source of each.
    pub fn items(&self) -> impl Iterator<Item = (&Credential, Origin)> {
        self.items.iter().map(|(credential, origin)| (credential, *origin))
    }

    /// Returns the manifest's OEM string. Signatures cover the bytes of this string.
    #[must_use]
    pub fn manifest_string(&self) -> &[u8] {
        let manifest = self.strings.iter().find(|(_, content)| *content == Content::Manifest);
        manifest.map(|(text, _)| text.expose()).unwrap_or_default()
    }

    /// Returns the manifest's text: its OEM string without the prefix.
    #[must_use]
    pub fn manifest(&self) -> &[u8] {
        let text = self.manifest_string();
        text.strip_prefix(PREFIX.as_bytes()).unwrap_or(text)
    }

    /// Returns the text of each signature: its OEM string without the prefix.
    pub fn signatures(&self) -> impl Iterator<Item = &[u8]> {
        let signatures = self.strings.iter().filter(|(_, content)| matches!(content, Content::Signature(_)));
        signatures.filter_map(|(text, _)| text.expose().strip_prefix(SIGNATURE_PREFIX.as_bytes()))
    }

    /// Returns the address for a receipt: its OEM string without the prefix.
    #[must_use]
    pub fn receipt(&self) -> Option<&[u8]> {
        let (text, _) = self.strings.iter().find(|(_, content)| *content == Content::Receipt)?;
        text.expose().strip_prefix(RECEIPT_PREFIX.as_bytes())
    }

    /// Returns the verifier for the proof in a receipt, if [`Existing::receipt`] requests a receipt.
    #[must_use]
    pub fn verifier(&self) -> Option<&Verifier> {
        self.verifier.as_ref()
    }

    /// Returns the size of each string without its NUL.
    #[must_use]
    pub fn sizes(&self) -> Vec<usize> {
        self.strings.iter().map(|(text, _)| text.len()).collect()
    }

    /// Returns Type 11 structures that contain the strings. systemd 256 and older can read each structure completely,
    /// unless a single string is too large.
    ///
    /// # Errors
    /// [`WriteError`], if a string cannot be in a structure.
    pub fn structures(&self) -> Result<Vec<Secret>, WriteError> {
        self.structures_beside(&[])
    }

    /// Does the same as [`Self::structures`], but does not use the handles in `taken`.
    ///
    /// # Errors
    /// [`WriteError`], if a string cannot be in a structure.
    pub fn structures_beside(&self, taken: &[u16]) -> Result<Vec<Secret>, WriteError> {
        write::structures(&self.texts().collect::<Vec<_>>(), taken)
    }

    /// Returns the credential with the name `wanted` and its value. Returns `None` if it is not sent, or if only a file
    /// of structures contains its value.
    #[must_use]
    pub fn credential(&self, wanted: &Name) -> Option<Credential> {
        if let Some((item, _)) = self.items.iter().find(|(item, _)| item.name == *wanted) {
            return Some(copy(item));
        }
        let found = self
            .strings
            .iter()
            .find(|(_, content)| matches!(content, Content::Credential { name, .. } if name == wanted));
        found.and_then(|(text, _)| value_of(wanted, text))
    }

    /// Returns each plain credential of the manifest with its value, in the order of [`Self::credentials`]. A
    /// credential is `None` if its value is in a file of structures, which the hypervisor itself reads.
    pub fn with_values(&self) -> impl Iterator<Item = (&Name, Option<Credential>)> {
        let strings = self.strings.iter().filter_map(|(text, content)| match content {
            Content::Credential { name, .. } => Some((name, value_of(name, text))),
            _ => None,
        });
        let elsewhere = self.elsewhere.iter().filter_map(|content| match content {
            Content::Credential { name, .. } => Some((name, None)),
            _ => None,
        });
        let items = self.items.iter().map(|(item, _)| (&item.name, Some(copy(item))));
        strings.chain(elsewhere).chain(items)
    }

    /// Returns the strings in the order in which they are sent, without copying them.
    #[must_use]
    pub fn into_texts(self) -> Vec<Secret> {
        self.strings.into_iter().map(|(text, _)| text).collect()
    }
}

/// Returns the credential in an OEM string.
pub(super) fn value_of(name: &Name, text: &Secret) -> Option<Credential> {
    match decode(text.expose()) {
        OemString::Credential(credential, _) => Some(credential),
        // The text may be a name without a value, or a value without a name. If the text is equal to `name`, it is a
        // name without a value.
        OemString::MaybeNameless(text) => text.named(None, |text| text == name.as_str()),
        _ => None,
    }
}

/// Copies a credential into separate memory.
pub(super) fn copy(credential: &Credential) -> Credential {
    Credential::new(credential.name.clone(), credential.value.copy())
}

fn random_salt() -> Result<[u8; 16], EmitError> {
    let mut salt = [0; 16];
    fill_random(&mut salt).map_err(EmitError::Random)?;
    Ok(salt)
}
