//! What tests, examples and fuzz targets share: independent readers of tables and options, tables made to order, the
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

/// A parsed table behind a healthy 64-bit entry point.
pub fn parse(data: &[u8]) -> Table {
    Table::parse(&entry_point_3(data.len()), data.to_vec())
}

/// The verdict on a table behind a healthy 64-bit entry point, under the default policy.
pub fn verdict(data: &[u8]) -> Delivery {
    verify_table(&parse(data), &Policy::default())
}

/// Codes of all findings, as JSON has them.
pub fn codes(delivery: &Delivery) -> Vec<String> {
    let code = |finding: &smbios_creds::guest::verify::finding::Finding| {
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

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join(path)
}

pub fn testdata(case: &str) -> PathBuf {
    project("testdata").join(case)
}

/// The base64 of a recorded blob of `systemd-creds encrypt`, on one line.
pub fn sealed(kind: &str) -> Vec<u8> {
    let text = std::fs::read(testdata("sealed").join(format!("{kind}.cred"))).unwrap();
    text.into_iter().filter(|byte| *byte != b'\n').collect()
}

/// The recorded tables of `testdata`, in the order of their names.
pub fn recorded() -> Vec<PathBuf> {
    let all = std::fs::read_dir(testdata("")).unwrap().map(|entry| entry.unwrap().path());
    let mut recorded: Vec<_> = all.filter(|path| path.join("DMI").exists()).collect();
    assert!(recorded.len() >= 17, "testdata is incomplete: {recorded:?}");
    recorded.sort();
    recorded
}

/// The agent.
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

/// Writes a program, with this mode. Another process does it: while a file is open for writing here, a child that some
/// other thread starts inherits it, and until that child executes something, nobody can execute the file.
pub fn write_program(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    let mut copy = Command::new("sh");
    copy.args(["-c", r#"cat >"$1" && chmod "$2" "$1""#, "sh"]).arg(path).arg(format!("{mode:o}"));
    let mut copy = copy.stdin(Stdio::piped()).spawn().unwrap();
    copy.stdin.take().unwrap().write_all(content.as_ref()).unwrap();
    assert!(copy.wait().unwrap().success(), "{} is not written", path.display());
}

/// The directory of the profile that this test program was built with.
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

/// A terminal: the end of it that a program has, and ours.
pub fn terminal() -> (OwnedFd, OwnedFd) {
    let ours = std::fs::File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let number = rustix::pty::ptsname(&ours, Vec::new()).unwrap();
    rustix::pty::unlockpt(&ours).unwrap();
    let theirs = std::fs::File::options().read(true).write(true).open(number.to_str().unwrap()).unwrap();
    (ours.into(), theirs.into())
}

/// Not to be found anywhere else: it is made when the test runs.
pub fn canary() -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{:024x}", now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15) & (u128::MAX >> 32)).into_bytes()
}

/// Whether the canary is there: as it is, in hex, or in base64.
pub fn holds(bytes: &[u8], canary: &[u8]) -> bool {
    needles(canary).iter().any(|needle| bytes.windows(needle.len()).any(|window| window == needle))
}

/// What a canary looks like: as it is, in hex, and in base64.
pub fn needles(canary: &[u8]) -> Vec<Vec<u8>> {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    let hex: Vec<u8> = canary.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    // As base64 it looks different at each of three offsets; the middle is independent of what surrounds it.
    let shifted = (0..3).map(|offset| {
        let text = base64::encode(&[&vec![0; offset], canary].concat());
        text[4..text.len() - 4].as_bytes().to_vec()
    });
    [canary.to_vec(), hex].into_iter().chain(shifted).collect()
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A root folder in which systemd is PID 1, and has imported these.
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

/// The program that goes into an initrd, as `./tests/run` has built it.
pub fn static_agent() -> PathBuf {
    let path = project("target/vm/smbios-creds");
    assert!(path.exists(), "{} is missing: ./tests/run builds it", path.display());
    path
}

/// The host's static program, as `./tests/run` has built it.
pub fn static_host() -> PathBuf {
    static_agent().with_file_name("smbios-creds-host")
}

/// Whether these are built with musl, as it is wherever its standard library can be had.
pub fn static_agent_is_small() -> bool {
    std::fs::read_to_string(static_agent().with_file_name("target")).unwrap().contains("musl")
}

/// Each of some messages as text.
pub fn texts(messages: &[impl std::fmt::Display]) -> Vec<String> {
    messages.iter().map(ToString::to_string).collect()
}
