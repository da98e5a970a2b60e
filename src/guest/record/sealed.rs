//! Removes the ciphertexts from the encrypted credentials in a recording.

use std::collections::BTreeMap;

use super::repeats::{FILLER, OTHER_FILLER};
use crate::format::base64;
use crate::format::credential::{Name, Secret};
use crate::format::manifest::{Ciphertext, Manifest, Terms};
use crate::trust::sealed::{HEADER_SIZE, Sealed, SealedError, header_length};

/// The ciphertext that was sent under each name, and its replacement in the recording.
#[derive(Default)]
pub(super) struct Ciphertexts(BTreeMap<Name, (Ciphertext, Ciphertext)>);

impl Ciphertexts {
    /// Replaces the text of an encrypted credential by filler that a guest reads in the same way: it has the same name,
    /// the same size and the same kind of key. Returns the number of kept bytes at the beginning of the text.
    pub(super) fn redact(&mut self, text: &mut [u8]) -> usize {
        let sealed = Sealed::decode(text);
        let name = match &sealed {
            Ok(Sealed { name, .. }) | Err(SealedError::NullKey(name)) => name.clone(),
            Err(error) => {
                redact_undecodable(text, error);
                return 0;
            }
        };
        let public = name.as_str().len() + 1;
        let is_another = match (&sealed, self.0.get(&name)) {
            (Ok(sealed), Some((sent, _))) => sealed.blob.ciphertext() != *sent,
            _ => false,
        };
        let filler = if is_another { OTHER_FILLER } else { FILLER };
        redact_blob(text.get_mut(public..).unwrap_or_default(), filler);
        if let (Ok(sent), Ok(filler)) = (sealed, Sealed::decode(text)) {
            self.0.entry(name).or_insert((sent.blob.ciphertext(), filler.blob.ciphertext()));
        }
        public
    }

    /// Returns the manifest's terms, changed for the filler: a ciphertext that matched the terms before still matches,
    /// and a ciphertext that did not match still does not match.
    pub(super) fn terms(&self, manifest: &Manifest) -> Terms {
        let mut terms = manifest.terms().clone();
        for (name, listed) in &mut terms.encrypted {
            match self.0.get(name) {
                Some((sent, filler)) if sent == listed => *listed = *filler,
                _ => listed.sha256 = [0; 32],
            }
        }
        terms
    }
}

/// Returns filler for the value of a plain credential. If a ciphertext was sent as a plain credential, the filler keeps
/// the header of the ciphertext.
pub(super) fn plain_filler(value: &[u8], filler: u8) -> Secret {
    let mut bytes = value.to_vec();
    bytes.iter_mut().skip(header_length(value)).for_each(|byte| *byte = filler);
    bytes.into()
}

/// Overwrites a ciphertext, but keeps its header, which contains the kind of key. Blanks keep their positions.
fn redact_blob(text: &mut [u8], filler: u8) {
    let Ok(mut bytes) = base64::decode(text) else { return };
    bytes.iter_mut().skip(HEADER_SIZE).for_each(|byte| *byte = filler);
    let encoded = base64::encode(&bytes);
    let characters = text.iter_mut().filter(|byte| !base64::is_blank(**byte));
    characters.zip(encoded.bytes()).for_each(|(byte, filler)| *byte = filler);
}

/// Overwrites everything that could be a name or a value. A guest refuses the overwritten text for the same reason as
/// the original text.
fn redact_undecodable(text: &mut [u8], error: &SealedError) {
    text.fill(FILLER);
    let kept: &[u8] = match error {
        SealedError::Name(_) => b"/=",
        SealedError::Blob(_) => b"x=!",
        SealedError::NoEquals | SealedError::NullKey(_) => b"",
    };
    text.iter_mut().zip(kept).for_each(|(byte, kept)| *byte = *kept);
}
