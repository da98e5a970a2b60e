//! What a hypervisor is, and what its command line is once it has been read.

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
    /// The word for it on our command line, in JSON and in messages.
    fn name(&self) -> &'static str;

    /// Whether a program of this file name is one. What nixpkgs puts around the name of a wrapped program is removed
    /// first.
    fn is_program(&self, file_name: &[u8]) -> bool;

    /// One line about it for `--help`.
    fn about(&self) -> &'static str;

    /// A word that every program has in its image which parses the option that the strings are in, and no wrapper. Only
    /// such a program receives what others must not see.
    fn receiver_word(&self) -> Option<&'static str> {
        None
    }

    /// Whether every version reads strings from files. Nothing is traced then, unless a wrapper executes it.
    fn always_reads_files(&self) -> bool {
        false
    }

    /// Words that its image may have, and that decide how it is started. The image is not read if there are none.
    fn questions(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the program starts no guest with these arguments: it prints something, or answers questions about itself.
    /// It needs no credentials then. In doubt it may start one.
    fn starts_no_guest(&self, arguments: &[OsString]) -> bool {
        let _ = arguments;
        false
    }

    /// Reads the arguments of a program, without its own name.
    ///
    /// # Errors
    /// [`MergeError`], if OEM strings would not arrive, or would be seen.
    fn read(
        &self,
        program: &Path,
        arguments: &[OsString],
        features: &Features,
    ) -> Result<Box<dyn CommandLine>, MergeError>;
}

/// A hypervisor's command line, ready to take OEM strings.
pub trait CommandLine: Debug {
    /// What every command line has.
    fn line(&mut self) -> &mut Line;

    /// Puts OEM strings into it.
    ///
    /// # Errors
    /// [`MergeError`], if they cannot pass.
    fn write(self: Box<Self>, strings: &OemStrings) -> Result<Written, MergeError>;
}

/// How a credential gets into the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// In an OEM string of the SMBIOS table.
    Smbios,
    /// In an item of QEMU's `fw_cfg`.
    FwCfg,
}

impl Channel {
    /// The word for it in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Smbios => "SMBIOS",
            Self::FwCfg => "fw_cfg",
        }
    }
}

/// What every command line has, once it was read.
#[derive(Debug)]
pub struct Line {
    /// The arguments that stay.
    pub arguments: Vec<OsString>,
    /// Where among them ours belong.
    pub at: usize,
    /// OEM strings that are there already.
    pub existing: Existing,
    /// What OEM strings go through.
    pub route: Route,
    /// What a person should know about the other options.
    pub warnings: Vec<&'static str>,
}

impl Line {
    pub(super) fn new(route: Route) -> Self {
        let (arguments, existing, warnings) = (Vec::new(), Existing::default(), Vec::new());
        Self { arguments, at: 0, existing, route, warnings }
    }

    /// The arguments, with ours where they belong.
    pub(super) fn with(self, ours: impl IntoIterator<Item = Argument>) -> Vec<Argument> {
        let mut arguments: Vec<Argument> = self.arguments.into_iter().map(Argument::Public).collect();
        let after = arguments.split_off(self.at.min(arguments.len()));
        arguments.extend(ours);
        arguments.extend(after);
        arguments
    }
}

/// A command line with OEM strings in it.
#[derive(Debug)]
pub struct Written {
    /// The arguments, without the program's own name.
    pub arguments: Vec<Argument>,
    /// Credentials that are passed another way as well, for the sake of systemd 256 and older.
    pub copies: Vec<Name>,
}

impl From<Vec<Argument>> for Written {
    fn from(arguments: Vec<Argument>) -> Self {
        Self { arguments, copies: Vec::new() }
    }
}

/// Which words the image of a program has, of those that its hypervisor asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Features(pub Vec<&'static str>);

impl Features {
    /// Whether it has this word.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }
}

/// The file name of a program, without what nixpkgs puts around the name of one that it wraps.
pub(super) fn plain_name(program: &Path) -> &[u8] {
    let name = program.file_name().map(OsStr::as_bytes).unwrap_or_default();
    let wrapped = name.strip_prefix(b".").and_then(|name| name.strip_suffix(b"-wrapped"));
    wrapped.unwrap_or(name)
}

/// Reads a file that an option names, as the hypervisor will.
pub(super) fn read_file(option: &'static str, path: &[u8], limit: usize) -> Result<Secret, MergeError> {
    let path = Path::new(OsStr::from_bytes(path));
    let refuse = |reason: String| MergeError::File { option, file: ShownPath::from(path), reason };
    match file::open(path).and_then(|file| file::read_unchanged(&file, limit)) {
        Ok(Content::Bytes(bytes)) => Ok(bytes.into()),
        Ok(Content::TooLarge) => Err(refuse(format!("it has more than {limit} bytes"))),
        Ok(Content::Changed) => Err(refuse("it has changed while it was read".to_owned())),
        Ok(Content::Other(kind)) => Err(refuse(format!("it is {kind}, not a regular file"))),
        Err(error) => Err(refuse(error.desc().to_owned())),
    }
}
