//! A string that is, or was meant to be, an encrypted credential.

use super::origin::Origin;
use super::refusal::Refusal;
use crate::format::credential::Name;
use crate::trust::sealed::{Sealed, SealedError};

/// One string that is, or was meant to be, an encrypted credential. It never is among the plain ones: no plain place takes
/// a ciphertext.
#[derive(Debug)]
pub struct SealedEntry {
    /// Its name as it may be shown; `None` if no blob follows what looks like a name.
    pub name: Option<Name>,
    /// Where it is.
    pub origin: Origin,
    content: Result<Sealed, Refusal>,
    refusal: Option<Refusal>,
}

impl SealedEntry {
    /// Takes in what was decoded.
    pub(super) fn new(sealed: Result<Sealed, SealedError>, origin: Origin) -> Self {
        let (name, content) = match sealed {
            Ok(sealed) => (Some(sealed.name.clone()), Ok(sealed)),
            Err(SealedError::NullKey(name)) => (Some(name), Err(Refusal::NullKey)),
            Err(_) => (None, Err(Refusal::NotABlob)),
        };
        Self { name, origin, content, refusal: None }
    }

    /// The blob and its name, refused or not, where the string holds one.
    #[must_use]
    pub fn sealed(&self) -> Option<&Sealed> {
        self.content.as_ref().ok()
    }

    /// The same, or why it is not imported.
    ///
    /// # Errors
    /// [`Refusal`] says why.
    pub fn intact(&self) -> Result<&Sealed, Refusal> {
        match (&self.content, self.refusal) {
            (Ok(sealed), None) => Ok(sealed),
            (Err(refusal), _) => Err(*refusal),
            (Ok(_), Some(refusal)) => Err(refusal),
        }
    }

    /// Refuses it. The first reason counts.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }
}
