//! JSON of at most so many bytes.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::text::json::{self, Layout};

/// A buffer that takes at most so many bytes.
struct Bounded {
    bytes: Vec<u8>,
    maximum: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.maximum {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The JSON of a value.
///
/// # Errors
/// That it cannot be written as JSON, or has more than `maximum` bytes.
pub(super) fn json(value: &impl Serialize, maximum: usize) -> serde_json::Result<Vec<u8>> {
    let mut buffer = Bounded { bytes: Vec::new(), maximum };
    json::write(&mut buffer, value, Layout::Short)?;
    Ok(buffer.bytes)
}

/// How many of these, from the first on, fit into an array of so many bytes of JSON.
pub(super) fn fitting<T: Serialize>(items: &[T], maximum: usize) -> usize {
    let mut buffer = Bounded { bytes: Vec::new(), maximum };
    let mut fits = |item| json::write(&mut buffer, item, Layout::Short).is_ok() && buffer.write(b",").is_ok();
    items.iter().take_while(|item| fits(*item)).count()
}
