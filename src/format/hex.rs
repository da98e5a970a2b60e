//! Encodes bytes as hexadecimal digits, and decodes such digits.

use zeroize::Zeroizing;

use super::base64::is_blank;

/// Why a text is not a row of hexadecimal digits. The error never contains the text, which may be a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HexError {
    /// A byte of the text is neither a hexadecimal digit nor a blank.
    #[error("byte {position} of its text is not a hexadecimal digit")]
    Character {
        /// Position of the refused byte in the text, from 0.
        position: usize,
    },
    /// The number of hexadecimal digits is odd, but every byte needs two digits.
    #[error("it has an odd number of hexadecimal digits")]
    Odd,
}

/// Encodes each byte as two lower-case hexadecimal digits. Neither the time nor the memory addresses that this function
/// uses depend on the values of the bytes.
///
/// ```
/// assert_eq!(*smbios_creds::format::hex::encode(b"S3\n"), "53330a");
/// ```
#[must_use]
pub fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let digit = |nibble: u8| {
        // In ASCII, 'a' is 39 more than the character after '9'. So 39 is added to the character for a nibble above 9.
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

/// Decodes hexadecimal digits, in upper or lower case. Skips blanks at any position (`unhexmem_full()`,
/// `src/basic/hexdecoct.c` of systemd).
///
/// ```
/// assert_eq!(smbios_creds::format::hex::decode(b"53 33\n0A")?.as_slice(), b"S3\n");
/// # Ok::<(), smbios_creds::format::hex::HexError>(())
/// ```
///
/// # Errors
/// [`HexError`] gives the position of the first byte that is neither a digit nor a blank, or says that the number of
/// digits is odd.
pub fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, HexError> {
    // The buffer is large enough from the start: a buffer that grows leaves a copy in memory that is not wiped.
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
