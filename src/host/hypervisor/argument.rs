//! The arguments of a hypervisor, and OEM strings written into them.

use std::ffi::OsString;

use crate::format::credential::Secret;
use crate::host::strings::OemStrings;

/// A part of an argument.
#[derive(Debug)]
pub enum Part {
    /// Text that others may see.
    Text(OsString),
    /// The path of a file with this content, which the hypervisor reads when it starts.
    File(Secret),
}

/// What others see of an argument whose files only the hypervisor has. `number` counts such arguments, from 1. There are
/// never files of this name: should a hypervisor be given the argument, it ends with an error.
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

/// An argument of a hypervisor.
#[derive(Debug)]
pub enum Argument {
    /// One that was there before, or holds no secret.
    Public(OsString),
    /// One with the paths of files in it.
    Files(Vec<Part>),
    /// One that the hypervisor alone is to see.
    Private(Secret),
}

/// All strings with commas between.
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

/// All strings in double quotes with commas between, where `\` stands before `"` and `\`.
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

/// Takes a text apart where bytes must be written in another way. The text itself is not copied: that is done once,
/// for all of it.
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
