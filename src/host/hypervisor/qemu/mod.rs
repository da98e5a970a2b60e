//! QEMU: structures of ours in files, `-smbios file=PATH`.
//!
//! QEMU takes no `-smbios type=11` beside such a file, so strings that are there are folded into our structures. One
//! structure a file: behind a 32-bit entry point, a second one in the same file makes the table one structure longer
//! than announced, and its end is left out (recorded as `qemu-7.2-no-end-marker`).
//!
//! How options are read is in `qemu_option`, what these mean in `smbios_entry_add()`, `hw/smbios/smbios.c`.

pub mod fw_cfg;
mod option;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use self::option::{Parameter, is_flag, number, option_name, parameters};
use super::argument::{Argument, Part};
use super::error::MergeError;
use super::line::{CommandLine, Features, Hypervisor, Line, Written, plain_name, read_file};
use crate::format::credential::{Secret, VALUE_MAX};
use crate::format::smbios::{OEM_STRINGS, Table};
use crate::format::systemd::FW_CFG_DIRECTORY;
use crate::host::capacity::{Counted, Excess, FEWER, Limit, Route, Structures, Unit};
use crate::host::strings::OemStrings;

/// QEMU's structure table.
///
/// It is the limit of a 32-bit entry point. With a 64-bit one QEMU knows no limit, but SeaBIOS up to 1.16.3 copies
/// the size modulo 65,536, and QEMU 9.0 and newer changes from one to the other by itself.
pub const TABLE_LIMIT: Limit = Limit {
    name: "QEMU: structure table",
    unit: Unit::Bytes,
    maximum: 65_535,
    above: "QEMU refuses to start, or its firmware cuts the table",
    advice: FEWER,
    source: "smbios_validate_table(), QEMU hw/smbios/smbios.c; u16 in SeaBIOS src/fw/biostables.c before 1.17.0",
    counts: Counted::Structures,
    excess: Excess::Refuse,
};

/// Bytes of a table that QEMU and its firmware need for structures of their own.
///
/// Measured without further options: 330 bytes, and 67 for the Type 0 of SeaBIOS. Each further socket takes about
/// 100 bytes and each 16 GiB of memory about 50, so this is enough for a terabyte on four sockets.
pub const OWN_STRUCTURES: usize = 4096;

const SMBIOS: &str = "-smbios";

/// Largest file of structures that is read.
const FILE_MAX: usize = 65_535;

/// The way of structures in files, where other options add so many bytes to the table.
#[must_use]
pub fn route(others: usize) -> Route {
    Route { structures: Structures::Packed, limits: vec![(&TABLE_LIMIT, OWN_STRUCTURES + others)] }
}

/// QEMU.
#[derive(Debug)]
pub struct Qemu;

impl Hypervisor for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn is_program(&self, file_name: &[u8]) -> bool {
        file_name.starts_with(b"qemu-system-") || matches!(file_name, b"qemu-kvm" | b"qemu" | b"kvm")
    }

    fn about(&self) -> &'static str {
        "-smbios file=, in memory-only files"
    }

    fn read(
        &self,
        program: &Path,
        arguments: &[OsString],
        _: &Features,
    ) -> Result<Box<dyn CommandLine>, MergeError> {
        Ok(Box::new(Options::read(architecture(program), arguments)?))
    }
}

/// Its command line.
#[derive(Debug)]
pub struct Options {
    line: Line,
    /// Handles of structures that files bring.
    handles: Vec<u16>,
    /// Names of `fw_cfg` files.
    fw_cfg: BTreeSet<Vec<u8>>,
    /// Bytes that other options add to the table, at most.
    others: usize,
}

impl Options {
    /// Reads the arguments of a QEMU that emulates this architecture.
    ///
    /// # Errors
    /// [`MergeError`], if the machine would have no SMBIOS, or an option cannot be read.
    pub fn read(architecture: &str, arguments: &[OsString]) -> Result<Self, MergeError> {
        let (line, handles, fw_cfg) = (Line::new(route(0)), Vec::new(), BTreeSet::new());
        let mut read = Self { line, handles, fw_cfg, others: 0 };
        let mut machine = None;
        let mut firmware = false;
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(name) = option_name(argument).filter(|name| !is_flag(name)) else {
                read.line.arguments.push(argument.clone());
                continue;
            };
            let ours = our_option(name);
            let Some(value) = rest.next() else {
                if let Some(option) = ours {
                    return Err(MergeError::NoValue { option });
                }
                read.line.arguments.push(argument.clone());
                break;
            };
            if let Some(option) = option_name(value).filter(|name| our_option(name).is_some()) {
                let (before, option) = (argument.as_bytes().to_vec(), [b"-", option].concat());
                return Err(MergeError::Ambiguous { before, option });
            }
            firmware |= is_firmware(name, value);
            match ours {
                Some(SMBIOS) if read.fold(value)? => continue,
                Some("-machine") => {
                    let kind = parameters(value.as_bytes(), b"type").into_iter().rev();
                    machine = kind.filter(|p| p.name == b"type").find_map(|p| p.value).or(machine);
                }
                Some("-fw_cfg") => {
                    let name = parameters(value.as_bytes(), b"name").into_iter().rfind(|p| p.name == b"name");
                    read.fw_cfg.extend(name.and_then(|p| p.value));
                }
                Some(_) | None => read.line.warnings.extend(warning(name, value)),
            }
            read.line.arguments.extend([argument.clone(), value.clone()]);
        }
        check_machine(architecture, machine.as_deref(), firmware)?;
        read.line.at = read.line.arguments.len();
        read.line.route = route(read.others);
        Ok(read)
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
                self.line.existing.kept.push(string);
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
            self.line.existing.elsewhere.extend(strings.map(|(_, string)| Secret::from(string.to_vec())));
        }
        Ok(())
    }
}

impl CommandLine for Options {
    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    /// Adds one file a structure, and one for each credential that is passed by `fw_cfg` as well.
    fn write(self: Box<Self>, strings: &OemStrings) -> Result<Written, MergeError> {
        for (name, _, _) in strings.credentials() {
            let file = [FW_CFG_DIRECTORY.as_bytes(), name.as_str().as_bytes()].concat();
            if self.fw_cfg.contains(&file) {
                return Err(MergeError::FwCfg(name.clone()));
            }
        }
        let structures = strings.structures_beside(&self.handles)?;
        let structures = structures.into_iter().flat_map(|structure| {
            let file = Argument::Files(vec![Part::Text("file=".into()), Part::File(structure)]);
            [Argument::Public(SMBIOS.into()), file]
        });
        let copies = fw_cfg::chosen(strings, self.fw_cfg.len());
        let files = copies.iter().filter_map(|name| strings.credential(name)).flat_map(fw_cfg::option);
        Ok(Written { arguments: self.line.with(structures.chain(files)), copies })
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

/// Which architecture a QEMU emulates, by its name.
fn architecture(program: &Path) -> &str {
    let name = plain_name(program).strip_prefix(b"qemu-system-");
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    // Distributions add to it: `x86_64.real`, `x86_64-headless`.
    name.and_then(|name| name.split(['.', '-']).next()).unwrap_or(std::env::consts::ARCH)
}
