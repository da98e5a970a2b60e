//! This program passes SMBIOS structures to QEMU in files (`-smbios file=PATH`). If the machine has no SMBIOS, this
//! program passes the credentials to QEMU as `fw_cfg` items.
//!
//! QEMU does not accept `-smbios type=11` together with a file of structures, so this program moves the strings of an
//! existing `type=11` option into its own structures. Each file contains one structure. If the table has a 32-bit entry
//! point, a second structure in the same file makes the table one structure longer than the entry point says, and the
//! guest loses the end of the table (the recording of such a table is `testdata/qemu-7.2-no-end-marker`).
//!
//! The module `syntax` describes how QEMU reads options. `smbios_entry_add()` in `hw/smbios/smbios.c` shows the meaning
//! of `-smbios`. QEMU ignores a section `[smbios]` of a configuration file (measured with QEMU 7.2), so the strings of
//! such a section need not be moved.

mod config;
pub mod fw_cfg;
mod machine;
mod syntax;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use self::machine::Machine;
use self::syntax::{Item, Parameter, SMBIOS, Settings, items, number};
use super::argument::{Argument, Part};
use super::error::MergeError;
use super::line::{Channel, CommandLine, Features, Hypervisor, Line, Written, plain_name, read_file};
use crate::format::credential::{Secret, VALUE_MAX};
use crate::format::fw_cfg::kind;
use crate::format::smbios::{OEM_STRINGS, Table};
use crate::host::capacity::{Counted, Excess, FEWER, Limit, Route, Structures, Unit};
use crate::host::strings::{OemStrings, Origin, copy};

/// Maximum size of the table with all SMBIOS structures of a QEMU machine.
///
/// This is the limit of a 32-bit entry point. With a 64-bit entry point, QEMU has no limit, but SeaBIOS up to 1.16.3
/// cuts the table to its size modulo 65,536. QEMU 9.0 and newer changes from the 32-bit to the 64-bit entry point
/// automatically if the table is too large for the 32-bit one.
pub const TABLE_LIMIT: Limit = Limit {
    name: "QEMU: size of the structure table",
    unit: Unit::Bytes,
    maximum: 65_535,
    above: "QEMU refuses to start, or its firmware cuts the table",
    advice: FEWER,
    source: "smbios_validate_table(), QEMU hw/smbios/smbios.c; u16 in SeaBIOS src/fw/biostables.c before 1.17.0",
    counts: Counted::Structures,
    excess: Excess::Refuse,
};

/// Maximum size of the table that SeaBIOS makes for machine types up to `pc-i440fx-2.0`. SeaBIOS omits a structure that
/// does not fit.
pub const OLD_TABLE_LIMIT: Limit = Limit {
    name: "QEMU: size of the structure table of machine types before 2.1",
    unit: Unit::Bytes,
    maximum: 32_768,
    above: "SeaBIOS omits structures",
    advice: "use a newer machine type, or send fewer or smaller credentials",
    source: "TEMPSMBIOSSIZE, SeaBIOS src/fw/biostables.c; measured with QEMU 7.2 and SeaBIOS 1.16.2",
    counts: Counted::Structures,
    excess: Excess::Refuse,
};

/// Bytes of a table that QEMU and its firmware need for their own structures.
///
/// Without further options, QEMU's structures need 330 bytes, and SeaBIOS's Type 0 structure needs 67 bytes (measured).
/// Each additional CPU socket needs about 100 bytes, and each 16 GiB of memory needs about 50 bytes. So 4096 bytes are
/// enough for a machine with four CPU sockets and 1 TiB of memory.
pub const OWN_STRUCTURES: usize = 4096;

/// A part of QEMU's help text (`smbios` in `qemu-options.hx`). The executable file of every QEMU contains this text,
/// whatever its architecture.
const WORD: &str = "-smbios file=binary";

/// Maximum size, in bytes, of a file of structures that is read.
const FILE_MAX: usize = 65_535;

/// Returns the route of structures that QEMU reads from files. Other `-smbios` options add `others` bytes to the table.
#[must_use]
pub fn route(others: usize) -> Route {
    Route { structures: Structures::Packed, limits: vec![(&TABLE_LIMIT, OWN_STRUCTURES + others)] }
}

/// Returns the route of structures that QEMU reads from files, for machine types up to `pc-i440fx-2.0`.
fn old_route(others: usize) -> Route {
    Route { structures: Structures::Packed, limits: vec![(&OLD_TABLE_LIMIT, OWN_STRUCTURES + others)] }
}

/// Returns the guest's name from QEMU's arguments (`-name`), with each `,,` replaced by `,`. If there are several
/// names, returns the last one.
#[must_use]
pub fn guest_name(arguments: &[OsString]) -> Option<Vec<u8>> {
    let name_of = |item| match item {
        Item::Option { name: b"name", value, .. } => {
            Settings::of_option(b"name", value.as_bytes()).last(b"guest").map(<[u8]>::to_vec)
        }
        _ => None,
    };
    items(arguments).map_while(Result::ok).filter_map(name_of).last()
}

/// The hypervisor QEMU.
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
        "-smbios file=, in memory-only files that only QEMU has"
    }

    fn receiver_word(&self) -> Option<&'static str> {
        Some(WORD)
    }

    fn always_reads_files(&self) -> bool {
        true
    }

    /// If the program's executable file contains `WORD`, the program is QEMU itself. Otherwise, it is a wrapper, which
    /// must not inherit the files with the credentials.
    fn questions(&self) -> &'static [&'static str] {
        &[WORD]
    }

    fn starts_no_guest(&self, arguments: &[OsString]) -> bool {
        Machine::read(arguments).is_ok_and(|machine| machine.has_no_guest())
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

/// QEMU's command line.
#[derive(Debug)]
pub struct Options {
    line: Line,
    machine: Machine,
    channel: Channel,
    /// Handles of the structures in files that the command line names. New structures must have other handles.
    handles: Vec<u16>,
    /// Maximum number of bytes that other `-smbios` options add to the table.
    others: usize,
}

impl Options {
    /// Reads the arguments of a QEMU that emulates this architecture.
    ///
    /// # Errors
    /// [`MergeError`], if the machine would have no channel for credentials, or if an option cannot be read.
    pub fn read(architecture: &str, arguments: &[OsString]) -> Result<Self, MergeError> {
        let machine = Machine::read(arguments)?;
        let channel = machine.channel(architecture)?;
        let mut read = Self { line: Line::new(route(0)), machine, channel, handles: Vec::new(), others: 0 };
        for item in items(arguments) {
            let item = item?;
            match item {
                Item::Option { name: b"smbios", value, .. } if read.fold(value)? => {}
                Item::Option { name: b"fw_cfg", value, .. } if read.take_item(value)? => {}
                _ => read.line.arguments.extend(item.arguments().cloned()),
            }
        }
        read.line.warnings.extend(read.machine.warnings());
        read.line.at = read.line.arguments.len();
        read.line.route = read.route();
        Ok(read)
    }

    fn route(&self) -> Route {
        match self.channel {
            Channel::FwCfg => {
                let others = self.machine.fw_cfg.iter().filter(|path| kind(path).is_none()).count();
                fw_cfg::route(self.machine.fw_cfg_slots, others)
            }
            Channel::Smbios if self.machine.has_old_table() => old_route(self.others),
            Channel::Smbios => route(self.others),
        }
    }

    /// Reads a `-fw_cfg` option. Returns true if the option's credential is now in `existing`. The caller must then
    /// omit the option itself.
    fn take_item(&mut self, text: &OsStr) -> Result<bool, MergeError> {
        let item = fw_cfg::read(&Settings::of_option(b"fw_cfg", text.as_bytes()))?;
        let is_ours = item.is_some();
        self.line.existing.items.extend(item);
        Ok(is_ours)
    }

    /// Reads an `-smbios` option. Returns true if the option's strings are now in `existing`. The caller must then omit
    /// the option itself.
    fn fold(&mut self, text: &OsStr) -> Result<bool, MergeError> {
        let refuse = |reason, help| MergeError::Option { option: SMBIOS, reason, help };
        let settings = Settings::of_option(b"smbios", text.as_bytes());
        if settings.parameters.iter().any(is_flag_that_matters) {
            return Err(refuse("one of 'file', 'type', 'value' and 'path' has no value", None));
        }
        if let Some(file) = settings.last(b"file") {
            if self.channel == Channel::FwCfg {
                return Err(refuse(
                    "this machine has no SMBIOS, and QEMU ignores the file",
                    Some("remove the option"),
                ));
            }
            self.look_into(file)?;
            return Ok(false);
        }
        let Some(kind) = settings.last(b"type").and_then(number) else {
            return Err(refuse("it has neither 'type=NUMBER' nor 'file='", None));
        };
        if kind != u64::from(OEM_STRINGS) {
            self.others += text.len();
            return Ok(false);
        }
        for Parameter { name, value } in settings.parameters {
            let value = value.unwrap_or_default();
            let string = match &*name {
                b"type" => continue,
                b"value" => (Secret::from(value.into_owned()), Origin::CommandLine),
                b"path" => (read_file("-smbios type=11,path=", &value, VALUE_MAX)?, Origin::File),
                _ => {
                    return Err(refuse(
                        "type=11 accepts only 'value=' and 'path='",
                        Some("write a ',' in a string as ',,'"),
                    ));
                }
            };
            // QEMU does not write an empty string to the structure, but includes it in the structure's count byte. So
            // this program omits empty strings.
            if !string.0.is_empty() {
                self.line.existing.kept.push(string);
            }
        }
        Ok(true)
    }

    /// Reads a file of structures. The option that names the file stays on the command line.
    fn look_into(&mut self, file: &[u8]) -> Result<(), MergeError> {
        let bytes = read_file("-smbios file=", file, FILE_MAX)?;
        self.others += bytes.len();
        if self.machine.has_old_table() && bytes.expose().ends_with(&[0, 0]) {
            let reason = "its file ends with two NUL bytes: for machine types before 2.1, SeaBIOS adds a third and \
                          loses the structures after it";
            let help = Some("use a newer machine type, or remove the last byte of the file");
            return Err(MergeError::Option { option: SMBIOS, reason, help });
        }
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

    /// Adds one option for each structure, and one option for each credential in a `fw_cfg` item. Each of these options
    /// names a file.
    fn write(self: Box<Self>, strings: &OemStrings) -> Result<Written, MergeError> {
        if self.channel == Channel::FwCfg {
            return Ok(self.line.with(fw_cfg::all(strings)?).into());
        }
        let structures = strings.structures_beside(&self.handles)?;
        let has_old_table = self.machine.has_old_table();
        let structures = structures.into_iter().flat_map(|structure| {
            let structure = if has_old_table { without_last_nul(&structure) } else { structure };
            let file = Argument::Files(vec![Part::Text("file=".into()), Part::File(structure)]);
            [Argument::Public(SMBIOS.into()), file]
        });
        let copies = fw_cfg::chosen(strings, self.machine.fw_cfg.len());
        let items = strings.items().map(|(credential, _)| copy(credential));
        let items =
            items.chain(copies.iter().filter_map(|name| strings.credential(name))).flat_map(fw_cfg::option);
        let arguments = self.line.with(structures.chain(items));
        Ok(Written { arguments, copies })
    }
}

/// Writes the value of `-smbios` with the strings in plain text, for programs that start QEMU themselves.
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

/// Returns a structure without its last NUL, for QEMU's machine types up to 2.0. SeaBIOS adds a NUL to each structure.
/// With one NUL too many, SeaBIOS would read the next structure from a wrong position
/// (`qemu_cfg_smbios_load_external()`, SeaBIOS `src/fw/paravirt.c`).
fn without_last_nul(structure: &Secret) -> Secret {
    let bytes = structure.expose();
    Secret::from(bytes.strip_suffix(b"\0").unwrap_or(bytes).to_vec())
}

/// Whether a parameter has no value, but needs one. QEMU reads a name without a value as `name=on`, and a name with the
/// prefix `no` as `name=off`. For `file`, `type`, `value` and `path`, neither `on` nor `off` is a useful value.
fn is_flag_that_matters(parameter: &Parameter) -> bool {
    let name = parameter.name.strip_prefix(b"no").unwrap_or(&parameter.name);
    parameter.value.is_none() && matches!(name, b"file" | b"type" | b"value" | b"path")
}

/// Returns the architecture that a QEMU program emulates, which is part of the program's name.
fn architecture(program: &Path) -> &str {
    let name = plain_name(program).strip_prefix(b"qemu-system-");
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    // Distributions add suffixes: `x86_64.real`, `x86_64-headless`.
    name.and_then(|name| name.split(['.', '-']).next()).unwrap_or(std::env::consts::ARCH)
}
