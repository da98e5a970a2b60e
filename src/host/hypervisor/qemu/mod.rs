//! QEMU: structures of ours in files, `-smbios file=PATH`.
//!
//! QEMU takes no `-smbios type=11` beside such a file, so strings that are there are folded into our structures. One
//! structure a file: behind a 32-bit entry point, a second one in the same file makes the table one structure longer
//! than announced, and its end is left out (recorded as `qemu-7.2-no-end-marker`).
//!
//! How options are read is in `qemu_option`, what these mean in `smbios_entry_add()`, `hw/smbios/smbios.c`.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

pub mod fw_cfg;
mod option;

use self::option::{Parameter, is_flag, number, option_name, parameters};
use super::{Argument, MergeError, Part, read_file};
use crate::format::credential::{Name, Secret, VALUE_MAX};
use crate::format::smbios::{OEM_STRINGS, Table};
use crate::host::strings::{Existing, OemStrings};

const SMBIOS: &str = "-smbios";

/// Largest file of structures that is read.
const FILE_MAX: usize = 65_535;

/// QEMU's command line.
#[derive(Debug)]
pub struct CommandLine {
    arguments: Vec<OsString>,
    existing: Existing,
    handles: Vec<u16>,
    fw_cfg: BTreeSet<Vec<u8>>,
    others: usize,
    warnings: Vec<&'static str>,
}

impl CommandLine {
    /// Reads the arguments of a QEMU that emulates this architecture.
    ///
    /// # Errors
    /// [`MergeError`], if the machine would have no SMBIOS, or an option cannot be read.
    pub fn read(architecture: &str, arguments: &[OsString]) -> Result<Self, MergeError> {
        let mut line = Self {
            arguments: Vec::with_capacity(arguments.len()),
            existing: Existing::default(),
            handles: Vec::new(),
            fw_cfg: BTreeSet::new(),
            others: 0,
            warnings: Vec::new(),
        };
        let mut machine = None;
        let mut firmware = false;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(name) = option_name(argument).filter(|name| !is_flag(name)) else {
                line.arguments.push(argument.clone());
                continue;
            };
            let ours = our_option(name);
            let Some(value) = rest.next() else {
                if let Some(option) = ours {
                    return Err(MergeError::NoValue { option });
                }
                line.arguments.push(argument.clone());
                break;
            };
            if let Some(option) = option_name(value).filter(|name| our_option(name).is_some()) {
                let (before, option) = (argument.as_bytes().to_vec(), [b"-", option].concat());
                return Err(MergeError::Ambiguous { before, option });
            }
            firmware |= is_firmware(name, value);
            match ours {
                Some(SMBIOS) if line.fold(value)? => continue,
                Some("-machine") => {
                    let kind = parameters(value.as_bytes(), b"type").into_iter().rev();
                    machine = kind.filter(|p| p.name == b"type").find_map(|p| p.value).or(machine);
                }
                Some("-fw_cfg") => {
                    let name = parameters(value.as_bytes(), b"name").into_iter().rfind(|p| p.name == b"name");
                    line.fw_cfg.extend(name.and_then(|p| p.value));
                }
                Some(_) | None => line.warnings.extend(warning(name, value)),
            }
            line.arguments.extend([argument.clone(), value.clone()]);
        }
        check_machine(architecture, machine.as_deref(), firmware)?;
        Ok(line)
    }

    /// Reads an `-smbios` option. Returns whether it is to be left out, since its strings are in `existing` now.
    fn fold(&mut self, text: &OsStr) -> Result<bool, MergeError> {
        let refuse = |reason| MergeError::Option { option: SMBIOS, reason };
        let parameters = parameters(text.as_bytes(), b"");
        if parameters.iter().any(is_flag_that_matters) {
            return Err(refuse("one of 'file', 'type', 'value' and 'path' is there without a value"));
        }
        // Of several the last counts.
        if let Some(file) = parameters.iter().rfind(|p| p.name == b"file").and_then(|p| p.value.as_ref()) {
            self.look_into(file)?;
            return Ok(false);
        }
        let kind = parameters.iter().rfind(|p| p.name == b"type").and_then(|p| p.value.as_deref());
        let Some(kind) = kind.and_then(number) else {
            return Err(refuse("it has neither 'type=NUMBER' nor 'file='"));
        };
        if kind != u64::from(OEM_STRINGS) {
            self.others += text.len();
            return Ok(false);
        }
        for Parameter { name, value } in parameters {
            let value = value.unwrap_or_default();
            let string = match name.as_slice() {
                b"type" => continue,
                b"value" => Secret::from(value),
                b"path" => read_file("-smbios type=11,path=", &value, VALUE_MAX)?,
                _ => {
                    return Err(refuse(
                        "type=11 takes 'value=' and 'path=' alone; a ',' in a string is written ',,'",
                    ));
                }
            };
            // QEMU leaves an empty string out of the set, and counts it.
            if !string.is_empty() {
                self.existing.kept.push(string);
            }
        }
        Ok(true)
    }

    /// Looks into a file of structures, which stays where it is.
    fn look_into(&mut self, file: &[u8]) -> Result<(), MergeError> {
        let bytes = read_file("-smbios file=", file, FILE_MAX)?;
        self.others += bytes.len();
        let table = Table::parse(b"", bytes.expose().to_vec());
        self.handles.extend(table.structures().iter().map(|structure| structure.handle));
        for structure in table.oem_structures() {
            let strings = structure.strings().filter(|(_, string)| !string.is_empty());
            self.existing.elsewhere.extend(strings.map(|(_, string)| Secret::from(string.to_vec())));
        }
        Ok(())
    }

    /// Takes out the strings that are there.
    pub fn take_existing(&mut self) -> Existing {
        std::mem::take(&mut self.existing)
    }

    /// Bytes that other options add to the table, at most.
    #[must_use]
    pub fn others(&self) -> usize {
        self.others
    }

    /// What there is to say about the other options.
    #[must_use]
    pub fn warnings(&self) -> &[&'static str] {
        &self.warnings
    }

    /// Names of credentials that are passed by `fw_cfg` as well.
    #[must_use]
    pub fn copies(&self, strings: &OemStrings) -> Vec<Name> {
        fw_cfg::chosen(strings, self.fw_cfg.len())
    }

    /// Adds one file a structure, and one for each of [`Self::copies`].
    ///
    /// # Errors
    /// [`MergeError`], if a name is sent as a `fw_cfg` file as well.
    pub fn merge(self, strings: &OemStrings) -> Result<Vec<Argument>, MergeError> {
        for (name, _, _) in strings.credentials() {
            let file = [fw_cfg::FOLDER.as_bytes(), name.as_str().as_bytes()].concat();
            if self.fw_cfg.contains(&file) {
                return Err(MergeError::FwCfg(name.clone()));
            }
        }
        let structures = strings.structures_beside(&self.handles)?;
        let copies = self.copies(strings);
        let mut arguments: Vec<Argument> = self.arguments.into_iter().map(Argument::Public).collect();
        for structure in structures {
            arguments.push(Argument::Public(SMBIOS.into()));
            arguments.push(Argument::Files(vec![Part::Text("file=".into()), Part::File(structure)]));
        }
        let copies = copies.iter().filter_map(|name| strings.credential(name));
        arguments.extend(copies.flat_map(fw_cfg::option));
        Ok(arguments)
    }
}

/// The value of `-smbios` that gives QEMU the strings on its command line, for others who start it.
#[must_use]
pub fn option(strings: &OemStrings) -> Secret {
    let mut parts: Vec<&[u8]> = vec![b"type=11"];
    for text in strings.texts() {
        parts.push(b",value=");
        for (index, piece) in text.split(|&byte| byte == b',').enumerate() {
            if index > 0 {
                parts.push(b",,");
            }
            parts.push(piece);
        }
    }
    parts.concat().into()
}

/// An option that matters here, in one spelling.
fn our_option(name: &[u8]) -> Option<&'static str> {
    match name {
        b"smbios" => Some(SMBIOS),
        b"M" | b"machine" => Some("-machine"),
        b"fw_cfg" => Some("-fw_cfg"),
        _ => None,
    }
}

/// QEMU takes a name alone for `name=on`, and `noname` for `name=off`. That is never meant here.
fn is_flag_that_matters(parameter: &Parameter) -> bool {
    let name = parameter.name.strip_prefix(b"no").unwrap_or(&parameter.name);
    parameter.value.is_none() && matches!(name, b"file" | b"type" | b"value" | b"path")
}

/// Whether an option brings firmware, without which `virt` machines have no SMBIOS.
fn is_firmware(name: &[u8], value: &OsStr) -> bool {
    match name {
        b"bios" | b"pflash" => true,
        b"drive" => mentions(value, b"if=pflash"),
        b"M" | b"machine" => mentions(value, b"pflash0="),
        _ => false,
    }
}

fn mentions(value: &OsStr, word: &[u8]) -> bool {
    value.as_bytes().windows(word.len()).any(|window| window == word)
}

/// What there is to say about an option that cannot be decided here.
fn warning(name: &[u8], value: &OsStr) -> Option<&'static str> {
    let is_guard = |word: &&[u8]| value.as_bytes().starts_with(word);
    match name {
        b"readconfig" => Some(
            "the file given with -readconfig is not looked at: if it sets the machine to microvm, the guest has no \
             SMBIOS",
        ),
        b"incoming" | b"loadvm" => Some(
            "a machine that is migrated or restored keeps the SMBIOS table it was started with: it gets these \
             credentials when it is reset, at the earliest",
        ),
        b"object" if [&b"sev-guest"[..], b"sev-snp-guest", b"tdx-guest"].iter().any(is_guard) => Some(
            "this is a confidential VM, which does not trust its host: its guest takes no credential from SMBIOS \
             unless it is told to",
        ),
        _ => None,
    }
}

/// Refuses machines on which strings would be lost without a word.
fn check_machine(architecture: &str, machine: Option<&[u8]>, firmware: bool) -> Result<(), MergeError> {
    let refuse = |reason: &str| Err(MergeError::NoSmbios(reason.to_owned()));
    let machine =
        machine.map(OsStr::from_bytes).map(|machine| OsString::from_vec(machine.as_bytes().to_vec()));
    let machine = machine.as_ref().map(|machine| machine.to_string_lossy());
    match (architecture, machine.as_deref()) {
        (_, Some("microvm")) => refuse(
            "QEMU's machine 'microvm' has no SMBIOS, and ignores -smbios without a word: use -M q35 or -M pc \
             (microvm.nix: microvm.qemu.machine = \"q35\"), or pass files with -fw_cfg \
             name=opt/io.systemd.credentials/NAME,file=PATH",
        ),
        (_, Some("none")) => refuse("QEMU's machine 'none' has no SMBIOS"),
        ("x86_64" | "i386", _) => Ok(()),
        ("aarch64" | "arm" | "riscv32" | "riscv64" | "loongarch64", machine) => {
            let is_virt = machine.map_or(architecture == "loongarch64", |machine| {
                machine == "virt" || machine.starts_with("virt-")
            });
            if !is_virt {
                refuse("on this architecture, QEMU has SMBIOS in its machine 'virt' alone: use -M virt")
            } else if firmware {
                Ok(())
            } else {
                refuse(
                    "QEMU's machine 'virt' hands SMBIOS to the guest through UEFI firmware alone: give it one with \
                     -bios or -drive if=pflash",
                )
            }
        }
        _ => refuse("QEMU has no SMBIOS on this architecture"),
    }
}
