//! Hypervisors, one a file: what is on their command line, and how OEM strings are merged with it.

pub mod cloud_hypervisor;
pub mod crosvm;
pub mod libvirt;
pub mod qemu;

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;

use super::capacity::Way;
use super::source::{Opened, read_opened};
use super::strings::{Existing, OemStrings};
use crate::format::credential::{Name, Secret};
use crate::format::smbios::write::WriteError;
use crate::text::escape::Escaped;

/// Hypervisors that can be started.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// QEMU.
    Qemu,
    /// cloud-hypervisor.
    CloudHypervisor,
    /// crosvm.
    Crosvm,
}

impl Kind {
    /// Tells it by the file name of a program.
    ///
    /// ```
    /// use smbios_creds::host::hypervisor::Kind;
    /// assert_eq!(Kind::of_program("/usr/bin/qemu-system-x86_64".as_ref()), Some(Kind::Qemu));
    /// assert_eq!(Kind::of_program("/bin/sh".as_ref()), None);
    /// ```
    #[must_use]
    pub fn of_program(program: &Path) -> Option<Self> {
        match plain_name(program) {
            name if name.starts_with(b"qemu-system-") => Some(Self::Qemu),
            b"qemu-kvm" | b"qemu" | b"kvm" => Some(Self::Qemu),
            name if name.starts_with(b"cloud-hypervisor") => Some(Self::CloudHypervisor),
            b"crosvm" => Some(Self::Crosvm),
            _ => None,
        }
    }

    /// The word for it on our command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Crosvm => "crosvm",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The file name of a program, without what nixpkgs puts around the name of one that it wraps.
fn plain_name(program: &Path) -> &[u8] {
    let name = program.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    let wrapped = name.strip_prefix(b".").and_then(|name| name.strip_suffix(b"-wrapped"));
    wrapped.unwrap_or(name)
}

/// A part of an argument.
#[derive(Debug)]
pub enum Part {
    /// Text that others may see.
    Text(OsString),
    /// The path of a file with this content, which the hypervisor reads when it starts.
    File(Secret),
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

/// What is known of the program beside its name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Features {
    /// cloud-hypervisor can read OEM strings from files (`oem_string_paths`).
    pub oem_string_paths: bool,
}

/// Why OEM strings cannot be merged with a command line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// An option has no value.
    #[error("{option} is the last argument, and has no value")]
    NoValue {
        /// The option.
        option: &'static str,
    },
    /// Something that looks like an option is where the value of another one belongs.
    #[error(
        "'{}' follows '{}', and it cannot be told whether it is an option or its value; put another option between",
        Escaped(.option), Escaped(.before)
    )]
    Ambiguous {
        /// What it follows.
        before: Vec<u8>,
        /// The option that may be a value.
        option: Vec<u8>,
    },
    /// An option that may be there once is there again.
    #[error("{option} is there twice, and {hypervisor} takes one; make one of them")]
    Twice {
        /// The option.
        option: &'static str,
        /// Who takes one.
        hypervisor: Kind,
    },
    /// An option's text cannot be read, or not in one way only. It may hold secrets, so it is not shown.
    #[error("cannot merge OEM strings with {option}: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file that an option names cannot be read.
    #[error("cannot merge OEM strings with {option}: cannot read {}: {reason}", Escaped::from(.file.as_path()))]
    File {
        /// The option.
        option: &'static str,
        /// The file.
        file: PathBuf,
        /// What the kernel says, or what it is.
        reason: String,
    },
    /// The machine would have no SMBIOS, or the program would start none.
    #[error("{0}")]
    NoSmbios(String),
    /// The hypervisor would log the strings.
    #[error("{option} makes {hypervisor} log its whole configuration, all OEM strings with it; remove it")]
    Logs {
        /// The option.
        option: String,
        /// Who logs.
        hypervisor: Kind,
    },
    /// The name of a credential cannot pass the hypervisor's command line.
    #[error(
        "credential {name}: its name holds '{character}', which {hypervisor}'s command line cannot carry; send it \
         under another name (--credential GUEST=HOST)"
    )]
    Name {
        /// Its name.
        name: Name,
        /// The character.
        character: char,
        /// Whose command line.
        hypervisor: Kind,
    },
    /// The same name is sent another way.
    #[error("credential {0}: it is on the command line as a fw_cfg file as well; send it once")]
    FwCfg(Name),
    /// A string cannot be in a structure.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A command line whose options have been read.
#[derive(Debug)]
#[non_exhaustive]
pub enum CommandLine {
    /// QEMU's.
    Qemu(qemu::CommandLine),
    /// cloud-hypervisor's.
    CloudHypervisor(cloud_hypervisor::CommandLine),
    /// crosvm's.
    Crosvm(crosvm::CommandLine),
}

impl CommandLine {
    /// Reads the arguments of a hypervisor, without its own name.
    ///
    /// # Errors
    /// [`MergeError`], if OEM strings would not arrive, or would be seen.
    pub fn read(
        kind: Kind,
        program: &Path,
        arguments: &[OsString],
        features: Features,
    ) -> Result<Self, MergeError> {
        Ok(match kind {
            Kind::Qemu => Self::Qemu(qemu::CommandLine::read(architecture(program), arguments)?),
            Kind::CloudHypervisor => Self::CloudHypervisor(cloud_hypervisor::CommandLine::read(
                std::env::consts::ARCH,
                arguments,
                features,
            )?),
            Kind::Crosvm => Self::Crosvm(crosvm::CommandLine::read(std::env::consts::ARCH, arguments)?),
        })
    }

    /// Takes out the OEM strings that are there.
    pub fn take_existing(&mut self) -> Existing {
        match self {
            Self::Qemu(line) => line.take_existing(),
            Self::CloudHypervisor(line) => line.take_existing(),
            Self::Crosvm(line) => line.take_existing(),
        }
    }

    /// What OEM strings go through on this way.
    #[must_use]
    pub fn way(&self) -> Way {
        match self {
            Self::Qemu(line) => Way::Qemu { others: line.others() },
            Self::CloudHypervisor(line) => Way::CloudHypervisor { others: line.others() },
            Self::Crosvm(line) => Way::Crosvm { others: line.others() },
        }
    }

    /// What there is to say about the other options.
    #[must_use]
    pub fn warnings(&self) -> &[&'static str] {
        match self {
            Self::Qemu(line) => line.warnings(),
            Self::CloudHypervisor(line) => line.warnings(),
            Self::Crosvm(line) => line.warnings(),
        }
    }

    /// Names of credentials that are passed another way as well, for the sake of systemd 256 and older.
    #[must_use]
    pub fn copies(&self, strings: &OemStrings) -> Vec<Name> {
        match self {
            Self::Qemu(line) => line.copies(strings),
            Self::CloudHypervisor(_) | Self::Crosvm(_) => Vec::new(),
        }
    }

    /// Puts OEM strings into the command line.
    ///
    /// # Errors
    /// [`MergeError`], if they cannot pass.
    pub fn merge(self, strings: &OemStrings) -> Result<Vec<Argument>, MergeError> {
        match self {
            Self::Qemu(line) => line.merge(strings),
            Self::CloudHypervisor(line) => line.merge(strings),
            Self::Crosvm(line) => line.merge(strings),
        }
    }
}

/// Which architecture a QEMU emulates, by its name.
fn architecture(program: &Path) -> &str {
    let name = plain_name(program).strip_prefix(b"qemu-system-");
    name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or(std::env::consts::ARCH)
}

/// Reads a file that an option names, as the hypervisor will.
fn read_file(option: &'static str, path: &[u8], limit: usize) -> Result<Secret, MergeError> {
    let file = PathBuf::from(OsString::from_vec(path.to_vec()));
    let refuse = |reason: String| MergeError::File { option, file: file.clone(), reason };
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = File::options().read(true).custom_flags(flags).open(&file);
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let result = opened.map_err(errno).and_then(|file| read_opened(&file, limit));
    match result {
        Ok(Opened::Bytes(bytes)) => Ok(bytes.into()),
        Ok(Opened::TooLarge) => Err(refuse(format!("it has more than {limit} bytes"))),
        Ok(Opened::Changed) => Err(refuse("it has changed while it was read".to_owned())),
        Ok(Opened::Other(kind)) => Err(refuse(format!("it is {kind}, not a regular file"))),
        Err(error) => Err(refuse(error.desc().to_owned())),
    }
}

/// All strings with commas between.
fn joined(strings: &OemStrings, before: &[u8], after: &[u8]) -> Secret {
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
fn quoted(strings: &OemStrings, before: &[u8], after: &[u8]) -> Secret {
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
fn push_escaped<'a>(parts: &mut Vec<&'a [u8]>, text: &'a [u8], escape: impl Fn(u8) -> Option<&'static [u8]>) {
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        if let Some(escaped) = escape(byte) {
            parts.extend([text.get(start..at).unwrap_or_default(), escaped]);
            start = at + 1;
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
}
