//! Makes text from outside of this program safe to print.
//!
//! Names, paths and the strings of the SMBIOS table come from the host. Unchanged, such text could control a terminal
//! or forge a line of a log. So every byte except printable ASCII is written as `\n`, `\r`, `\t`, or `\x` and two
//! hexadecimal digits.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

/// Bytes from outside of this program. `Display` escapes every byte except printable ASCII.
///
/// ```
/// use smbios_creds::text::escape::Escaped;
/// assert_eq!(Escaped(b"a\x1b[31m\r\n\xe2\x80\xaeb").to_string(), r"a\x1b[31m\r\n\xe2\x80\xaeb");
/// ```
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // Each part is one byte that is escaped, or all printable bytes up to the next such byte.
        self.0.chunk_by(|one, next| is_printable(*one) && is_printable(*next)).try_for_each(|part| match part
        {
            b"\n" => f.write_str("\\n"),
            b"\r" => f.write_str("\\r"),
            b"\t" => f.write_str("\\t"),
            [byte] if !is_printable(*byte) => write!(f, "\\x{byte:02x}"),
            text => f.write_str(&String::from_utf8_lossy(text)),
        })
    }
}

/// Whether a byte is printable ASCII.
fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e)
}

impl<'a> From<&'a Path> for Escaped<'a> {
    fn from(path: &'a Path) -> Self {
        Self(path.as_os_str().as_encoded_bytes())
    }
}

/// A path. `Display` escapes every byte except printable ASCII.
///
/// ```
/// use smbios_creds::text::escape::ShownPath;
/// assert_eq!(ShownPath::from(std::path::Path::new("/run/a\nb")).to_string(), r"/run/a\nb");
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShownPath(PathBuf);

impl ShownPath {
    /// Returns the path without escapes.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Display for ShownPath {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Escaped::from(self.as_path()).fmt(f)
    }
}

impl From<&Path> for ShownPath {
    fn from(path: &Path) -> Self {
        Self(path.to_path_buf())
    }
}

impl From<PathBuf> for ShownPath {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl From<Cow<'_, Path>> for ShownPath {
    fn from(path: Cow<'_, Path>) -> Self {
        Self(path.into_owned())
    }
}

/// A writer that passes text on to another writer. Before that, `Safely` uses [`write_safely`] to escape every
/// character that could control a terminal or change the direction of text.
#[cfg(feature = "cli")]
pub(crate) struct Safely<'a, W>(pub(crate) &'a mut W);

#[cfg(feature = "cli")]
impl<W: fmt::Write> fmt::Write for Safely<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(is_printable) {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|character| write_safely(self.0, character))
    }
}

/// Writes a harmless character unchanged. Escapes a character that could control a terminal or change the direction of
/// text: for example, ESC becomes `\u{1b}`.
///
/// # Errors
/// Returns the errors of `out`.
#[cfg(feature = "cli")]
pub(crate) fn write_safely(out: &mut impl fmt::Write, character: char) -> fmt::Result {
    let directs_text = matches!(
        character,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    if character.is_control() || directs_text {
        write!(out, "{}", character.escape_unicode())
    } else {
        out.write_char(character)
    }
}
