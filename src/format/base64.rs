//! Decodes and encodes base64. The decoder accepts exactly the texts that systemd accepts (`unbase64mem_full()`,
//! `src/basic/hexdecoct.c`, v255 to v262).
//!
//! The decoder accepts the standard alphabet and the URL-safe alphabet, even mixed. The decoder skips space, tab,
//! newline and carriage return at any position. The decoder refuses a text without the necessary padding, a text whose
//! last character has unused bits that are not zero, and a text with base64 characters after the padding. systemd v252
//! to v254 accepts only the standard alphabet, so [`encode`] writes only the standard alphabet.
//!
//! The decoder processes sixteen characters at a time in one vector, and the encoder eight characters at a time in one
//! machine word of 64 bits. No branch and no table index depends on a value, so neither the time nor the CPU's cache
//! reveals the value. The length of a value is not secret.

use wide::i8x16;
use zeroize::Zeroizing;

/// A machine word of 64 bits, with the number 1 in each of its eight bytes.
const ONES: u64 = 0x0101_0101_0101_0101;

/// A machine word of 64 bits, in which only the highest bit of each byte is set.
const HIGH: u64 = ONES << 7;

/// Number of base64 characters in a machine word of 64 bits. These characters encode [`WORD_BYTES`] bytes.
const WORD: usize = 8;
const WORD_BYTES: usize = 6;

/// Number of base64 characters in a vector. These characters encode [`BLOCK_BYTES`] bytes.
const BLOCK: usize = 16;
const BLOCK_BYTES: usize = 12;

/// Why text is not base64. The error never contains the text, which may be a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Base64Error {
    /// A byte of the text is in neither alphabet, and is neither a blank nor `=`.
    #[error("byte {position} of its text is not a base64 character")]
    Character {
        /// Position of the refused byte in the text, from 0.
        position: usize,
    },
    /// The padding of the text (`=` at the end) is missing or wrong.
    #[error("its padding is missing or wrong")]
    Padding,
    /// Text follows the padding.
    #[error("text follows its padding")]
    Trailing,
    /// The last base64 character has unused bits that are not zero.
    #[error("the unused bits of its last character are not zero")]
    SpareBits,
}

/// Decodes base64 as systemd does.
///
/// # Errors
/// [`Base64Error`] names the first error that systemd would find.
pub fn decode(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Base64Error> {
    // `decode_exactly` succeeds for text that smbios-creds-host wrote. Such text needs neither a check of each byte nor
    // a copy.
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

/// Decodes a text that consists only of the standard alphabet and its padding. Returns `None` for any other text.
fn decode_exactly(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let data = match text {
        [data @ .., b'=', b'='] | [data @ .., b'='] | data => data,
    };
    let (blocks, rest) = data.as_chunks::<BLOCK>();
    // In the last block, an 'A' replaces each missing character: 'A' stands for six zero bits.
    let mut last = Zeroizing::new([b'A'; BLOCK]);
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let mut bytes = Zeroizing::new(vec![0; (blocks.len() + 1) * BLOCK_BYTES]);
    let mut valid = i8x16::splat(-1);
    let (rooms, _) = bytes.as_chunks_mut::<WORD_BYTES>();
    let (rooms, _) = rooms.as_chunks_mut();
    for ([first, second], block) in rooms.iter_mut().zip(blocks.iter().chain([&*last])) {
        let (sextets, is_valid) = sextets(bytemuck::cast(*block));
        let [first_word, second_word]: [u64; 2] = bytemuck::cast(sextets);
        *first = pack(u64::from_be(first_word));
        *second = pack(u64::from_be(second_word));
        valid &= is_valid;
    }
    let size = blocks.len() * BLOCK_BYTES + rest.len() * BLOCK_BYTES / BLOCK;
    // All decoded bits after the data must be zero. These bits include the unused bits of the last base64 character.
    let is_zero = bytes.iter().skip(size).fold(0, |all, byte| all | byte) == 0;
    bytes.truncate(size);
    (valid.all() && is_zero && text.len().is_multiple_of(4)).then_some(bytes)
}

/// Converts each of sixteen base64 characters to a byte that contains the six bits of this character. Also returns
/// which characters belong to the standard alphabet.
fn sextets(characters: i8x16) -> (i8x16, i8x16) {
    // Bytes are compared as signed numbers, so a byte from 128 on is negative, and is below every base64 character.
    let within = |first: u8, last: u8| {
        characters.simd_gt(i8x16::splat(first.cast_signed() - 1))
            & characters.simd_lt(i8x16::splat(last.cast_signed() + 1))
    };
    let (upper, lower, digit) = (within(b'A', b'Z'), within(b'a', b'z'), within(b'0', b'9'));
    let (plus, slash) = (within(b'+', b'+'), within(b'/', b'/'));
    // A step is the offset from a character to its base64 number: A becomes 0, a becomes 26, 0 becomes 52, + becomes
    // 62, / becomes 63.
    let step = |which: i8x16, step| which & i8x16::splat(step);
    let steps = step(upper, -65) | step(lower, -71) | step(digit, 4) | step(plus, 19) | step(slash, 16);
    (characters + steps, upper | lower | digit | plus | slash)
}

/// Packs eight bytes with six bits each into six bytes. The six bits of the first byte become the highest bits of the
/// result.
fn pack(sextets: u64) -> [u8; WORD_BYTES] {
    let twelves = (sextets & 0x003f_003f_003f_003f) | ((sextets & 0x3f00_3f00_3f00_3f00) >> 2);
    let halves = (twelves & 0x0000_0fff_0000_0fff) | ((twelves & 0x0fff_0000_0fff_0000) >> 4);
    let [_, _, bytes @ ..] = ((halves & 0xff_ffff) | (halves >> 32 << 24)).to_be_bytes();
    bytes
}

/// Whether a byte is a blank, which the decoder skips at any position.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Returns why [`decode_exactly`] refused a text that contains only base64 characters and `=`.
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
    let mut text = Vec::with_capacity(bytes.len().div_ceil(WORD_BYTES) * WORD);
    let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
    for &word in words {
        text.extend_from_slice(&characters(unpack(word)).to_be_bytes());
    }
    let mut last = Zeroizing::new([0; WORD_BYTES]);
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let last = Zeroizing::new(characters(unpack(*last)).to_be_bytes());
    text.extend(last.iter().take((rest.len() * WORD).div_ceil(WORD_BYTES)));
    text.resize(bytes.len().div_ceil(3) * 4, b'=');
    // The text is ASCII, so its conversion to a string cannot fail.
    Zeroizing::new(String::from_utf8(text).unwrap_or_default())
}

/// Unpacks six bytes into eight bytes with six bits each, as the inverse of [`pack`].
fn unpack(bytes: [u8; WORD_BYTES]) -> u64 {
    let bits = bytes.iter().fold(0, |bits, &byte| (bits << 8) | u64::from(byte));
    let halves = (bits & 0xff_ffff) | (bits >> 24 << 32);
    let twelves = (halves & 0x0000_0fff_0000_0fff) | ((halves << 4) & 0x0fff_0000_0fff_0000);
    (twelves & 0x003f_003f_003f_003f) | ((twelves << 2) & 0x3f00_3f00_3f00_3f00)
}

/// Converts eight bytes with six bits each to eight characters, as the inverse of [`sextets`].
fn characters(sextets: u64) -> u64 {
    let from = |first: u64| ((sextets + ONES * (128 - first)) & HIGH) >> 7;
    // Each byte of the result is a character. Every byte is larger than the number that is subtracted from this byte,
    // so no subtraction changes another byte.
    sextets + ONES * 65 + from(26) * 6 - from(52) * 75 - from(62) * 15 + from(63) * 3
}
