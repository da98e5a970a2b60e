//! crosvm: `--smbios oem-strings=["S1","S2"]`, of which the last counts.
//!
//! Strings are written in double quotes, where `\"` and `\\` stand for `"` and `\` and everything else for itself
//! (`serde_keyvalue/src/key_values.rs`). Read, not run.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use super::{Argument, Kind, MergeError, quoted};
use crate::format::credential::Secret;
use crate::host::strings::{Existing, OemStrings};

const SMBIOS: &str = "--smbios";
const STRINGS: &str = "oem-strings=";

/// Bytes that a key of `--smbios` takes in the table beside its value, at most.
const FIELD_OVERHEAD: usize = 32;

/// crosvm's command line.
#[derive(Debug)]
pub struct CommandLine {
    arguments: Vec<OsString>,
    /// Where `--smbios` was, or is to be.
    at: usize,
    /// The other parts of its value, as they are.
    others: Vec<String>,
    existing: Existing,
    warnings: Vec<&'static str>,
}

impl CommandLine {
    /// Reads the arguments of a crosvm on a host of this architecture.
    ///
    /// # Errors
    /// [`MergeError`], if no machine is started, or one without SMBIOS, or `--smbios` cannot be read.
    pub fn read(architecture: &str, arguments: &[OsString]) -> Result<Self, MergeError> {
        if architecture != "x86_64" {
            return Err(MergeError::NoSmbios(format!(
                "crosvm has no SMBIOS on {architecture}: it works on x86-64 alone"
            )));
        }
        let Some(run) = arguments.iter().position(|argument| argument == "run") else {
            return Err(MergeError::NoSmbios(
                "this crosvm command starts no machine: 'crosvm run' does".to_owned(),
            ));
        };
        let mut line = Self {
            arguments: Vec::with_capacity(arguments.len()),
            at: run + 1,
            others: Vec::new(),
            existing: Existing::default(),
            warnings: Vec::new(),
        };
        let mut found = false;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let text = argument.as_bytes();
            let is =
                |name: &[u8]| text == name || text.strip_prefix(name).is_some_and(|t| t.starts_with(b"="));
            if is(b"--oem-strings") {
                let reason =
                    "crosvm itself calls it deprecated: move its string to --smbios oem-strings=[...]";
                return Err(MergeError::Option { option: "--oem-strings", reason });
            }
            if is(b"--cfg") {
                line.warnings.push(
                    "the file given with --cfg is not looked at: if it has SMBIOS settings, those here replace them",
                );
            }
            let value = if text == SMBIOS.as_bytes() {
                rest.next().ok_or(MergeError::NoValue { option: SMBIOS })?.as_bytes()
            } else if let Some(value) = text.strip_prefix(b"--smbios=") {
                value
            } else {
                line.arguments.push(argument.clone());
                continue;
            };
            if std::mem::replace(&mut found, true) {
                return Err(MergeError::Twice { option: SMBIOS, hypervisor: Kind::Crosvm });
            }
            line.at = line.arguments.len();
            line.read_smbios(value)?;
        }
        Ok(line)
    }

    fn read_smbios(&mut self, text: &[u8]) -> Result<(), MergeError> {
        let text = std::str::from_utf8(text).map_err(|_| refuse("it is not UTF-8"))?;
        let mut found = false;
        for part in split(text)? {
            let Some(value) = part.strip_prefix(STRINGS) else {
                self.others.push(part.to_owned());
                continue;
            };
            if std::mem::replace(&mut found, true) {
                return Err(refuse("it has oem-strings twice"));
            }
            let list = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
            let list = list.ok_or_else(|| refuse("its oem-strings are not a list in brackets"))?;
            for element in split(list)? {
                self.existing.kept.push(unquote(element)?);
            }
        }
        Ok(())
    }

    /// Takes out the strings that are there.
    pub fn take_existing(&mut self) -> Existing {
        std::mem::take(&mut self.existing)
    }

    /// Bytes that other keys of `--smbios` add to the table, at most.
    #[must_use]
    pub fn others(&self) -> usize {
        self.others.iter().map(|part| part.len() + FIELD_OVERHEAD).sum()
    }

    /// What there is to say about the other options.
    #[must_use]
    pub fn warnings(&self) -> &[&'static str] {
        &self.warnings
    }

    /// Makes the one `--smbios`, which is private.
    ///
    /// # Errors
    /// None: whatever a string holds can be quoted.
    pub fn merge(self, strings: &OemStrings) -> Result<Vec<Argument>, MergeError> {
        let mut before = self.others.clone();
        before.push(format!("{STRINGS}["));
        let value = quoted(strings, before.join(",").as_bytes(), b"]");
        let mut arguments: Vec<Argument> = self.arguments.into_iter().map(Argument::Public).collect();
        let behind = arguments.split_off(self.at.min(arguments.len()));
        arguments.push(Argument::Public(SMBIOS.into()));
        arguments.push(Argument::Private(value));
        arguments.extend(behind);
        Ok(arguments)
    }
}

/// The value of `--smbios` that gives crosvm the strings on its command line, for others who start it.
#[must_use]
pub fn option(strings: &OemStrings) -> Secret {
    quoted(strings, format!("{STRINGS}[").as_bytes(), b"]")
}

fn refuse(reason: &'static str) -> MergeError {
    MergeError::Option { option: SMBIOS, reason }
}

/// Splits at commas outside of brackets and quotes.
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
    // Nothing at all, or a comma at the end, which crosvm allows.
    if !last.is_empty() {
        parts.push(last);
    }
    if parts.iter().any(|part| part.is_empty()) {
        return Err(refuse("there is nothing between two commas"));
    }
    Ok(parts)
}

/// Reads a string in double quotes, in single quotes, or in none.
fn unquote(text: &str) -> Result<Secret, MergeError> {
    let misquoted = || refuse("an OEM string has quotes that are not around the whole of it");
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
