//! crosvm reads OEM strings from `--smbios oem-strings=["S1","S2"]`. If the option occurs several times, crosvm uses
//! only the last one.
//!
//! This program writes strings in double quotes. Between double quotes, `\"` and `\\` mean `"` and `\`, and every other
//! character means itself (`serde_keyvalue/src/key_values.rs`). If crosvm refuses a key or a value, its error message
//! shows the whole option with all strings (seen with crosvm's commit f1e797a68). So this program must not merge its
//! strings into an option that crosvm would refuse.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::argument::{Argument, quoted};
use super::error::MergeError;
use super::line::{CommandLine, Features, Hypervisor, Line, Written};
use crate::format::credential::Secret;
use crate::format::smbios::write;
use crate::host::capacity::{Counted, Excess, FEWER, Limit, Route, Structures, Unit};
use crate::host::strings::{OemStrings, Origin};

/// Maximum number of bytes of the strings in crosvm's one Type 11 structure, each string with its NUL. The rest of
/// crosvm's table takes 88 bytes.
pub const TABLE_LIMIT: Limit = Limit {
    name: "crosvm: size of the strings in the table",
    unit: Unit::Bytes,
    maximum: 65_424,
    above: "the table extends beyond 1 MiB, where the guest cannot map it",
    advice: FEWER,
    source: "measured with f1e797a68; SMBIOS_START 0xf0000, crosvm x86_64/src/smbios.rs",
    counts: Counted::Area,
    excess: Excess::Refuse,
};

/// Maximum number of strings in crosvm's one Type 11 structure.
pub const STRINGS_LIMIT: Limit = Limit {
    name: "crosvm: number of strings",
    unit: Unit::Strings,
    maximum: write::STRINGS_MAX,
    above: "crosvm refuses to start",
    advice: FEWER,
    source: "TooManyOemStrings, crosvm x86_64/src/smbios.rs",
    counts: Counted::Strings,
    excess: Excess::Refuse,
};

const NAME: &str = "crosvm";
const SMBIOS: &str = "--smbios";
const STRINGS: &str = "oem-strings=";
/// The keys of `--smbios` except `oem-strings` (`SmbiosOptions` in crosvm).
const KEYS: [&str; 6] =
    ["bios-vendor", "bios-version", "manufacturer", "product-name", "serial-number", "uuid"];
const OPTION_WORD: &str = "oem-strings";

/// Maximum number of bytes that a key of `--smbios` needs in the table in addition to its value.
const FIELD_OVERHEAD: usize = 32;

/// Returns the route of strings through crosvm's command line. Other keys of `--smbios` add `others` bytes to the
/// table.
#[must_use]
pub fn route(others: usize) -> Route {
    Route { structures: Structures::One, limits: vec![(&TABLE_LIMIT, others), (&STRINGS_LIMIT, 0)] }
}

/// The hypervisor crosvm.
#[derive(Debug)]
pub struct Crosvm;

impl Hypervisor for Crosvm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_program(&self, file_name: &[u8]) -> bool {
        file_name == b"crosvm"
    }

    fn about(&self) -> &'static str {
        "--smbios oem-strings=, in an argument that only it sees"
    }

    fn receiver_word(&self) -> Option<&'static str> {
        Some(OPTION_WORD)
    }

    fn questions(&self) -> &'static [&'static str] {
        &[OPTION_WORD]
    }

    fn read(
        &self,
        _: &Path,
        arguments: &[OsString],
        _: &Features,
    ) -> Result<Box<dyn CommandLine>, MergeError> {
        Ok(Box::new(Smbios::read(std::env::consts::ARCH, arguments)?))
    }
}

/// crosvm's command line. Its option `--smbios` is merged with OEM strings.
#[derive(Debug)]
pub struct Smbios {
    line: Line,
    /// The parts of the value of `--smbios` that are not OEM strings, unchanged.
    others: Vec<String>,
}

impl Smbios {
    /// Reads the arguments of crosvm on a host with this architecture.
    ///
    /// # Errors
    /// [`MergeError`], if the command starts no machine, if the machine has no SMBIOS, or if `--smbios` cannot be read.
    pub fn read(architecture: &str, arguments: &[OsString]) -> Result<Self, MergeError> {
        if architecture != "x86_64" {
            return Err(MergeError::no_smbios(
                format!("crosvm has no SMBIOS on {architecture}"),
                "use it on x86-64",
            ));
        }
        let Some(run) = arguments.iter().position(|argument| argument == "run") else {
            return Err(MergeError::no_smbios(
                "this crosvm command does not start a machine",
                "use 'crosvm run'",
            ));
        };
        let mut read = Self { line: Line::new(route(0)), others: Vec::new() };
        read.line.at = run + 1;
        let mut found = false;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let text = argument.as_bytes();
            let is =
                |name: &[u8]| text == name || text.strip_prefix(name).is_some_and(|t| t.starts_with(b"="));
            if is(b"--oem-strings") {
                let reason = "crosvm calls this option deprecated";
                let help = Some("move its string to --smbios oem-strings=[...]");
                return Err(MergeError::Option { option: "--oem-strings", reason, help });
            }
            if is(b"--cfg") {
                read.line.warnings.push(
                    "the file given with --cfg is not read: if it contains SMBIOS settings, the settings of this \
                     program replace them",
                );
            }
            let value = if text == SMBIOS.as_bytes() {
                rest.next().ok_or(MergeError::NoValue { option: SMBIOS })?.as_bytes()
            } else if let Some(value) = text.strip_prefix(b"--smbios=") {
                value
            } else {
                read.line.arguments.push(argument.clone());
                continue;
            };
            if std::mem::replace(&mut found, true) {
                return Err(MergeError::Twice { option: SMBIOS, hypervisor: NAME });
            }
            read.line.at = read.line.arguments.len();
            read.read_smbios(value)?;
        }
        read.line.route = route(read.others.iter().map(|part| part.len() + FIELD_OVERHEAD).sum());
        Ok(read)
    }

    fn read_smbios(&mut self, text: &[u8]) -> Result<(), MergeError> {
        let text = std::str::from_utf8(text).map_err(|_| refuse("it is not UTF-8"))?;
        let (mut found, mut keys) = (false, BTreeSet::new());
        for part in split(text)? {
            let Some(value) = part.strip_prefix(STRINGS) else {
                let key = check_other(part)?;
                if !keys.insert(key) {
                    return Err(refuse("it contains a key twice"));
                }
                self.others.push(part.to_owned());
                continue;
            };
            if std::mem::replace(&mut found, true) {
                return Err(refuse("it contains oem-strings twice"));
            }
            let list = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
            let list = list.ok_or_else(|| refuse("oem-strings is not a list in brackets"))?;
            for element in split(list)? {
                self.line.existing.kept.push((unquote(element)?, Origin::CommandLine));
            }
        }
        Ok(())
    }
}

impl CommandLine for Smbios {
    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// Writes a single `--smbios` option, whose value only crosvm may see.
    fn write(self: Box<Self>, strings: &OemStrings) -> Result<Written, MergeError> {
        let mut before = self.others;
        before.push(format!("{STRINGS}["));
        let value = quoted(strings, before.join(",").as_bytes(), b"]");
        Ok(self.line.with([Argument::Public(SMBIOS.into()), Argument::Private(value)]).into())
    }
}

/// Writes the value of `--smbios` with the strings in plain text, for programs that start crosvm themselves.
#[must_use]
pub fn option(strings: &OemStrings) -> Secret {
    quoted(strings, format!("{STRINGS}[").as_bytes(), b"]")
}

fn refuse(reason: &'static str) -> MergeError {
    MergeError::Option { option: SMBIOS, reason, help: None }
}

/// Checks a part of `--smbios` other than `oem-strings`, and returns its key. Refuses keys and values that crosvm would
/// refuse.
fn check_other(part: &str) -> Result<&str, MergeError> {
    let (key, value) = part.split_once('=').ok_or_else(|| refuse("it contains a value without a key"))?;
    if !KEYS.contains(&key) {
        let reason = "crosvm does not accept one of the keys, and its error would show all OEM strings";
        let help = "use only bios-vendor, bios-version, manufacturer, product-name, serial-number, uuid and oem-strings, \
                    without blanks before them";
        return Err(MergeError::Option { option: SMBIOS, reason, help: Some(help) });
    }
    let quoted = value.starts_with(['"', '\'']);
    if unquote(value)?.is_empty() {
        return Err(refuse("a key has no value"));
    }
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | ':' | '+' | '@' | '-');
    if !quoted && !value.chars().all(is_plain) {
        let reason = "a value has blanks or special characters";
        let help = Some("put it in double quotes");
        return Err(MergeError::Option { option: SMBIOS, reason, help });
    }
    if key == "uuid" && !is_uuid(value) {
        return Err(refuse("its uuid is not a UUID such as 01234567-89ab-cdef-0123-456789abcdef"));
    }
    Ok(key)
}

fn is_uuid(text: &str) -> bool {
    let groups =
        text.split('-').map(|group| group.bytes().all(|b| b.is_ascii_hexdigit()).then_some(group.len()));
    groups.eq([8, 4, 4, 4, 12].map(Some))
}

/// Splits a text at the commas outside of brackets and quotes.
fn split(text: &str) -> Result<Vec<&str>, MergeError> {
    let (mut depth, mut quote, mut escaped, mut start) = (0_usize, None, false, 0);
    let mut parts = Vec::new();
    for (at, character) in text.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth = depth.checked_sub(1).ok_or_else(|| refuse("its brackets are not balanced"))?;
            }
            (None, ',') if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 || quote.is_some() {
        return Err(refuse("its brackets or quotes are not balanced"));
    }
    let last = text.get(start..).unwrap_or_default();
    // If `last` is empty, the text is empty or ends with a comma. crosvm allows both.
    if !last.is_empty() {
        parts.push(last);
    }
    if parts.iter().any(|part| part.is_empty()) {
        return Err(refuse("there is nothing between two commas"));
    }
    Ok(parts)
}

/// Reads a string in double quotes, in single quotes, or without quotes.
fn unquote(text: &str) -> Result<Secret, MergeError> {
    let misquoted = || refuse("an OEM string has quotes that do not surround the whole string");
    let inside = |quote: char| text.strip_prefix(quote).map(|text| text.strip_suffix(quote));
    if let Some(plain) = inside('\'') {
        let plain = plain.filter(|plain| !plain.contains('\'')).ok_or_else(misquoted)?;
        return Ok(plain.as_bytes().to_vec().into());
    }
    let Some(escaped) = inside('"') else {
        if text.contains(['"', '\'', '[', ']']) {
            return Err(misquoted());
        }
        return Ok(text.as_bytes().to_vec().into());
    };
    let escaped = escaped.ok_or_else(misquoted)?.as_bytes();
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'"' => return Err(misquoted()),
            b'\\' => match rest.next() {
                Some(&next @ (b'"' | b'\\')) => next,
                _ => return Err(refuse("a '\\' in quotes must stand before '\"' or '\\'")),
            },
            _ => byte,
        });
    }
    Ok(bytes.into())
}
