//! The arguments of a hypervisor, and functions that write OEM strings into them.

use std::ffi::OsString;

use crate::format::credential::Secret;
use crate::host::strings::OemStrings;

/// A part of an argument for the hypervisor.
#[derive(Debug)]
pub enum Part {
    /// Text that others may see.
    Text(OsString),
    /// The path of a file with this content. The hypervisor reads the file when it starts.
    File(Secret),
}

/// Returns the text that others see instead of an argument with files that only the hypervisor has. `number` counts
/// such arguments from 1. A file with this name never exists: a hypervisor that gets this text exits with an error.
#[must_use]
pub fn hidden(parts: &[Part], number: usize) -> OsString {
    let mut text = OsString::new();
    for part in parts {
        match part {
            Part::Text(part) => text.push(part),
            Part::File(_) => text.push(format!("/proc/self/fd/only-the-hypervisor-has-file-{number}")),
        }
    }
    text
}

/// An argument for the hypervisor.
#[derive(Debug)]
pub enum Argument {
    /// An argument that was on the command line before, or that contains no secret.
    Public(OsString),
    /// An argument that contains the paths of files.
    Files(Vec<Part>),
    /// An argument that only the hypervisor may see.
    Private(Secret),
}

/// Joins all strings with commas.
pub(super) fn joined(strings: &OemStrings, before: &[u8], after: &[u8]) -> Secret {
    let mut parts: Vec<&[u8]> = vec![before];
    for (index, text) in strings.texts().enumerate() {
        if index > 0 {
            parts.push(b",");
        }
        parts.push(text);
    }
    parts.push(after);
    parts.concat().into()
}

/// Joins all strings with commas. Each is in double quotes, with `\` before `"` and `\`.
pub(super) fn quoted(strings: &OemStrings, before: &[u8], after: &[u8]) -> Secret {
    let mut parts: Vec<&[u8]> = vec![before];
    for (index, text) in strings.texts().enumerate() {
        parts.push(if index > 0 { b",\"" } else { b"\"" });
        push_escaped(&mut parts, text, |byte| match byte {
            b'"' => Some(b"\\\""),
            b'\\' => Some(b"\\\\"),
            _ => None,
        });
        parts.push(b"\"");
    }
    parts.push(after);
    parts.concat().into()
}

/// Splits a text at the bytes that must be escaped. The text is not copied here: the caller copies all parts once.
pub(super) fn push_escaped<'a>(
    parts: &mut Vec<&'a [u8]>,
    text: &'a [u8],
    escape: impl Fn(u8) -> Option<&'static [u8]>,
) {
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        if let Some(escaped) = escape(byte) {
            parts.extend([text.get(start..at).unwrap_or_default(), escaped]);
            start = at + 1;
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
}
