//! `cat --transcode`, as systemd-creds has it.

use clap::ValueEnum;
use zeroize::Zeroizing;

use crate::format::{base64, hex};

/// Characters in a line of base64 (`transcode()`, `src/creds/creds.c` of systemd).
const LINE: usize = 79;

/// What to make of a value before it is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Transcode {
    /// Nothing
    #[default]
    Off,
    /// Base64, in lines of 79 characters
    Base64,
    /// What the value is the base64 of
    Unbase64,
    /// Hexadecimal digits
    Hex,
    /// What the value is the hexadecimal digits of
    Unhex,
}

impl Transcode {
    /// What is printed for a value.
    ///
    /// # Errors
    /// Why the value is no base64, or no hexadecimal digits.
    pub(super) fn of(self, value: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        Ok(match self {
            Self::Off => Zeroizing::new(value.to_vec()),
            Self::Base64 => lines(base64::encode(value).as_bytes()),
            Self::Unbase64 => base64::decode(value).map_err(|error| error.to_string())?,
            Self::Hex => Zeroizing::new(hex::encode(value).as_bytes().to_vec()),
            Self::Unhex => hex::decode(value).map_err(|error| error.to_string())?,
        })
    }
}

/// Text in lines, without a newline after the last.
fn lines(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut lines = Zeroizing::new(Vec::with_capacity(text.len() + text.len() / LINE));
    for line in text.chunks(LINE) {
        if !lines.is_empty() {
            lines.push(b'\n');
        }
        lines.extend_from_slice(line);
    }
    lines
}
