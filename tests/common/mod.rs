//! What the tests share: an independent walker, tables made to order, and the agent as a process.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part of this")]

pub mod host;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use smbios_creds::base64;
use smbios_creds::credential::{Credential, Name};
use smbios_creds::guest::delivery::Delivery;
use smbios_creds::guest::verify::{Policy, verify};
use smbios_creds::smbios::Table;

/// A structure as the independent walker sees it.
pub struct Walked {
    pub kind: u8,
    pub handle: u16,
    pub length: u8,
    pub formatted: Vec<u8>,
    pub strings: Vec<Vec<u8>>,
}

/// Walks a table by DSP0134 §6.1 alone, without smbios-lib and without a line of ours.
pub fn walk(data: &[u8], ends_at_127: bool) -> Vec<Walked> {
    let mut structures = Vec::new();
    let mut rest = data;
    while rest.len() >= 4 && rest[1] >= 4 && rest.len() > usize::from(rest[1]) {
        let (formatted, strings) = rest.split_at(rest[1].into());
        let Some(end) = strings.windows(2).position(|pair| pair == [0, 0]) else { break };
        structures.push(Walked {
            kind: formatted[0],
            handle: u16::from_le_bytes([formatted[2], formatted[3]]),
            length: formatted[1],
            formatted: formatted.to_vec(),
            strings: strings[..end].split(|&b| b == 0).map(<[u8]>::to_vec).filter(|_| end > 0).collect(),
        });
        rest = &strings[end + 2..];
        if ends_at_127 && formatted[0] == 127 {
            break;
        }
    }
    structures
}

/// A structure with its string set.
pub fn structure(kind: u8, formatted: &[u8], strings: &[&[u8]]) -> Vec<u8> {
    let length = u8::try_from(4 + formatted.len()).unwrap();
    let mut bytes = vec![kind, length, kind, 0x0e];
    bytes.extend_from_slice(formatted);
    for string in strings {
        bytes.extend_from_slice(string);
        bytes.push(0);
    }
    bytes.extend_from_slice(if strings.is_empty() { &[0, 0] } else { &[0] });
    bytes
}

/// A Type 11 structure that announces as many strings as it has.
pub fn oem(strings: &[&[u8]]) -> Vec<u8> {
    structure(11, &[u8::try_from(strings.len() % 256).unwrap()], strings)
}

/// The end-of-table structure.
pub const END: &[u8] = &[127, 4, 0, 0xfe, 0, 0];

/// A table of these strings in one structure, with an end.
pub fn table(strings: &[&[u8]]) -> Vec<u8> {
    [oem(strings).as_slice(), END].concat()
}

/// A 64-bit entry point for a table of this size.
pub fn entry_point_3(size: usize) -> Vec<u8> {
    let mut bytes = b"_SM3_\0\x18\x03\x02\0\x01\0".to_vec();
    bytes.extend_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
    bytes.extend_from_slice(&0xf_0018_u64.to_le_bytes());
    bytes[5] = checksum(&bytes);
    bytes
}

/// A 32-bit entry point of this length (30, 31 or 32) for a table of this size and number of structures.
pub fn entry_point_2(length: u8, size: usize, structures: usize) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    bytes[..8].copy_from_slice(&[b'_', b'S', b'M', b'_', 0, length, 2, 8]);
    bytes[16..21].copy_from_slice(b"_DMI_");
    bytes[22..24].copy_from_slice(&u16::try_from(size).unwrap().to_le_bytes());
    bytes[28..30].copy_from_slice(&u16::try_from(structures).unwrap().to_le_bytes());
    bytes[21] = checksum(&bytes[16..31]);
    bytes.truncate(length.into());
    bytes[4] = checksum(&bytes);
    bytes
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte))
}

/// A parsed table behind a healthy 64-bit entry point.
pub fn parse(data: &[u8]) -> Table {
    Table::parse(&entry_point_3(data.len()), data.to_vec())
}

/// The verdict on a table behind a healthy 64-bit entry point, under the default policy.
pub fn verdict(data: &[u8]) -> Delivery {
    verify(&parse(data), &Policy::default())
}

/// Codes of all findings, as JSON has them.
pub fn codes(delivery: &Delivery) -> Vec<String> {
    let code = |finding: &smbios_creds::guest::finding::Finding| {
        serde_json::to_value(&finding.kind).unwrap()["code"].as_str().unwrap().to_owned()
    };
    delivery.findings.iter().map(code).collect()
}

/// Name and value of everything that is handed out.
pub fn intact(delivery: &Delivery) -> Vec<(&str, &[u8])> {
    delivery.intact().map(|c| (c.name.as_str(), c.value.expose())).collect()
}

pub fn credential(name: &str, value: &[u8]) -> Credential {
    Credential::new(Name::new(name).unwrap(), value.to_vec())
}

/// A folder with a recording of this table behind a healthy 64-bit entry point.
pub fn recording(data: &[u8]) -> tempfile::TempDir {
    recording_with(&entry_point_3(data.len()), data)
}

pub fn recording_with(entry_point: &[u8], data: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("smbios_entry_point"), entry_point).unwrap();
    std::fs::write(folder.path().join("DMI"), data).unwrap();
    // For tests that run the agent as somebody else.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

pub fn testdata(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(case)
}

/// The agent.
pub fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smbios-creds"));
    command.args(arguments).env_remove("CREDENTIALS_DIRECTORY").env_remove("JOURNAL_STREAM");
    command
}

/// An example, which cargo builds beside the tests: target/debug/deps/this -> target/debug/examples/NAME.
pub fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let path = this.parent().unwrap().with_file_name("examples").join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// Runs the agent on a recording.
pub fn run_on(folder: &Path, verb: &[&str]) -> Output {
    run(agent(verb).arg("--from").arg(folder))
}

pub fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("killed: {:?}", output.status))
}

/// Not to be found anywhere else: it is made when the test runs.
pub fn canary() -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{:024x}", now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15) & (u128::MAX >> 32)).into_bytes()
}

/// Whether the canary is there: as it is, in hex, or in base64.
pub fn holds(bytes: &[u8], canary: &[u8]) -> bool {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    let hex: Vec<u8> = canary.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    // As base64 it looks different at each of three offsets; the middle is independent of what surrounds it.
    let shifted = (0..3).map(|offset| {
        let text = base64::encode(&[&vec![0; offset], canary].concat());
        text[4..text.len() - 4].as_bytes().to_vec()
    });
    [canary.to_vec(), hex]
        .into_iter()
        .chain(shifted)
        .any(|needle| bytes.windows(needle.len()).any(|window| window == needle))
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
