//! Writes JSON of a limited size in bytes.

use std::io::ErrorKind;

use serde::Serialize;

use crate::text::json::{self, Layout};

/// Initial capacity of the buffer in bytes. The JSON of most values fits into it, so that the buffer does not grow:
/// growing would copy the bytes to a larger buffer, and wipe the old buffer.
const USUAL: usize = 4096;

/// Returns the JSON of a value.
///
/// # Errors
/// Returns an error if the value cannot be written as JSON, or the JSON has more than `maximum` bytes.
pub(super) fn json(value: &impl Serialize, maximum: usize) -> serde_json::Result<Vec<u8>> {
    let mut json = Vec::with_capacity(USUAL);
    json::write(&mut json, value, Layout::Short)?;
    if json.len() > maximum {
        return Err(serde_json::Error::io(ErrorKind::FileTooLarge.into()));
    }
    Ok(json)
}

/// Returns the number of items, counted from the first item, that fit into a JSON array of `maximum` bytes.
pub(super) fn fitting<T: Serialize>(items: &[T], maximum: usize) -> usize {
    let mut array = Vec::new();
    let mut fits = |item| {
        let is_written = json::write(&mut array, item, Layout::Short).is_ok();
        array.push(b',');
        is_written && array.len() <= maximum
    };
    items.iter().take_while(|item| fits(*item)).count()
}
