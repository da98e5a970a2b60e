//! What the tests of the host's program share: credentials directories, plans, and the verification in a guest.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use crate::options::{ch_list, crosvm_list, file_number, qemu_smbios};
use smbios_creds::format::credential::{Credential, Name, Secret};
use smbios_creds::format::smbios::Table;
use smbios_creds::guest::verify::delivery::Delivery;
use smbios_creds::guest::verify::policy::{ManifestPolicy, Policy};
use smbios_creds::guest::verify::set::verify_table;
use smbios_creds::host::hypervisor::{Argument, Features, Hypervisor, Part, cloud_hypervisor, crosvm, qemu};
use smbios_creds::host::plan::{Order, Plan, PlanError};
use smbios_creds::host::supply::Sent;
use smbios_creds::text::help::Help as _;

/// Makes a directory with one file for each credential.
pub fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in files {
        std::fs::write(folder.path().join(name), value).unwrap();
    }
    folder
}

/// Returns a command that runs the host's program (`smbios-creds-host`).
pub fn host(arguments: &[&str]) -> Command {
    let mut command = Command::new(crate::program("smbios-creds-host"));
    command.args(arguments).env_remove("CREDENTIALS_DIRECTORY").env_remove("JOURNAL_STREAM");
    command
}

/// Returns the same command with this credentials directory.
pub fn host_with(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = host(arguments);
    command.env("CREDENTIALS_DIRECTORY", directory);
    command
}

/// Makes a copy of the shell that contains these words, in a directory of its own. The host's program takes the copy
/// for the hypervisor whose program file has these words.
pub fn shell_with(words: &str) -> (tempfile::TempDir, PathBuf) {
    program_with("/bin/sh", words)
}

/// The text in a program file by which the host's program recognizes QEMU.
pub const QEMU_WORD: &str = "-smbios file=binary";

/// Makes a copy of an ELF program with these words at the end of its file, in a directory of its own.
pub fn program_with(program: &str, words: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    let image = [std::fs::read(program).unwrap(), words.into()].concat();
    crate::write_program(&path, image, 0o755);
    (directory, path)
}

pub fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

pub static QEMU: &dyn Hypervisor = &qemu::Qemu;
pub static CLOUD_HYPERVISOR: &dyn Hypervisor = &cloud_hypervisor::CloudHypervisor;
pub static CROSVM: &dyn Hypervisor = &crosvm::Crosvm;

/// Returns an order to start this hypervisor with these arguments and credentials.
pub fn order(hypervisor: &'static dyn Hypervisor, arguments: &[&str], credentials: Vec<Credential>) -> Order {
    Order {
        hypervisor,
        program: PathBuf::from(match hypervisor.name() {
            "qemu" => "qemu-system-x86_64",
            name => name,
        }),
        argv0: "argv0".into(),
        arguments: arguments.iter().map(OsString::from).collect(),
        features: Features::default(),
        sends: Sent::Credentials(credentials, Vec::new()),
        allow_empty: Vec::new(),
        allow_argv: false,
        receipt: None,
    }
}

/// Returns a plan with one credential.
///
/// # Errors
/// Returns the errors of [`Plan::new`].
pub fn plan(hypervisor: &'static dyn Hypervisor, arguments: &[&str]) -> Result<Plan, PlanError> {
    Plan::new(order(hypervisor, arguments, vec![crate::credential("db", b"secret")]))
}

/// Returns the message of the error with which a plan is refused.
pub fn refusal(hypervisor: &'static dyn Hypervisor, arguments: &[&str]) -> String {
    let Err(error) = plan(hypervisor, arguments) else { panic!("{arguments:?} is not refused") };
    error.on_one_line()
}

/// Returns the arguments as the hypervisor gets them, and the content of the files that the arguments name.
pub fn render(arguments: &[Argument]) -> (Vec<String>, Vec<Vec<u8>>) {
    let mut files = Vec::new();
    let text = |text: &OsString| text.to_str().unwrap().to_owned();
    let mut file = |content: &Secret| {
        files.push(content.expose().to_vec());
        format!("/proc/self/fd/{}", files.len() - 1)
    };
    let mut part = |part: &Part| match part {
        Part::Text(part) => text(part),
        Part::File(content) => file(content),
    };
    let rendered = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Public(argument) => text(argument),
            Argument::Private(value) => String::from_utf8(value.expose().to_vec()).unwrap(),
            Argument::Files(parts) => parts.iter().map(&mut part).collect(),
        })
        .collect();
    (rendered, files)
}

/// Verifies a table of these structures as a guest that requires a manifest does.
pub fn delivered(structures: &[Vec<u8>]) -> Delivery {
    let table = [structures.concat().as_slice(), crate::END].concat();
    let table = Table::parse(&crate::entry_point_3(table.len()), table);
    let policy = Policy { manifest: ManifestPolicy::Require, ..Policy::default() };
    verify_table(&table, &policy)
}

/// Returns one structure with all strings, as cloud-hypervisor and crosvm build it.
pub fn one_structure(strings: &[String]) -> Vec<u8> {
    let strings: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
    crate::oem(&strings)
}
