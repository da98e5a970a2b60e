//! The option `cat --transcode`, with the same conversions as `systemd-creds cat --transcode=`.

use clap::ValueEnum;
use zeroize::Zeroizing;

use crate::format::{base64, hex};

/// Number of characters in a line of base64 (`transcode()`, `src/creds/creds.c` of systemd).
const LINE: usize = 79;

/// How to convert a value before it is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Transcode {
    /// Print the value unchanged
    #[default]
    Off,
    /// Encode as base64, in lines of 79 characters
    Base64,
    /// Decode from base64
    Unbase64,
    /// Encode as hexadecimal digits
    Hex,
    /// Decode from hexadecimal digits
    Unhex,
}

impl Transcode {
    /// Converts a value.
    ///
    /// # Errors
    /// A message that says why the value cannot be decoded as base64 or as hexadecimal digits.
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

/// Breaks text into lines of [`LINE`] characters. The last line does not end with a newline.
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
