//! Parses QEMU's configuration files for `-readconfig` in the same way as QEMU's function `qemu_config_foreach()`
//! (`util/qemu-config.c`). A file consists of sections, and each section belongs to a group of options:
//!
//! ```text
//! [object "tdx0"]
//!   qom-type = "tdx-guest"
//! ```
//!
//! The format has no escape characters, and needs a blank between a key and `=`. QEMU ignores text after a closing
//! bracket or quote.

use super::syntax::{Parameter, Settings};

/// Longest line in bytes that QEMU reads. QEMU reads a longer line as several lines.
const LINE_MAX: usize = 1023;

/// Maximum length in bytes of a group's name, of a key and of an ID.
const WORD_MAX: usize = 63;

/// Splits a configuration file's text into sections. The settings borrow from the text and do not copy it, because a
/// file may contain secrets.
///
/// # Errors
/// Returns the number, from 1, of the line at which QEMU would stop with an error.
pub(super) fn sections(text: &[u8]) -> Result<Vec<Settings<'_>>, usize> {
    let mut sections: Vec<Settings> = Vec::new();
    let lines = text.split_inclusive(|&byte| byte == b'\n').flat_map(|line| line.chunks(LINE_MAX));
    for (index, line) in lines.enumerate() {
        if matches!(line.first(), Some(b'\n' | b'#')) {
            continue;
        }
        if let Some(section) = header(line) {
            sections.push(section);
        } else {
            let (section, parameter) = sections.last_mut().zip(setting(line)).ok_or(index + 1)?;
            section.parameters.push(parameter);
        }
    }
    Ok(sections)
}

/// Parses `[group "id"]` or `[group]`.
fn header(line: &[u8]) -> Option<Settings<'_>> {
    let line = line.strip_prefix(b"[")?;
    let with_id = || {
        let (group, rest) = word(skip_blanks(line))?;
        let (id, _) = until(skip_blanks(rest).strip_prefix(b"\"")?, b'"', WORD_MAX)?;
        Some(Settings { group, parameters: vec![Parameter::new(b"id", id)] })
    };
    let without = || Some(Settings { group: until(line, b']', WORD_MAX)?.0, parameters: Vec::new() });
    with_id().or_else(without)
}

/// Parses `key = "value"`. If the text after the key is not `= "value"`, the returned value is empty.
fn setting(line: &[u8]) -> Option<Parameter<'_>> {
    let (name, rest) = word(skip_blanks(line))?;
    let value = skip_blanks(rest).strip_prefix(b"=").and_then(|rest| skip_blanks(rest).strip_prefix(b"\""));
    let value = value.and_then(|value| until(value, b'"', LINE_MAX)).map(|(value, _)| value);
    Some(Parameter::new(name, value.unwrap_or_default()))
}

/// Works like `%63s` of scanf(3): returns the bytes before the first blank, and the rest of the text. Returns `None` if
/// there is no byte before the blank.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().take(WORD_MAX).position(u8::is_ascii_whitespace);
    let end = end.unwrap_or(text.len().min(WORD_MAX));
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

/// Works like `%63[^"]` of scanf(3): returns the bytes before `end`, and the rest of the text. Returns `None` if there
/// is no byte before `end`.
fn until(text: &[u8], end: u8, maximum: usize) -> Option<(&[u8], &[u8])> {
    let at = text.iter().take(maximum).position(|&byte| byte == end);
    text.split_at_checked(at.unwrap_or(text.len().min(maximum))).filter(|(found, _)| !found.is_empty())
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}
