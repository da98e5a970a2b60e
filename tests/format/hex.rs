//! Hexadecimal digits.

use smbios_creds::format::hex::{HexError, decode, encode};

#[test]
fn digits_are_those_of_the_standard_library() {
    for byte in 0..=u8::MAX {
        let digits = encode(&[byte, 7]);
        assert_eq!(*digits, format!("{byte:02x}07"));
        assert_eq!(decode(digits.as_bytes()).unwrap().as_slice(), [byte, 7]);
        assert_eq!(decode(digits.to_uppercase().as_bytes()).unwrap().as_slice(), [byte, 7]);
    }
}

#[test]
fn text_that_is_no_pairs_of_digits_is_refused() {
    for (text, error) in [
        (&b"5"[..], HexError::Odd),
        (b"53 3", HexError::Odd),
        (b"5g", HexError::Character { position: 1 }),
        (b" 0x53", HexError::Character { position: 2 }),
        (b"53\0", HexError::Character { position: 2 }),
    ] {
        assert_eq!(decode(text).unwrap_err(), error, "{text:?}");
    }
}
