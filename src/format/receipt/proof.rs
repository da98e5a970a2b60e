//! The proof in a receipt, and the verifier with which a host checks the proof.

use std::fmt::{self, Debug, Formatter};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::format::hex;

/// Text at the start of the data that is hashed for a proof, so that no other digest of the same values is a valid
/// proof.
pub const PROOF_DOMAIN: &str = "io.smbios-creds.receipt";

/// Size in bytes of a proof, which is a SHA-256 digest.
const PROOF_SIZE: usize = 32;

/// Proof that the sender of a receipt has every value of a set, byte for byte.
///
/// The proof is wiped from memory when the `ValueProof` is dropped, and this program never prints the proof: anyone who
/// knows the proof could forge a receipt.
#[derive(Clone)]
pub struct ValueProof(Zeroizing<[u8; PROOF_SIZE]>);

impl ValueProof {
    /// Makes a proof from its 32 bytes.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; PROOF_SIZE]>) -> Self {
        Self(bytes)
    }

    /// Returns the proof as 64 lower-case hexadecimal digits.
    pub(super) fn encode(&self) -> Zeroizing<String> {
        hex::encode(&*self.0)
    }

    /// Reads a proof from 64 lower-case hexadecimal digits.
    pub(super) fn decode(digits: &[u8]) -> Option<Self> {
        bytes_of(digits).map(Self)
    }

    /// Returns the verifier with which a host can check this proof.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier(Sha256::digest(*self.0).into())
    }
}

impl Debug for ValueProof {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("ValueProof")
    }
}

/// The SHA-256 of a proof. A host stores the verifier, and uses it to check the proof in a receipt.
///
/// The verifier is not secret. To compute the proof from values, or to check guessed values against the verifier, an
/// attacker also needs the manifest's salt. The salt is random, and is stored only together with the values.
#[derive(Clone, Copy, Debug)]
pub struct Verifier([u8; PROOF_SIZE]);

/// Why a text is not a verifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is not 'sha256:' followed by 64 hexadecimal digits")]
pub struct VerifierError;

impl Verifier {
    /// Maximum number of bytes that a file with a verifier may have.
    pub const SIZE_MAX: usize = 128;

    /// Whether `proof` is the proof from which this verifier was made. The check takes the same time for every proof.
    #[must_use]
    pub fn accepts(&self, proof: &ValueProof) -> bool {
        proof.verifier().0.ct_eq(&self.0).into()
    }

    /// Returns the content of the file in which a host stores this verifier: one line.
    #[must_use]
    pub fn encode(&self) -> String {
        format!("sha256:{}\n", *hex::encode(&self.0))
    }

    /// Reads a verifier from the content of the file in which a host stores the verifier.
    ///
    /// # Errors
    /// [`VerifierError`], if the file does not contain a verifier.
    pub fn decode(text: &[u8]) -> Result<Self, VerifierError> {
        let digits = text.strip_prefix(b"sha256:").and_then(|rest| rest.strip_suffix(b"\n"));
        digits.and_then(bytes_of).map(|bytes| Self(*bytes)).ok_or(VerifierError)
    }
}

/// Decodes 64 lower-case hexadecimal digits to the 32 bytes of a digest.
fn bytes_of(digits: &[u8]) -> Option<Zeroizing<[u8; PROOF_SIZE]>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != PROOF_SIZE || !rest.is_empty() {
        return None;
    }
    let mut bytes = Zeroizing::new([0; PROOF_SIZE]);
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(byte: u8) -> ValueProof {
        ValueProof::new(Zeroizing::new([byte; PROOF_SIZE]))
    }

    #[test]
    fn verifier_accepts_one_proof_and_is_not_that_proof() {
        let verifier = proof(1).verifier();
        let read = Verifier::decode(verifier.encode().as_bytes()).unwrap();
        assert!(read.accepts(&proof(1)) && !read.accepts(&proof(2)));
        let as_proof = ValueProof::new(Zeroizing::new(verifier.0));
        assert!(!read.accepts(&as_proof), "its reader could send a receipt");
        for text in ["", "sha256:", "sha256:00\n", "md5:00\n"] {
            assert_eq!(Verifier::decode(text.as_bytes()).unwrap_err(), VerifierError);
        }
        let longer = format!("{}\n", verifier.encode());
        assert_eq!(Verifier::decode(longer.as_bytes()).unwrap_err(), VerifierError);
    }

    #[test]
    fn hexadecimal_digits_are_those_of_the_standard_library() {
        for byte in 0..=u8::MAX {
            let digits = hex::encode(&[byte; PROOF_SIZE]);
            assert_eq!(*digits, format!("{byte:02x}").repeat(PROOF_SIZE));
            assert_eq!(*bytes_of(digits.as_bytes()).unwrap(), [byte; PROOF_SIZE]);
        }
    }
}
