//! cloud-hypervisor: `--platform oem_strings=[S1,S2]`, which may be there once.
//!
//! Its option parser has changed: up to v47 it removes `"` and then splits at every comma, from v48 on it keeps `"` as
//! part of a string. What the two read in different ways is refused here, and nothing that is written needs either
//! (`option_parser/src/lib.rs`; both were run on the same texts). An error of that parser prints the whole option,
//! twice, so nothing that it would refuse may reach it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use super::{Argument, Features, Kind, MergeError, Part, joined, quoted, read_file};
use crate::format::credential::{Secret, VALUE_MAX};
use crate::host::strings::{Content, Existing, OemStrings};

const PLATFORM: &str = "--platform";
const STRINGS: &str = "oem_strings=";
const PATHS: &str = "oem_string_paths=";

/// Keys of `--platform` that do not end up in the table.
const NOT_IN_TABLE: [&str; 5] =
    ["num_pci_segments", "iommu_segments", "iommu_address_width", "tdx", "sev_snp"];

/// Bytes that the structure of a key's value takes beside the value, at most.
const FIELD_OVERHEAD: usize = 32;

/// cloud-hypervisor's command line.
#[derive(Debug)]
pub struct CommandLine {
    arguments: Vec<OsString>,
    /// Where `--platform` was, or is to be.
    at: usize,
    /// The other parts of its value, as they are.
    others: Vec<String>,
    /// Paths that it has for files of strings.
    paths: Vec<String>,
    existing: Existing,
    by_paths: bool,
    warnings: Vec<&'static str>,
}

impl CommandLine {
    /// Reads the arguments of a cloud-hypervisor on a host of this architecture.
    ///
    /// # Errors
    /// [`MergeError`], if the machine would have no OEM strings, they would be logged, or `--platform` cannot be read
    /// in one way only.
    pub fn read(architecture: &str, arguments: &[OsString], features: Features) -> Result<Self, MergeError> {
        if architecture != "x86_64" {
            return Err(MergeError::NoSmbios(format!(
                "cloud-hypervisor up to v53 accepts OEM strings on {architecture}, and gives them to no guest: it \
                 works on x86-64 alone"
            )));
        }
        let mut line = Self {
            arguments: Vec::with_capacity(arguments.len()),
            at: 0,
            others: Vec::new(),
            paths: Vec::new(),
            existing: Existing::default(),
            by_paths: features.oem_string_paths,
            warnings: Vec::new(),
        };
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
                    return Err(MergeError::Twice { option: PLATFORM, hypervisor: Kind::CloudHypervisor });
                }
                line.at = line.arguments.len();
                continue;
            }
            check_option(text)?;
            let is =
                |name: &[u8]| text == name || text.strip_prefix(name).is_some_and(|t| t.starts_with(b"="));
            payload |= is(b"--kernel") || is(b"--firmware") || is(b"--igvm");
            if is(b"--api-socket") {
                line.warnings.push(
                    "whoever may connect to the API socket can read all OEM strings (vm.info): keep it in a folder \
                     that nobody else can enter",
                );
            }
            line.arguments.push(argument.clone());
        }
        if !payload {
            return Err(MergeError::NoSmbios(
                "cloud-hypervisor is given neither --kernel nor --firmware, so it starts no machine: for one that is \
                 made through its API, take the strings from 'emit --format json'"
                    .to_owned(),
            ));
        }
        match platform {
            Some(value) => line.read_platform(value)?,
            None => line.at = line.arguments.len(),
        }
        Ok(line)
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
            } else if part.replace('"', "").contains("oem_string") {
                return Err(refuse("its oem_strings are spelled in a way that versions read differently"));
            } else if part.trim_start() != part {
                // Blanks before the first key are cut off: merged, this one may be the first.
                return Err(refuse("there is a blank before one of its keys, which makes it another key"));
            } else {
                if part == "tdx=on" || part == "sev_snp=on" {
                    self.warnings.push(
                        "this is a confidential VM, which does not trust its host: its guest takes no credential \
                         from SMBIOS unless it is told to",
                    );
                }
                self.others.push(part.to_owned());
                continue;
            };
            if found.replace(key).is_some() {
                return Err(refuse("it has oem_strings twice, of which the last would win"));
            }
        }
        for string in list(strings)? {
            self.existing.kept.push(Secret::from(string.as_bytes().to_vec()));
        }
        for path in list(paths)? {
            let content = read_file("--platform oem_string_paths=", path.as_bytes(), VALUE_MAX)?;
            self.existing.elsewhere.push(content);
            self.paths.push(path.to_owned());
        }
        Ok(())
    }

    /// Takes out the strings that are there.
    pub fn take_existing(&mut self) -> Existing {
        std::mem::take(&mut self.existing)
    }

    /// Bytes that other keys of `--platform` add to the table, at most.
    #[must_use]
    pub fn others(&self) -> usize {
        let in_table = |part: &&String| {
            let key = part.split('=').next().unwrap_or_default();
            !NOT_IN_TABLE.contains(&key)
        };
        self.others.iter().filter(in_table).map(|part| part.len() + FIELD_OVERHEAD).sum()
    }

    /// What there is to say about the other options.
    #[must_use]
    pub fn warnings(&self) -> &[&'static str] {
        &self.warnings
    }

    /// Makes the one `--platform`: private, or with the paths of files where cloud-hypervisor can read them.
    ///
    /// # Errors
    /// [`MergeError::Name`], if the name of a credential cannot pass.
    pub fn merge(self, strings: &OemStrings) -> Result<Vec<Argument>, MergeError> {
        for (content, _) in strings.contents() {
            if let Content::Credential { name, existing: false, .. } = content
                && !self.by_paths
                && let Some(character) = name.as_str().chars().find(|c| matches!(c, ',' | '"' | '[' | ']'))
            {
                let (name, hypervisor) = (name.clone(), Kind::CloudHypervisor);
                return Err(MergeError::Name { name, character, hypervisor });
            }
        }
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
        let mut arguments: Vec<Argument> = self.arguments.into_iter().map(Argument::Public).collect();
        let behind = arguments.split_off(self.at.min(arguments.len()));
        arguments.push(Argument::Public(PLATFORM.into()));
        arguments.push(platform);
        arguments.extend(behind);
        Ok(arguments)
    }

    /// The value with every string in a file. The files that were there come first, as their strings did.
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

/// The value of `oem_strings` that gives cloud-hypervisor the strings on its command line, for others who start it.
#[must_use]
pub fn option(strings: &OemStrings) -> Secret {
    joined(strings, format!("{STRINGS}[").as_bytes(), b"]")
}

/// A JSON array of the strings, `platform.oem_strings` of `vm.create`. Names and base64 are printable ASCII, in which
/// JSON knows two bytes that must be escaped.
#[must_use]
pub fn json(strings: &OemStrings) -> Secret {
    quoted(strings, b"[", b"]\n")
}

fn refuse(reason: &'static str) -> MergeError {
    MergeError::Option { option: PLATFORM, reason }
}

/// Refuses options with which the strings would be logged, or never reach a guest.
fn check_option(text: &[u8]) -> Result<(), MergeError> {
    let Some(letters) = text.strip_prefix(b"-") else { return Ok(()) };
    if !letters.starts_with(b"-") && letters.contains(&b'v') {
        let option = crate::text::escape::Escaped(text).to_string();
        return Err(MergeError::Logs { option, hypervisor: Kind::CloudHypervisor });
    }
    if text == b"--restore" || text.starts_with(b"--restore=") {
        return Err(MergeError::NoSmbios(
            "a machine that is restored (--restore) has the OEM strings of its snapshot, and gets no others: start it \
             afresh, or without this program"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Splits at commas outside of brackets and quotes, which must be balanced and must not be mixed.
fn split(text: &str) -> Result<Vec<&str>, MergeError> {
    let unbalanced = || refuse("its brackets or quotes are not balanced");
    let (mut depth, mut quoted, mut start) = (0_usize, false, 0);
    let mut parts = Vec::new();
    for (at, character) in text.char_indices() {
        match character {
            '"' if depth > 0 => return Err(refuse("it has '\"' in a list, which versions read differently")),
            '"' => quoted = !quoted,
            '[' | ']' if quoted => {
                return Err(refuse("it has brackets in quotes, which versions read differently"));
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

/// The elements of `[a,b]`, or of `a`.
fn list(text: Option<&str>) -> Result<Vec<&str>, MergeError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let content = text.strip_prefix('[').map_or(Some(text), |text| text.strip_suffix(']'));
    let content = content.ok_or_else(|| refuse("something follows the ']' of a list"))?;
    // `[]` and nothing are a list of one empty string, which is no string in the table.
    if content.is_empty() {
        return Ok(Vec::new());
    }
    if content.contains(['[', ']', '"']) {
        return Err(refuse("an OEM string with brackets or '\"' is read differently by different versions"));
    }
    if content.trim() != content {
        return Err(refuse("blanks at the ends of a list are read differently by different versions"));
    }
    let elements: Vec<&str> = content.split(',').collect();
    if elements.iter().any(|element| element.is_empty()) {
        return Err(refuse("an empty OEM string cuts off all that follow it in the guest's table"));
    }
    Ok(elements)
}
