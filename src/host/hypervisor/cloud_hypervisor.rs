//! cloud-hypervisor reads OEM strings from `--platform oem_strings=[S1,S2]`. The option may occur only once.
//!
//! cloud-hypervisor's option parser has changed. Up to v47, the parser removes `"` and then splits at every comma. From
//! v48 on, `"` stays part of a string. This program refuses text that the two parsers read differently, and writes no
//! such text (`option_parser/src/lib.rs`; both parsers were run on the same texts). For an unknown key or a bad value,
//! cloud-hypervisor's error message shows only this key or value (seen with v26 to v53). For a syntax error, the
//! message shows the whole option, so this program writes no wrong syntax.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::argument::{Argument, Part, joined, quoted};
use super::error::MergeError;
use super::line::{CommandLine, Features, Hypervisor, Line, Written, read_file};
use crate::format::credential::{Secret, VALUE_MAX};
use crate::format::smbios::write;
use crate::host::capacity::{Counted, Excess, FEWER, Limit, Route, Structures, Unit};
use crate::host::strings::{OemStrings, Origin};

/// Maximum number of bytes of the strings in cloud-hypervisor's one Type 11 structure, each string with its NUL. If no
/// other SMBIOS fields are set, the rest of the table takes 114 bytes.
pub const TABLE_LIMIT: Limit = Limit {
    name: "cloud-hypervisor: size of the strings in the table",
    unit: Unit::Bytes,
    maximum: 65_398,
    above: "the table extends beyond 1 MiB: the guest has no SMBIOS at all, or its kernel is overwritten",
    advice: FEWER,
    source: "measured with v53.0; SMBIOS_START 0xf0000, arch/src/x86_64/smbios.rs",
    counts: Counted::Area,
    excess: Excess::Refuse,
};

/// Maximum number of strings in cloud-hypervisor's one Type 11 structure.
pub const STRINGS_LIMIT: Limit = Limit {
    name: "cloud-hypervisor: number of strings",
    unit: Unit::Strings,
    maximum: write::STRINGS_MAX,
    above: "the count overflows, and readers that use it lose strings",
    advice: FEWER,
    source: "'len() as u8', arch/src/x86_64/smbios.rs, measured with v53.0",
    counts: Counted::Strings,
    excess: Excess::Refuse,
};

/// Maximum size of the body of a request to cloud-hypervisor's API.
pub const REQUEST_LIMIT: Limit = Limit {
    name: "cloud-hypervisor: size of an API request",
    unit: Unit::Bytes,
    maximum: 51_200,
    above: "cloud-hypervisor up to v53 answers 400, and the rest of the machine's configuration needs room too",
    advice: FEWER,
    source: "MAX_PAYLOAD_SIZE, micro_http src/server.rs; measured with v53.0",
    counts: Counted::JsonArray,
    excess: Excess::Refuse,
};

const NAME: &str = "cloud-hypervisor";
const PLATFORM: &str = "--platform";
const STRINGS: &str = "oem_strings=";
const PATHS: &str = "oem_string_paths=";
const STRINGS_FEATURE: &str = "oem_strings";
const PATHS_FEATURE: &str = "oem_string_paths";
/// Word in error texts of the SMBIOS code (`arch/src/x86_64/smbios.rs`), which up to v53 is built only on x86-64.
const SMBIOS_FEATURE: &str = "SMBIOS";
const FEATURES: &[&str] = &[STRINGS_FEATURE, PATHS_FEATURE, SMBIOS_FEATURE];

/// Keys of `--platform` whose values are not in the SMBIOS table.
const NOT_IN_TABLE: [&str; 5] =
    ["num_pci_segments", "iommu_segments", "iommu_address_width", "tdx", "sev_snp"];

/// Options that let other processes read the machine's configuration, including the OEM strings.
const API: [(&[u8], &str); 2] = [
    (
        b"--api-socket",
        "every process that can connect to the API socket can read all OEM strings (vm.info): keep it in a directory \
         that no other user can enter",
    ),
    (
        b"--dbus-service-name",
        "every process that can call the D-Bus service can read all OEM strings (VmInfo): restrict it in the bus's \
         policy",
    ),
];

/// Maximum number of bytes that a key of `--platform` needs in the table in addition to its value.
const FIELD_OVERHEAD: usize = 32;

/// Returns the route of strings through the command line. Other keys of `--platform` add `others` bytes to the table.
#[must_use]
pub fn route(others: usize) -> Route {
    Route { structures: Structures::One, limits: vec![(&TABLE_LIMIT, others), (&STRINGS_LIMIT, 0)] }
}

/// Returns the route of strings through cloud-hypervisor's API, with the limits of this route.
#[must_use]
pub fn api_route() -> Route {
    let limits = vec![(&TABLE_LIMIT, 0), (&STRINGS_LIMIT, 0), (&REQUEST_LIMIT, 0)];
    Route { structures: Structures::One, limits }
}

/// The hypervisor cloud-hypervisor.
#[derive(Debug)]
pub struct CloudHypervisor;

impl Hypervisor for CloudHypervisor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn is_program(&self, file_name: &[u8]) -> bool {
        file_name.starts_with(b"cloud-hypervisor")
    }

    fn about(&self) -> &'static str {
        "--platform oem_strings=, in an argument that only it sees, or in memory-only files where it reads files"
    }

    fn receiver_word(&self) -> Option<&'static str> {
        Some(STRINGS_FEATURE)
    }

    /// The found words show whether this version reads OEM strings from files, and whether it has SMBIOS on aarch64.
    fn questions(&self) -> &'static [&'static str] {
        if cfg!(target_arch = "x86_64") { &[STRINGS_FEATURE, PATHS_FEATURE] } else { FEATURES }
    }

    fn read(
        &self,
        _: &Path,
        arguments: &[OsString],
        features: &Features,
    ) -> Result<Box<dyn CommandLine>, MergeError> {
        Ok(Box::new(Platform::read(std::env::consts::ARCH, arguments, features)?))
    }
}

/// cloud-hypervisor's command line. Its option `--platform` is merged with OEM strings.
#[derive(Debug)]
pub struct Platform {
    line: Line,
    /// The parts of the value of `--platform` that are not OEM strings, unchanged.
    others: Vec<String>,
    /// Paths of files with OEM strings, which `--platform` already contains.
    paths: Vec<String>,
    by_paths: bool,
}

impl Platform {
    /// Reads the arguments of cloud-hypervisor on a host with this architecture.
    ///
    /// # Errors
    /// [`MergeError`], if the guest would get no OEM strings, if they would be logged, or if `--platform` is ambiguous.
    pub fn read(architecture: &str, arguments: &[OsString], features: &Features) -> Result<Self, MergeError> {
        if architecture != "x86_64" && !features.has(SMBIOS_FEATURE) {
            let what = format!("this cloud-hypervisor has no SMBIOS on {architecture}, as up to v53");
            return Err(MergeError::no_smbios(what, "use a newer version, or x86-64"));
        }
        let mut read = Self {
            line: Line::new(route(0)),
            others: Vec::new(),
            paths: Vec::new(),
            by_paths: features.has(PATHS_FEATURE),
        };
        let line = &mut read.line;
        let mut platform = None;
        let mut payload = false;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let text = argument.as_bytes();
            let value = if text == PLATFORM.as_bytes() {
                let value = rest.next().ok_or(MergeError::NoValue { option: PLATFORM })?;
                Some(value.as_bytes())
            } else {
                text.strip_prefix(b"--platform=")
            };
            if let Some(value) = value {
                if platform.replace(value).is_some() {
                    return Err(MergeError::Twice { option: PLATFORM, hypervisor: NAME });
                }
                line.at = line.arguments.len();
                continue;
            }
            check_option(text)?;
            let is =
                |name: &[u8]| text == name || text.strip_prefix(name).is_some_and(|t| t.starts_with(b"="));
            payload |= is(b"--kernel") || is(b"--firmware") || is(b"--igvm");
            line.warnings.extend(API.iter().filter(|(option, _)| is(option)).map(|(_, warning)| *warning));
            line.arguments.push(argument.clone());
        }
        if !payload {
            return Err(MergeError::no_smbios(
                "cloud-hypervisor is given neither --kernel nor --firmware, so it starts no machine",
                "for a machine that its API creates, use 'emit --format json'",
            ));
        }
        match platform {
            Some(value) => read.read_platform(value)?,
            None => line.at = line.arguments.len(),
        }
        read.line.route = route(read.in_table());
        Ok(read)
    }

    fn read_platform(&mut self, text: &[u8]) -> Result<(), MergeError> {
        let text = std::str::from_utf8(text).map_err(|_| refuse("it is not UTF-8"))?;
        if text.trim().is_empty() {
            return Ok(());
        }
        let mut strings = None;
        let mut paths = None;
        for part in split(text.trim())? {
            let (key, found) = if let Some(value) = part.strip_prefix(STRINGS) {
                (value, &mut strings)
            } else if let Some(value) = part.strip_prefix(PATHS) {
                (value, &mut paths)
            } else if is_misspelt(part) {
                return Err(refuse("hypervisor versions read this spelling of oem_strings differently"));
            } else if part.trim_start() != part {
                // cloud-hypervisor skips blanks only before the first key, and merging may make this key the first one.
                return Err(refuse("a blank before a key makes it another key"));
            } else {
                if part == "tdx=on" || part == "sev_snp=on" {
                    self.line.warnings.push(
                        "this is a confidential VM, which does not trust its host: its guest accepts no credential \
                         from SMBIOS unless its configuration allows this",
                    );
                }
                if part.split_once('=').is_none_or(|(_, value)| value.trim().is_empty()) {
                    return Err(refuse("a key has no value"));
                }
                self.others.push(part.to_owned());
                continue;
            };
            if found.replace(key).is_some() {
                return Err(refuse("it contains oem_strings twice, and only the last would be used"));
            }
        }
        for string in list(strings)? {
            self.line.existing.kept.push((Secret::from(string.as_bytes().to_vec()), Origin::CommandLine));
        }
        for path in list(paths)? {
            let content = read_file("--platform oem_string_paths=", path.as_bytes(), VALUE_MAX)?;
            self.line.existing.elsewhere.push(content);
            self.paths.push(path.to_owned());
        }
        Ok(())
    }

    /// Returns how many bytes other keys of `--platform` add to the table at most.
    fn in_table(&self) -> usize {
        let in_table = |part: &&String| {
            let key = part.split('=').next().unwrap_or_default();
            !NOT_IN_TABLE.contains(&key)
        };
        self.others.iter().filter(in_table).map(|part| part.len() + FIELD_OVERHEAD).sum()
    }

    /// Refuses names with a character that has a meaning in `--platform`, unless strings are passed in files.
    fn check_names(&self, strings: &OemStrings) -> Result<(), MergeError> {
        for (content, _) in strings.contents().filter(|_| !self.by_paths) {
            if let Some(name) = content.selected()
                && let Some(character) = name.as_str().chars().find(|c| matches!(c, ',' | '"' | '[' | ']'))
            {
                return Err(MergeError::Name { name: name.clone(), character, hypervisor: NAME });
            }
        }
        Ok(())
    }

    /// Returns the value of `--platform` with a file for each string. Paths that the option already had come first.
    fn with_paths(&self, strings: &OemStrings) -> Vec<Part> {
        let mut before = self.others.clone();
        let paths: String = self.paths.iter().flat_map(|path| [path, ","]).collect();
        before.push(format!("{PATHS}[{paths}"));
        let mut parts = vec![Part::Text(before.join(",").into())];
        for (index, text) in strings.texts().enumerate() {
            if index > 0 {
                parts.push(Part::Text(",".into()));
            }
            parts.push(Part::File(Secret::from(text.to_vec())));
        }
        parts.push(Part::Text("]".into()));
        parts
    }
}

impl CommandLine for Platform {
    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// Writes `--platform` with paths if this version reads files. Otherwise writes `--platform` with the strings.
    fn write(self: Box<Self>, strings: &OemStrings) -> Result<Written, MergeError> {
        self.check_names(strings)?;
        let platform = if self.by_paths {
            Argument::Files(self.with_paths(strings))
        } else {
            let mut before = self.others.clone();
            if !self.paths.is_empty() {
                before.push(format!("{PATHS}[{}]", self.paths.join(",")));
            }
            before.push(format!("{STRINGS}["));
            Argument::Private(joined(strings, before.join(",").as_bytes(), b"]"))
        };
        Ok(self.line.with([Argument::Public(PLATFORM.into()), platform]).into())
    }
}

/// Writes the value of `--platform` with the strings in plain text, for programs that start cloud-hypervisor.
#[must_use]
pub fn option(strings: &OemStrings) -> Secret {
    joined(strings, format!("{STRINGS}[").as_bytes(), b"]")
}

/// Writes the strings as a JSON array, which is `platform.oem_strings` of `vm.create`. Names and base64 are printable
/// ASCII, so only two characters must be escaped.
#[must_use]
pub fn json(strings: &OemStrings) -> Secret {
    quoted(strings, b"[", b"]\n")
}

fn refuse(reason: &'static str) -> MergeError {
    MergeError::Option { option: PLATFORM, reason, help: None }
}

/// Whether only some versions may read this part as OEM strings. All versions read a value without quotes alike.
fn is_misspelt(part: &str) -> bool {
    let (key, value) = part.split_once('=').unwrap_or((part, ""));
    let looked_at = if value.contains('"') { part } else { key };
    looked_at.replace('"', "").contains("oem_string")
}

/// Refuses options that would make cloud-hypervisor log the strings, or with which the strings never reach a guest.
fn check_option(text: &[u8]) -> Result<(), MergeError> {
    let Some(letters) = text.strip_prefix(b"-") else { return Ok(()) };
    if !letters.starts_with(b"-") && letters.contains(&b'v') {
        let option = crate::text::escape::Escaped(text).to_string();
        return Err(MergeError::Logs { option, hypervisor: NAME });
    }
    if text == b"--restore" || text.starts_with(b"--restore=") {
        return Err(MergeError::no_smbios(
            "a machine that is restored (--restore) has the OEM strings of its snapshot, and cannot get others",
            "start it without --restore, or without this program",
        ));
    }
    Ok(())
}

/// Splits a text at commas outside of brackets and quotes, which must be balanced, and must not contain each other.
fn split(text: &str) -> Result<Vec<&str>, MergeError> {
    let unbalanced = || refuse("its brackets or quotes are not balanced");
    let (mut depth, mut quoted, mut start) = (0_usize, false, 0);
    let mut parts = Vec::new();
    for (at, character) in text.char_indices() {
        match character {
            '"' if depth > 0 => {
                return Err(refuse("it contains '\"' in a list, which versions read differently"));
            }
            '"' => quoted = !quoted,
            '[' | ']' if quoted => {
                return Err(refuse("it contains brackets in quotes, which versions read differently"));
            }
            '[' => depth += 1,
            ']' => depth = depth.checked_sub(1).ok_or_else(unbalanced)?,
            ',' if depth == 0 && !quoted => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 || quoted {
        return Err(unbalanced());
    }
    parts.push(text.get(start..).unwrap_or_default());
    Ok(parts)
}

/// Returns the elements of a list such as `[a,b]`, or of a list with one element such as `a`.
fn list(text: Option<&str>) -> Result<Vec<&str>, MergeError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let content = text.strip_prefix('[').map_or(Some(text), |text| text.strip_suffix(']'));
    let content = content.ok_or_else(|| refuse("there is text after the ']' of a list"))?;
    // `[]` and an empty value are a list with one empty string, which is not written to the table.
    if content.is_empty() {
        return Ok(Vec::new());
    }
    if content.contains(['[', ']', '"']) {
        return Err(refuse("hypervisor versions read an OEM string with brackets or '\"' differently"));
    }
    if content.trim() != content {
        return Err(refuse("hypervisor versions read blanks at the ends of a list differently"));
    }
    let elements: Vec<&str> = content.split(',').collect();
    if elements.iter().any(|element| element.is_empty()) {
        return Err(refuse("an empty OEM string cuts off all strings after it in the guest's table"));
    }
    Ok(elements)
}
