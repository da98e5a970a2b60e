//! Writes one structure per file, for an engine that starts QEMU with a static configuration.
//!
//! Such a configuration names each file, but the number of structures depends on the credentials. So the user can set a
//! number of files (`emit --files`) that is large enough for all structures. The files that are not needed contain
//! inactive structures, which every reader ignores. QEMU supports only one structure per file ([`qemu`]).

use std::borrow::Cow;
use std::path::Path;

use super::capacity::Route;
use super::hypervisor::{libvirt, qemu};
use super::strings::OemStrings;
use crate::format::credential::Secret;
use crate::format::smbios::write::{self, INACTIVE_SIZE, WriteError};
use crate::text::escape::ShownPath;
use crate::text::help::Help;

/// Structures, each for its own file. The name of a file is the number of its structure, from 0.
#[derive(Debug)]
pub struct Slots {
    structures: Vec<Secret>,
    /// Number of inactive structures.
    inactive: usize,
}

/// Why a directory's path cannot be in QEMU's command line or in a libvirt domain.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} has control characters or is not UTF-8, which a configuration cannot carry")]
pub struct Unprintable(ShownPath);

impl Help for Unprintable {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some("use another directory".into())
    }
}

impl Slots {
    /// Packs strings into structures, and adds inactive structures until there are `count` structures.
    ///
    /// # Errors
    /// [`WriteError::TooFew`], if the strings need more than `count` structures. Any other [`WriteError`], if a string
    /// cannot be written.
    pub fn new(strings: &OemStrings, count: Option<usize>) -> Result<Self, WriteError> {
        let texts: Vec<&[u8]> = strings.texts().collect();
        let used = write::pack(&strings.sizes()).len();
        let structures = write::padded(&texts, count.unwrap_or(used))?;
        let inactive = structures.len().saturating_sub(used);
        Ok(Self { structures, inactive })
    }

    /// Returns the route of these structures into the guest, which leads through QEMU.
    #[must_use]
    pub fn route(&self) -> Route {
        qemu::route(self.inactive * INACTIVE_SIZE)
    }

    /// Returns name and content of each file.
    pub fn files(&self) -> impl Iterator<Item = (String, &Secret)> {
        self.structures.iter().enumerate().map(|(number, structure)| (number.to_string(), structure))
    }

    /// Whether this module writes files with this name.
    #[must_use]
    pub fn is_name(name: &[u8]) -> bool {
        !name.is_empty() && name.iter().all(u8::is_ascii_digit)
    }

    /// Returns the values of QEMU's `-smbios` options that read the files of this directory. The directory's path
    /// should be absolute.
    fn values(&self, directory: &Path) -> Result<Vec<String>, Unprintable> {
        let text = directory.to_str().filter(|text| !text.contains(char::is_control));
        let text = text.ok_or_else(|| Unprintable(ShownPath::from(directory)))?.replace(',', ",,");
        Ok(self.files().map(|(name, _)| format!("file={text}/{name}")).collect())
    }

    /// Returns the QEMU options that read the files in `directory`, one option per line and quoted for a shell.
    ///
    /// # Errors
    /// [`Unprintable`], if the path contains control characters or is not UTF-8.
    pub fn arguments(&self, directory: &Path) -> Result<String, Unprintable> {
        let mut lines = String::new();
        for value in self.values(directory)? {
            lines += "-smbios ";
            lines += &shell_word(&value);
            lines.push('\n');
        }
        Ok(lines)
    }

    /// Returns an XML element for a libvirt domain. The element contains the QEMU options that read the files in
    /// `directory`.
    ///
    /// # Errors
    /// [`Unprintable`], if the path cannot be in XML.
    pub fn domain_xml(&self, directory: &Path) -> Result<String, Unprintable> {
        let values = self.values(directory)?;
        Ok(libvirt::command_line(values.iter().flat_map(|value| ["-smbios", value])))
    }
}

/// Quotes a text as one word for a shell, and for programs that split lines like a shell.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
