//! The trait for hypervisors, and a hypervisor's command line after it was read.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::argument::Argument;
use super::error::MergeError;
use crate::format::credential::{Name, Secret};
use crate::host::capacity::Route;
use crate::host::strings::{Existing, OemStrings};
use crate::sys::file::{self, Content};
use crate::text::escape::ShownPath;

/// A hypervisor that can be started with OEM strings.
pub trait Hypervisor: Debug + Sync {
    /// The hypervisor's name on this program's command line, in JSON and in messages.
    fn name(&self) -> &'static str;

    /// Whether a program with this file name is this hypervisor. The caller has already removed what nixpkgs adds to
    /// the file name of a wrapped program (`.NAME-wrapped`).
    fn is_program(&self, file_name: &[u8]) -> bool;

    /// One line about the hypervisor for `--help`.
    fn about(&self) -> &'static str;

    /// A word that the hypervisor's executable file contains, because the hypervisor parses the option with the OEM
    /// strings. A wrapper's executable file does not contain the word. Only a program whose file contains the word
    /// receives the secrets.
    fn receiver_word(&self) -> Option<&'static str> {
        None
    }

    /// Whether every version of the hypervisor reads the strings from files. If so, the start is traced only if a
    /// wrapper executes the hypervisor.
    fn always_reads_files(&self) -> bool {
        false
    }

    /// Words to search for in the program's executable file. The words found decide how the program is started, for
    /// example whether the start is traced. If the list is empty, the file is not read.
    fn questions(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the program starts no guest with these arguments: it prints information, or answers queries about
    /// itself. The program then needs no credentials. Returns false if this is not certain.
    fn starts_no_guest(&self, arguments: &[OsString]) -> bool {
        let _ = arguments;
        false
    }

    /// Reads the arguments of a program. They do not include the program's own name.
    ///
    /// # Errors
    /// [`MergeError`], if OEM strings would not reach the guest, or if other users would see the strings.
    fn read(
        &self,
        program: &Path,
        arguments: &[OsString],
        features: &Features,
    ) -> Result<Box<dyn CommandLine>, MergeError>;
}

/// A hypervisor's command line, into which OEM strings can be written.
pub trait CommandLine: Debug {
    /// Returns the part of this value that does not depend on the kind of the hypervisor.
    fn line(&mut self) -> &mut Line;

    /// Writes OEM strings into the command line.
    ///
    /// # Errors
    /// [`MergeError`], if this command line cannot pass the strings on.
    fn write(self: Box<Self>, strings: &OemStrings) -> Result<Written, MergeError>;
}

/// The channel through which a credential gets into the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// An OEM string in the SMBIOS table.
    Smbios,
    /// An item of QEMU's `fw_cfg`.
    FwCfg,
}

impl Channel {
    /// The channel's name in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Smbios => "SMBIOS",
            Self::FwCfg => "fw_cfg",
        }
    }
}

/// What this program knows about a hypervisor's command line after reading it. The fields are the same for all
/// hypervisors.
#[derive(Debug)]
pub struct Line {
    /// The arguments that stay unchanged on the command line.
    pub arguments: Vec<OsString>,
    /// The index in `arguments` at which this program inserts its own arguments.
    pub at: usize,
    /// OEM strings that are already on the command line.
    pub existing: Existing,
    /// The route of the strings into the guest, with its limits.
    pub route: Route,
    /// Warnings for the user about options on the command line that are not for OEM strings.
    pub warnings: Vec<&'static str>,
}

impl Line {
    pub(super) fn new(route: Route) -> Self {
        let (arguments, existing, warnings) = (Vec::new(), Existing::default(), Vec::new());
        Self { arguments, at: 0, existing, route, warnings }
    }

    /// Returns the arguments of the command line, with this program's arguments (`ours`) inserted.
    pub(super) fn with(self, ours: impl IntoIterator<Item = Argument>) -> Vec<Argument> {
        let mut arguments: Vec<Argument> = self.arguments.into_iter().map(Argument::Public).collect();
        let after = arguments.split_off(self.at.min(arguments.len()));
        arguments.extend(ours);
        arguments.extend(after);
        arguments
    }
}

/// A command line that contains OEM strings.
#[derive(Debug)]
pub struct Written {
    /// The arguments, without the program's own name.
    pub arguments: Vec<Argument>,
    /// Credentials that are also passed through a second channel (`fw_cfg`), for systemd 256 and older.
    pub copies: Vec<Name>,
}

impl From<Vec<Argument>> for Written {
    fn from(arguments: Vec<Argument>) -> Self {
        Self { arguments, copies: Vec::new() }
    }
}

/// The words of [`Hypervisor::questions`] that were found in a program's executable file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Features(pub Vec<&'static str>);

impl Features {
    /// Whether the executable file contains this word.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }
}

/// Returns the file name of a program, without the additions of nixpkgs to the name of a wrapped program.
pub(super) fn plain_name(program: &Path) -> &[u8] {
    let name = program.file_name().map(OsStr::as_bytes).unwrap_or_default();
    let wrapped = name.strip_prefix(b".").and_then(|name| name.strip_suffix(b"-wrapped"));
    wrapped.unwrap_or(name)
}

/// Reads a file that an option of the hypervisor names.
pub(super) fn read_file(option: &'static str, path: &[u8], limit: usize) -> Result<Secret, MergeError> {
    let path = Path::new(OsStr::from_bytes(path));
    let refuse = |reason: String| MergeError::File { option, file: ShownPath::from(path), reason };
    match file::open(path).and_then(|file| file::read_unchanged(&file, limit)) {
        Ok(Content::Bytes(bytes)) => Ok(bytes.into()),
        Ok(Content::TooLarge) => Err(refuse(format!("it has more than {limit} bytes"))),
        Ok(Content::Changed) => Err(refuse("it changed while it was being read".to_owned())),
        Ok(Content::Other(kind)) => Err(refuse(format!("it is {kind}, not a regular file"))),
        Err(error) => Err(refuse(error.desc().to_owned())),
    }
}
