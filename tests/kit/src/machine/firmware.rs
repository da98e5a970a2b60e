//! Reads the SMBIOS table that QEMU gives to its firmware, without a boot.
//!
//! QEMU is started with its processors stopped, and asked over its test protocol (`softmmu/qtest.c`) for two files of
//! `fw_cfg`. In a boot, the firmware would add a Type 0 structure to the table, and the address and checksums to the
//! entry point.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use crate::table::summed;

/// Ports of `fw_cfg` on a PC, and the number of its directory (QEMU `docs/specs/fw_cfg.rst`).
const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DIRECTORY: u16 = 0x19;

/// Bytes of an entry in the directory: size, number, and a name of 56 bytes.
const ENTRY: usize = 64;

struct Ports {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Ports {
    fn answer(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "QEMU has ended");
            if let Some(value) = line.strip_prefix("OK") {
                return value.trim().to_owned();
            }
        }
    }

    fn select(&mut self, file: u16) {
        writeln!(self.input, "outw {SELECTOR:#x} {file:#x}").unwrap();
        self.answer();
    }

    fn read(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size);
        // At most 512 questions are sent at once, so that questions and answers fit into their pipes.
        while bytes.len() < size {
            let count = (size - bytes.len()).min(512);
            self.input.write_all(format!("inb {DATA:#x}\n").repeat(count).as_bytes()).unwrap();
            for _ in 0..count {
                let value = self.answer();
                bytes.push(u8::from_str_radix(value.strip_prefix("0x").unwrap(), 16).unwrap());
            }
        }
        bytes
    }

    /// Reads a file of `fw_cfg` by its name.
    fn file(&mut self, name: &str) -> Vec<u8> {
        self.select(DIRECTORY);
        let count = u32::from_be_bytes(self.read(4).try_into().unwrap());
        for _ in 0..count {
            let entry = self.read(ENTRY);
            if entry[8..].strip_prefix(name.as_bytes()).is_some_and(|rest| rest[0] == 0) {
                let size = u32::from_be_bytes(entry[..4].try_into().unwrap());
                self.select(u16::from_be_bytes(entry[4..6].try_into().unwrap()));
                return self.read(usize::try_from(size).unwrap());
            }
        }
        panic!("QEMU has no {name}");
    }
}

/// Returns the entry point and the table that QEMU makes for a machine of this kind with these arguments.
pub fn table_of(kind: &str, arguments: &[String]) -> (Vec<u8>, Vec<u8>) {
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-machine", kind, "-accel", "tcg", "-S", "-nodefaults", "-display", "none", "-m", "64"])
        .args(["-qtest", "stdio", "-qtest-log", "/dev/null"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("QEMU is needed, ./tests/prepare installs it: {error}"));
    let mut ports =
        Ports { input: qemu.stdin.take().unwrap(), output: BufReader::new(qemu.stdout.take().unwrap()) };
    let table = ports.file("etc/smbios/smbios-tables");
    let entry_point = summed(ports.file("etc/smbios/smbios-anchor"));
    qemu.kill().unwrap();
    qemu.wait().unwrap();
    (entry_point, table)
}
