//! A string that is, or was meant to be, an encrypted credential.

use super::origin::Origin;
use super::refusal::Refusal;
use crate::format::credential::Name;
use crate::trust::sealed::{Sealed, SealedError};

/// One string that is, or was meant to be, an encrypted credential. An encrypted credential is never listed with the
/// plain credentials: a ciphertext is not written to any place for plain credentials.
#[derive(Debug)]
pub struct SealedEntry {
    /// The credential's name, if it may be shown; `None` if no blob follows the text that looks like a name, which may
    /// be a value.
    pub name: Option<Name>,
    /// The place of the string in the table.
    pub origin: Origin,
    content: Result<Sealed, Refusal>,
    refusal: Option<Refusal>,
}

impl SealedEntry {
    /// Makes the entry of a string from the result of decoding the string.
    pub(super) fn new(sealed: Result<Sealed, SealedError>, origin: Origin) -> Self {
        let (name, content) = match sealed {
            Ok(sealed) => (Some(sealed.name.clone()), Ok(sealed)),
            Err(SealedError::NullKey(name)) => (Some(name), Err(Refusal::NullKey)),
            Err(_) => (None, Err(Refusal::NotABlob)),
        };
        Self { name, origin, content, refusal: None }
    }

    /// Returns the encrypted credential, even if it is refused; `None` if the string could not be decoded, or the
    /// credential is encrypted with the null key.
    #[must_use]
    pub fn sealed(&self) -> Option<&Sealed> {
        self.content.as_ref().ok()
    }

    /// Returns the encrypted credential, or the reason why it is not imported.
    ///
    /// # Errors
    /// [`Refusal`] says why the encrypted credential is not imported.
    pub fn intact(&self) -> Result<&Sealed, Refusal> {
        match (&self.content, self.refusal) {
            (Ok(sealed), None) => Ok(sealed),
            (Err(refusal), _) => Err(*refusal),
            (Ok(_), Some(refusal)) => Err(refusal),
        }
    }

    /// Refuses the entry. If the entry is refused several times, only the first reason is kept.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }
}
