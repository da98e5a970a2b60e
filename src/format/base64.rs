//! Base64 with the exact accepted set of systemd (`unbase64mem_full()`, `src/basic/hexdecoct.c`, v255 to v262).
//!
//! Both alphabets are accepted and may be mixed; space, tab, newline and carriage return are skipped anywhere;
//! padding is mandatory; unused bits must be zero; nothing may follow the padding. systemd v252 to v254 knows the
//! standard alphabet alone, which is the one we write.

use ct_codecs::{Base64, Decoder as _, Encoder as _};
use zeroize::Zeroizing;

/// Why text is not base64. The text itself is never part of the error: it may be a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Base64Error {
    /// A byte outside both alphabets that is neither blank nor padding.
    #[error("byte {position} of its text does not belong to base64")]
    Character {
        /// Position in the text, from 0.
        position: usize,
    },
    /// The last group is not filled up with `=`.
    #[error("its padding is missing or wrong")]
    Padding,
    /// Something follows the padding.
    #[error("text follows its padding")]
    Trailing,
    /// Bits of the last character that carry no data are not zero.
    #[error("its last character has bits set that carry no data")]
    SpareBits,
}

/// Decodes `text`.
///
/// # Errors
/// [`Base64Error`] names the first thing that systemd would refuse.
pub fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Base64Error> {
    // What our own host writes needs no look at each byte, and no copy.
    if let Some(bytes) = decode_exactly(text) {
        return Ok(bytes);
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(text.len()));
    for (position, &byte) in text.iter().enumerate() {
        match byte {
            blank if is_blank(blank) => {}
            b'-' => plain.push(b'+'),
            b'_' => plain.push(b'/'),
            b'+' | b'/' | b'=' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => plain.push(byte),
            _ => return Err(Base64Error::Character { position }),
        }
    }
    decode_exactly(&plain).ok_or_else(|| reason(&plain))
}

/// Decodes a text of the standard alphabet and its padding alone.
fn decode_exactly(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; text.len().div_ceil(4) * 3]);
    let length = Base64::decode(&mut bytes, text, None).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

/// Whether a byte is skipped, wherever it stands.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Why a text of nothing but base64 characters and `=` was refused.
fn reason(text: &[u8]) -> Base64Error {
    let data = text.iter().take_while(|&&byte| byte != b'=').count();
    let padding = text.iter().skip(data).take_while(|&&byte| byte == b'=').count();
    if data + padding < text.len() {
        Base64Error::Trailing
    } else if !text.len().is_multiple_of(4) || padding > 2 {
        Base64Error::Padding
    } else {
        Base64Error::SpareBits
    }
}

/// Encodes `bytes` with the standard alphabet and padding, on one line.
#[must_use]
pub fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = vec![0; bytes.len().div_ceil(3) * 4];
    // The room is exact, so this cannot fail.
    _ = Base64::encode(&mut text, bytes);
    Zeroizing::new(String::from_utf8(text).unwrap_or_default())
}
