//! The arguments of a hypervisor, and functions that write OEM strings into them.

use std::ffi::OsString;

use crate::format::credential::Secret;
use crate::host::strings::OemStrings;

/// A part of an argument for the hypervisor.
#[derive(Debug)]
pub enum Part {
    /// Text that other users may see.
    Text(OsString),
    /// The path of a file with this content. The hypervisor reads the file when it starts.
    File(Secret),
}

/// Returns the text that other users see instead of an argument with paths of files that only the hypervisor can read.
/// `number` is the number of the argument among such arguments, from 1. The paths in the text never exist, so a
/// hypervisor that gets the text exits with an error.
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
    /// An argument that all users may see: it was already on the command line, or it contains no secret.
    Public(OsString),
    /// An argument that contains the paths of files, which the hypervisor reads.
    Files(Vec<Part>),
    /// An argument that only the hypervisor may see.
    Private(Secret),
}

/// Returns the text `before`, all strings joined with commas, and the text `after`.
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

/// Returns the text `before`, all strings joined with commas, and the text `after`. Each string is in double quotes. In
/// the strings, `\` is written before each `"` and each `\`.
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

/// Appends a text to `parts`, in pieces. `escape` returns the replacement of a byte that must be escaped. The text is
/// not copied here: the caller joins the pieces, and so copies each byte only once.
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
