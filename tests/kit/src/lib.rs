//! What tests, examples and fuzz targets share: independent readers of tables and options, builders of tables, the
//! programs as processes, and virtual machines.

pub mod deadline;
pub mod fw_cfg;
pub mod host;
pub mod machine;
pub mod memory;
pub mod options;
pub mod runner;
pub mod second_reader;
pub mod sent;
pub mod stack;
pub mod syscalls;
pub mod systemd;
pub mod table;

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use smbios_creds::format::base64;
use smbios_creds::format::credential::{Credential, Name};
use smbios_creds::format::smbios::Table;
use smbios_creds::guest::verify::delivery::Delivery;
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::set::verify_table;
pub use table::{END, Walked, dump, entry_point_2, entry_point_3, oem, structure, table, walk};

/// Parses a table with a valid 64-bit entry point.
pub fn parse(data: &[u8]) -> Table {
    Table::parse(&entry_point_3(data.len()), data.to_vec())
}

/// Verifies a table with a valid 64-bit entry point, under the default policy.
pub fn verdict(data: &[u8]) -> Delivery {
    verify_table(&parse(data), &Policy::default())
}

/// Returns the codes of all findings, as the JSON report names them.
pub fn codes(delivery: &Delivery) -> Vec<String> {
    let code = |finding: &smbios_creds::guest::verify::finding::Finding| {
        serde_json::to_value(&finding.kind).unwrap()["code"].as_str().unwrap().to_owned()
    };
    delivery.findings.iter().map(code).collect()
}

/// Returns the name and value of every intact credential.
pub fn intact(delivery: &Delivery) -> Vec<(&str, &[u8])> {
    delivery.intact().map(|c| (c.name.as_str(), c.value.expose())).collect()
}

pub fn credential(name: &str, value: &[u8]) -> Credential {
    Credential::new(Name::new(name).unwrap(), value.to_vec())
}

/// Makes a directory with a recording of this table and of a valid 64-bit entry point.
pub fn recording(data: &[u8]) -> tempfile::TempDir {
    recording_with(&entry_point_3(data.len()), data)
}

pub fn recording_with(entry_point: &[u8], data: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("smbios_entry_point"), entry_point).unwrap();
    std::fs::write(folder.path().join("DMI"), data).unwrap();
    // Some tests run the agent as another user, who must be able to read the recording.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// Returns the path of a file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join(path)
}

pub fn testdata(case: &str) -> PathBuf {
    project("testdata").join(case)
}

/// Returns a recorded ciphertext of `systemd-creds encrypt`, as base64 on one line.
pub fn sealed(kind: &str) -> Vec<u8> {
    let text = std::fs::read(testdata("sealed").join(format!("{kind}.cred"))).unwrap();
    text.into_iter().filter(|byte| *byte != b'\n').collect()
}

/// Returns the paths of the recorded tables of `testdata`, in the order of their names.
pub fn recorded() -> Vec<PathBuf> {
    let all = std::fs::read_dir(testdata("")).unwrap().map(|entry| entry.unwrap().path());
    let mut recorded: Vec<_> = all.filter(|path| path.join("DMI").exists()).collect();
    assert!(recorded.len() >= 17, "testdata is incomplete: {recorded:?}");
    recorded.sort();
    recorded
}

/// Returns a command that runs the agent (`smbios-creds`).
pub fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("smbios-creds"));
    command.args(arguments).env_remove("CREDENTIALS_DIRECTORY").env_remove("JOURNAL_STREAM");
    command
}

/// A program of the package. Cargo builds it next to the tests: target/debug/deps/this -> target/debug/NAME.
pub fn program(name: &str) -> PathBuf {
    let path = built().join(name);
    assert!(path.exists(), "{} is missing: `cargo build --bins` builds it", path.display());
    path
}

/// An example. Cargo builds it next to the tests: target/debug/deps/this -> target/debug/examples/NAME.
pub fn example(name: &str) -> PathBuf {
    let path = built().join("examples").join(name);
    assert!(path.exists(), "{} is missing: `cargo build --examples` builds it", path.display());
    path
}

/// Writes a program file with this mode, through another process. If this process opened the file for writing, a
/// child that another thread starts would inherit the descriptor. Nobody could execute the file until that child
/// calls execve(2).
pub fn write_program(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    let mut copy = Command::new("sh");
    copy.args(["-c", r#"cat >"$1" && chmod "$2" "$1""#, "sh"]).arg(path).arg(format!("{mode:o}"));
    let mut copy = copy.stdin(Stdio::piped()).spawn().unwrap();
    copy.stdin.take().unwrap().write_all(content.as_ref()).unwrap();
    assert!(copy.wait().unwrap().success(), "{} is not written", path.display());
}

/// Returns the build directory of the Cargo profile with which this test program was built.
fn built() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.ancestors().nth(2).unwrap().to_owned()
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

/// Opens a pseudoterminal. Returns our end, and the end for the program under test, in this order.
pub fn terminal() -> (OwnedFd, OwnedFd) {
    let ours = std::fs::File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let number = rustix::pty::ptsname(&ours, Vec::new()).unwrap();
    rustix::pty::unlockpt(&ours).unwrap();
    let theirs = std::fs::File::options().read(true).write(true).open(number.to_str().unwrap()).unwrap();
    (ours.into(), theirs.into())
}

/// Returns a text that is nowhere else on this machine, since it is made when the test runs.
pub fn canary() -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{:024x}", now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15) & (u128::MAX >> 32)).into_bytes()
}

/// Returns whether the bytes contain the canary: unchanged, in hex, or in base64.
pub fn holds(bytes: &[u8], canary: &[u8]) -> bool {
    needles(canary).iter().any(|needle| bytes.windows(needle.len()).any(|window| window == needle))
}

/// Returns the forms of a canary: unchanged, in hex, and in base64.
pub fn needles(canary: &[u8]) -> Vec<Vec<u8>> {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    let hex: Vec<u8> = canary.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    // The base64 of the canary has three forms, since the canary may begin at each of three offsets. The middle of a
    // form does not depend on the bytes around the canary.
    let shifted = (0..3).map(|offset| {
        let text = base64::encode(&[&vec![0; offset], canary].concat());
        text[4..text.len() - 4].as_bytes().to_vec()
    });
    [canary.to_vec(), hex].into_iter().chain(shifted).collect()
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Makes a root directory that looks as if systemd were PID 1 and had imported these credentials.
pub fn systemd_root(imported: &[(&str, &[u8])]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
    for (name, value) in imported {
        let system = root.path().join("run/credentials/@system");
        std::fs::create_dir_all(&system).unwrap();
        std::fs::write(system.join(name), value).unwrap();
        std::fs::set_permissions(system.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o400))
            .unwrap();
    }
    root
}

/// Returns the path of the agent's static program, which goes into an initrd. `./tests/run` builds the program.
pub fn static_agent() -> PathBuf {
    let path = project("target/vm/smbios-creds");
    assert!(path.exists(), "{} is missing: ./tests/run builds it", path.display());
    path
}

/// Returns the path of the static program for the host, which `./tests/run` builds.
pub fn static_host() -> PathBuf {
    static_agent().with_file_name("smbios-creds-host")
}

/// Returns whether the static programs are built with musl. They are if Rust's standard library for musl is
/// available.
pub fn static_agent_is_small() -> bool {
    std::fs::read_to_string(static_agent().with_file_name("target")).unwrap().contains("musl")
}

/// Returns each message as text.
pub fn texts(messages: &[impl std::fmt::Display]) -> Vec<String> {
    messages.iter().map(ToString::to_string).collect()
}
