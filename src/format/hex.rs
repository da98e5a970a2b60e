//! Hexadecimal digits.

use zeroize::Zeroizing;

use super::base64::is_blank;

/// Why text is not a row of hexadecimal digits. The text itself is never part of the error: it may be a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HexError {
    /// A byte that is neither a digit nor blank.
    #[error("byte {position} of its text is not a hexadecimal digit")]
    Character {
        /// Position in the text, from 0.
        position: usize,
    },
    /// A last digit without another one.
    #[error("it has an odd number of hexadecimal digits")]
    Odd,
}

/// Two lower-case digits for each byte. Which bytes they stand for changes neither time nor place of an access.
///
/// ```
/// assert_eq!(*smbios_creds::format::hex::encode(b"S3\n"), "53330a");
/// ```
#[must_use]
pub fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let digit = |nibble: u8| {
        // 39 from '9' + 1 to 'a', where the nibble is above 9.
        let is_letter = (9_u8.wrapping_sub(nibble) >> 4) & 1;
        char::from(b'0' + nibble + is_letter * 39)
    };
    let mut digits = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        digits.push(digit(byte >> 4));
        digits.push(digit(byte & 15));
    }
    digits
}

/// The bytes that digits stand for, capital or small, with blanks anywhere (`unhexmem_full()`, `src/basic/hexdecoct.c` of
/// systemd).
///
/// ```
/// assert_eq!(smbios_creds::format::hex::decode(b"53 33\n0A")?.as_slice(), b"S3\n");
/// # Ok::<(), smbios_creds::format::hex::HexError>(())
/// ```
///
/// # Errors
/// [`HexError`] names the first byte that is no digit.
pub fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, HexError> {
    // With room for all of it, no copy is left where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let mut high = None;
    for (position, &byte) in text.iter().enumerate().filter(|(_, byte)| !is_blank(**byte)) {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' | b'A'..=b'F' => (byte | 0x20) - b'a' + 10,
            _ => return Err(HexError::Character { position }),
        };
        match high.take() {
            None => high = Some(digit),
            Some(high) => bytes.push(high << 4 | digit),
        }
    }
    if high.is_none() { Ok(bytes) } else { Err(HexError::Odd) }
}
