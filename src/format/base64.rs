//! Base64 with the exact accepted set of systemd (`unbase64mem_full()`, `src/basic/hexdecoct.c`, v255 to v262).
//!
//! Both alphabets are accepted and may be mixed; space, tab, newline and carriage return are skipped anywhere;
//! padding is mandatory; unused bits must be zero; nothing may follow the padding. systemd v252 to v254 knows the
//! standard alphabet alone, which is the one we write.
//!
//! Both directions work on eight characters in a machine word, without a branch or a table that depends on a value, so
//! that neither time nor cache tells of it. The length of a value is no secret.

use zeroize::Zeroizing;

/// One in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The highest bit of each byte.
const HIGH: u64 = ONES << 7;

/// Characters in a word, and the bytes that they stand for.
const WORD: usize = 8;
const WORD_BYTES: usize = 6;

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

/// Decodes a text of only the standard alphabet and its padding.
fn decode_exactly(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let data = match text {
        [data @ .., b'=', b'='] | [data @ .., b'='] | data => data,
    };
    let (words, rest) = data.as_chunks::<WORD>();
    let mut bytes = Zeroizing::new(vec![0; (words.len() + 1) * WORD_BYTES]);
    let mut refused = !text.len().is_multiple_of(4);
    let (rooms, _) = bytes.as_chunks_mut::<WORD_BYTES>();
    for (room, &word) in rooms.iter_mut().zip(words) {
        let (sextets, valid) = sextets(u64::from_be_bytes(word));
        refused |= !valid;
        *room = pack(sextets);
    }
    // Missing characters are zeros, and so are the bits of the last one that carry no data.
    let mut last = Zeroizing::new([b'A'; WORD]);
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let (sextets, valid) = sextets(u64::from_be_bytes(*last));
    let packed = Zeroizing::new(pack(sextets));
    let (rest, spare) = packed.split_at_checked(rest.len() * WORD_BYTES / WORD)?;
    bytes.truncate(words.len() * WORD_BYTES);
    bytes.extend_from_slice(rest);
    refused |= !valid | spare.iter().any(|&byte| byte != 0);
    (!refused).then_some(bytes)
}

/// What eight characters stand for, six bits in each byte, and whether all belong to the standard alphabet.
fn sextets(characters: u64) -> (u64, bool) {
    // Below 128 in each byte, so that nothing that follows is carried into the next.
    let high = characters | HIGH;
    let from = |first: u8| high - ONES * u64::from(first);
    let within = |first, last: u8| (from(first) ^ from(last + 1)) & HIGH;
    let (upper, lower, digit) = (within(b'A', b'Z'), within(b'a', b'z'), within(b'0', b'9'));
    let (plus, slash) = (within(b'+', b'+'), within(b'/', b'/'));
    let valid = (upper | lower | digit | plus | slash) & !characters;
    // What leads from a character to its number, modulo 64: from A to 0, from a to 26, from 0 to 52, + to 62, / to 63.
    let (upper, lower, digit) = ((upper >> 7) * 63, (lower >> 7) * 57, (digit >> 7) * 4);
    let (plus, slash) = ((plus >> 7) * 19, (slash >> 7) * 16);
    let number = (characters & !HIGH) + upper + lower + digit + plus + slash;
    (number & (ONES * 63), valid == HIGH)
}

/// The 48 bits of eight times six bits, the first character foremost.
fn pack(sextets: u64) -> [u8; WORD_BYTES] {
    let twelves = (sextets & 0x003f_003f_003f_003f) | ((sextets & 0x3f00_3f00_3f00_3f00) >> 2);
    let halves = (twelves & 0x0000_0fff_0000_0fff) | ((twelves & 0x0fff_0000_0fff_0000) >> 4);
    let [_, _, bytes @ ..] = ((halves & 0xff_ffff) | (halves >> 32 << 24)).to_be_bytes();
    bytes
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
    // It is ASCII, so this cannot fail.
    Zeroizing::new(String::from_utf8(text).unwrap_or_default())
}

/// The opposite of [`pack`].
fn unpack(bytes: [u8; WORD_BYTES]) -> u64 {
    let bits = bytes.iter().fold(0, |bits, &byte| (bits << 8) | u64::from(byte));
    let halves = (bits & 0xff_ffff) | (bits >> 24 << 32);
    let twelves = (halves & 0x0000_0fff_0000_0fff) | ((halves << 4) & 0x0fff_0000_0fff_0000);
    (twelves & 0x003f_003f_003f_003f) | ((twelves << 2) & 0x3f00_3f00_3f00_3f00)
}

/// The opposite of [`sextets`].
fn characters(sextets: u64) -> u64 {
    let from = |first: u64| ((sextets + ONES * (128 - first)) & HIGH) >> 7;
    // Each byte of the result is a character: what is taken from one byte is never more than it has.
    sextets + ONES * 65 + from(26) * 6 - from(52) * 75 - from(62) * 15 + from(63) * 3
}
