//! Writes JSON of a limited size in bytes.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::text::json::{self, Layout};

/// A buffer with a maximum size in bytes.
struct Bounded {
    bytes: Vec<u8>,
    maximum: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    // The JSON serializer calls this function for each quote and comma. The trait's own `write_all` would call `write`
    // in a loop, and look at the kind of each error.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes.len() + bytes.len() > self.maximum {
            return Err(ErrorKind::FileTooLarge.into());
        }
        match bytes {
            // Most calls write one quote, colon or comma.
            [byte] => self.bytes.push(*byte),
            bytes => self.bytes.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Initial capacity of the buffer in bytes. The JSON of most values fits into it, so that the buffer does not grow:
/// growing would copy the bytes to a larger buffer, and wipe the old buffer.
const USUAL: usize = 4096;

/// Returns the JSON of a value.
///
/// # Errors
/// Returns an error if the value cannot be written as JSON, or the JSON has more than `maximum` bytes.
pub(super) fn json(value: &impl Serialize, maximum: usize) -> serde_json::Result<Vec<u8>> {
    let mut buffer = Bounded { bytes: Vec::with_capacity(USUAL), maximum };
    json::write(&mut buffer, value, Layout::Short)?;
    Ok(buffer.bytes)
}

/// Returns the number of items, counted from the first item, that fit into a JSON array of `maximum` bytes.
pub(super) fn fitting<T: Serialize>(items: &[T], maximum: usize) -> usize {
    let mut buffer = Bounded { bytes: Vec::new(), maximum };
    let mut fits = |item| json::write(&mut buffer, item, Layout::Short).is_ok() && buffer.write(b",").is_ok();
    items.iter().take_while(|item| fits(*item)).count()
}
