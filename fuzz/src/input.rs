//! Splits the fuzzer's bytes into the numbers, pieces and command lines that a fuzz target needs.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use smbios_creds::format::credential::{Credential, Name};
use smbios_creds::format::oem_string::{Encoding, encode};
use smbios_creds::host::hypervisor::{Argument, Part};
use smbios_creds::host::strings::{EmitError, Existing, OemStrings};

/// The bytes that are left of the fuzzer's input. The methods take numbers and pieces from the front. When no byte is
/// left, they return zeroes and empty pieces.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.take(8).iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
    }

    pub(crate) fn take(&mut self, size: usize) -> &'a [u8] {
        let (piece, rest) = self.0.split_at(size.min(self.0.len()));
        self.0 = rest;
        piece
    }

    /// Takes one byte with a length, and then a piece of that length.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let size = self.byte();
        self.take(size.into())
    }

    /// Takes one byte with a count, and then calls `item` that many times, or until no byte is left.
    pub(crate) fn several<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte()).map_while(|_| (!self.0.is_empty()).then(|| item(self))).collect()
    }
}

/// A hypervisor's command line, and a credential to add to it. The fuzzer's bytes are the credential's name and the
/// arguments, separated by NUL bytes as in `/proc/PID/cmdline`.
pub(crate) struct CommandLine {
    pub(crate) credential: Credential,
    pub(crate) arguments: Vec<String>,
}

impl CommandLine {
    pub(crate) fn new(data: &[u8]) -> Self {
        // A path with a '/' could lead anywhere on the machine that runs the fuzzer, so each '/' is replaced. A
        // command line names a file of `FILES` by `@`, its index and `@`.
        let mut pieces = data.split(|&byte| byte == 0).map(|piece| {
            let text = String::from_utf8_lossy(piece).replace('/', "|");
            FILES.iter().enumerate().fold(text, |text, (index, file)| {
                let path = concat!(env!("CARGO_MANIFEST_DIR"), "/files/");
                text.replace(&format!("@{index}@"), &format!("{path}{file}"))
            })
        });
        let name = pieces.next().and_then(|name| Name::new(name).ok());
        let name = name.unwrap_or_else(|| Name::new("db").unwrap());
        Self { credential: Credential::new(name, b"secret".to_vec()), arguments: pieces.collect() }
    }

    pub(crate) fn os_arguments(&self) -> Vec<OsString> {
        self.arguments.iter().map(OsString::from).collect()
    }

    /// Returns the OEM strings to pass: those that are already on the command line, the credential, and the manifest.
    pub(crate) fn strings(&self, existing: Existing) -> Result<OemStrings, EmitError> {
        let credential = Credential::new(self.credential.name.clone(), b"secret".to_vec());
        let kept: Vec<Vec<u8>> = existing.kept.iter().map(|(text, _)| text.expose().to_vec()).collect();
        let strings = OemStrings::with_salt(existing, &[credential], [7; 16])?;
        let texts: Vec<&[u8]> = strings.texts().collect();
        let ours = encode(&self.credential, Encoding::Binary).unwrap();
        assert_eq!(texts.len(), kept.len() + 2);
        assert_eq!(texts[..kept.len()], kept, "what was there comes first, in its order");
        assert_eq!(texts[kept.len()], ours.expose());
        assert!(texts[kept.len() + 1].starts_with(b"io.smbios-creds.manifest:"));
        Ok(strings)
    }
}

/// Files that a command line can name, below `files/`.
const FILES: [&str; 4] = ["string", "credential", "structures", "nul"];

/// Returns the content of the file with this path, which a command line names.
pub(crate) fn content(path: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(path)).unwrap()
}

/// The arguments as the hypervisor gets them, and the content of the files that they name.
pub(crate) fn render(arguments: &[Argument]) -> (Vec<String>, Vec<Vec<u8>>) {
    let mut files = Vec::new();
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
    let mut part = |part: &Part| match part {
        Part::Text(part) => text(part.as_bytes()),
        Part::File(content) => {
            files.push(content.expose().to_vec());
            format!("/proc/self/fd/{}", files.len() - 1)
        }
    };
    let rendered = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Public(argument) => text(argument.as_bytes()),
            Argument::Private(value) => text(value.expose()),
            Argument::Files(parts) => parts.iter().map(&mut part).collect(),
        })
        .collect();
    (rendered, files)
}
