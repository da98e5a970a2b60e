//! Writes the keys and values of an Incus profile or instance as YAML. Another program loads the YAML into Incus.
//!
//! Incus makes an OEM string from each key and its value. `smbios11.KEY` becomes `KEY=VALUE`, and
//! `systemd.credential-binary.NAME` becomes `io.systemd.credential.binary:NAME=VALUE`. Incus writes the strings in any
//! order, each to its own file for QEMU (`internal/server/instance/drivers/driver_qemu.go`, Incus 7.3). Incus drops a
//! key without a value. The manifest has no special key in Incus: this program splits the manifest's OEM string at the
//! first `=` into a key and a value, see [`manifest`](crate::format::manifest).

use std::borrow::Cow;

use super::argument::push_escaped;
use super::qemu;
use crate::format::credential::{Name, Secret};
use crate::format::oem_string::BINARY_PREFIX;
use crate::format::smbios::write;
use crate::host::capacity::{Counted, Excess, FEWER, Limit, Route, Structures, Unit};
use crate::host::strings::{Content, OemStrings};
use crate::text::help::Help;

/// Maximum number of strings in the one Type 11 structure that QEMU builds from Incus's strings.
pub const STRINGS_LIMIT: Limit = Limit {
    name: "Incus: number of strings",
    unit: Unit::Strings,
    maximum: write::STRINGS_MAX,
    above: "the count overflows, and readers that use it lose strings",
    advice: FEWER,
    source: "measured with QEMU 7.2 and 10.0, which Incus starts",
    counts: Counted::Strings,
    excess: Excess::Refuse,
};

/// Why Incus cannot send the strings.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IncusError {
    /// A value is empty, and Incus drops keys without a value.
    #[error("credential {0}: it is empty, and Incus drops a key without a value")]
    Empty(Name),
    /// A string cannot be split into a key and a value.
    #[error(
        "OEM string {string} has no '=' with text before and after it, so it is not a key and value for Incus"
    )]
    NoPair {
        /// Number of the string, from 1.
        string: usize,
    },
}

impl Help for IncusError {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Empty(_) => Some("do not send it".into()),
            Self::NoPair { .. } => None,
        }
    }
}

/// Returns the route of Incus's strings through QEMU, which builds one structure from all strings.
#[must_use]
pub fn route() -> Route {
    let limits = vec![(&qemu::TABLE_LIMIT, qemu::OWN_STRUCTURES), (&STRINGS_LIMIT, 0)];
    Route { structures: Structures::One, limits }
}

/// Writes the strings as a YAML mapping `config`, for `incus profile edit` and `incus launch`.
///
/// Each key begins with `?`. Without `?`, YAML limits a key to 1024 characters (YAML 1.2.2, 7.4.2), and the key that is
/// made from the manifest of a large set is longer. A name is printable ASCII, so only two characters must be escaped
/// in a quoted scalar.
///
/// # Errors
/// [`IncusError`] names the credential or the string that Incus cannot send.
pub fn yaml(strings: &OemStrings) -> Result<Secret, IncusError> {
    let mut parts: Vec<&[u8]> = vec![b"config:\n"];
    for (index, (text, (content, _))) in strings.texts().zip(strings.contents()).enumerate() {
        let equals = text.iter().position(|&byte| byte == b'=').unwrap_or(text.len());
        let (key, value) = text.split_at_checked(equals).unwrap_or((text, b""));
        let value = value.get(1..).unwrap_or_default();
        if key.is_empty() || value.is_empty() {
            return Err(match content {
                Content::Credential { name, .. } | Content::Encrypted { name, .. } => {
                    IncusError::Empty(name.clone())
                }
                _ => IncusError::NoPair { string: index + 1 },
            });
        }
        parts.push(b"  ? \"");
        if let Some(name) = key.strip_prefix(BINARY_PREFIX.as_bytes()) {
            parts.push(b"systemd.credential-binary.");
            push_escaped(&mut parts, name, escape);
        } else {
            parts.push(b"smbios11.");
            push_escaped(&mut parts, key, escape);
        }
        parts.push(b"\"\n  : \"");
        push_escaped(&mut parts, value, escape);
        parts.push(b"\"\n");
    }
    Ok(parts.concat().into())
}

fn escape(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'"' => Some(b"\\\""),
        b'\\' => Some(b"\\\\"),
        _ => None,
    }
}
