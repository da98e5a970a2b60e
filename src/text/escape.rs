//! Text from outside, made safe to print.
//!
//! Names, paths and strings of a table come from the host. Printed as they are they could drive a terminal or
//! forge a line of a log, so everything but printable ASCII is written as `\xNN`.

use std::fmt::{self, Display, Formatter, Write as _};

/// Bytes from outside, displayed with everything but printable ASCII escaped.
///
/// ```
/// use smbios_creds::text::escape::Escaped;
/// assert_eq!(Escaped(b"a\x1b[31m\r\n\xe2\x80\xaeb").to_string(), r"a\x1b[31m\r\n\xe2\x80\xaeb");
/// ```
#[derive(Clone, Copy)]
pub struct Escaped<'a>(pub &'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| match byte {
            b'\n' => f.write_str("\\n"),
            b'\r' => f.write_str("\\r"),
            b'\t' => f.write_str("\\t"),
            0x20..=0x7e => f.write_char(byte.into()),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

impl<'a> From<&'a std::path::Path> for Escaped<'a> {
    fn from(path: &'a std::path::Path) -> Self {
        Self(path.as_os_str().as_encoded_bytes())
    }
}
