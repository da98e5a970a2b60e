//! Where an import writes credentials, and what can happen to the import before they are there.

mod fill;
mod full;
mod killed;
mod links;
mod owners;
mod races;
mod systemd;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use smbios_creds::format::base64;
use testkit::{agent, holds, is_root, recording, run, stderr, table};

/// A user that the agent does not trust.
const NOBODY: u32 = 65_534;

const CANARY: &str = "Canary-of-a-value";

const TWO: &[&[u8]] = &[b"io.systemd.credential:a=one", b"io.systemd.credential.binary:b=AAEC"];

/// A directory to fill, and a recording with the strings to fill it with.
struct Destination {
    folder: tempfile::TempDir,
    source: tempfile::TempDir,
}

impl Destination {
    fn new(strings: &[&[u8]]) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), source: recording(&table(strings)) }
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("creds")
    }

    fn import(&self, arguments: &[&str]) -> Output {
        let mut command = agent(&["import"]);
        command.args(arguments).arg("--from").arg(self.source.path());
        run(command.arg("--into").arg(self.target()))
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.target()).unwrap().map(|file| file.unwrap());
        files.map(|f| (f.file_name().into_string().unwrap(), fs::read(f.path()).unwrap())).collect()
    }

    /// Returns the names next to the destination. After an import, none of them is a file of the agent.
    fn beside(&self) -> Vec<String> {
        let names =
            fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "creds").collect()
    }
}

/// A root directory, and a recording with a value to import.
struct Guest {
    root: tempfile::TempDir,
    source: tempfile::TempDir,
}

impl Guest {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let strings =
            [format!("io.systemd.credential:a={CANARY}"), format!("io.systemd.credential:b={CANARY}")];
        let strings: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
        Self { root, source: recording(&table(&strings)) }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Makes a directory with this mode. If root runs the tests, it belongs to `owner`.
    fn folder(&self, path: &str, mode: u32, owner: u32) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        if testkit::is_root() {
            chown(&path, Some(owner), Some(owner)).unwrap();
        }
        path
    }

    /// Runs a verb in a separate mount namespace, and then prints the mounts below the root directory. The verb must
    /// end by itself within 60 seconds.
    fn run(&self, arguments: &[&str]) -> Output {
        let script = "\"$@\"; code=$?; grep -F \" $ROOT/\" /proc/self/mounts; exit $code";
        let mut command = Command::new("unshare");
        command.arg(if testkit::is_root() { "-m" } else { "-rm" });
        command.args(["timeout", "60", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_smbios-creds")]);
        command.args(arguments).arg("--from").arg(self.source.path()).arg("--root").arg(self.root.path());
        command.env("ROOT", self.root.path());
        run(command.env_remove("JOURNAL_STREAM"))
    }

    fn import(&self, sink: &str) -> Output {
        self.run(&["import", "--into", sink])
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()));
    let mut names: Vec<String> = entries.map(Iterator::collect).unwrap_or_default();
    names.sort();
    names
}

/// Whether a value is in a file below this directory.
fn holds_value(folder: &Path) -> bool {
    names(folder).iter().map(|name| folder.join(name)).any(|path| {
        let kind = fs::symlink_metadata(&path).map(|metadata| metadata.file_type());
        kind.is_ok_and(|kind| {
            (kind.is_file() && holds_value_in(&path)) || (kind.is_dir() && holds_value(&path))
        })
    })
}

fn holds_value_in(file: &Path) -> bool {
    fs::read(file)
        .is_ok_and(|content| content.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()))
}

/// Imports below a root directory, in a separate mount namespace, after the commands `mounts`.
fn import_behind(root: &Path, sink: &str, mounts: &str) -> Output {
    let source = recording(&table(TWO));
    let mut command = Command::new("unshare");
    command.arg(if testkit::is_root() { "-m" } else { "-rm" });
    command.args(["sh", "-c", &format!("{mounts} && exec \"$@\""), "sh", env!("CARGO_BIN_EXE_smbios-creds")]);
    command.args(["import", "--into", sink, "--root"]).arg(root).arg("--from").arg(source.path());
    run(command.env_remove("CREDENTIALS_DIRECTORY").env_remove("JOURNAL_STREAM"))
}

const AGENT: &str = env!("CARGO_BIN_EXE_smbios-creds");

const HOST: &str = env!("CARGO_BIN_EXE_smbios-creds-host");

/// A recording with the canary in a text and in a binary credential.
fn source(canary: &[u8]) -> tempfile::TempDir {
    let binary = format!("io.systemd.credential.binary:b={}", *base64::encode(canary));
    recording(&table(&[&[b"io.systemd.credential:a=", canary].concat(), binary.as_bytes()]))
}

/// Runs a script in a separate mount namespace, as root. `$agent` and `$host` are the two programs, and `$from` is a
/// directory.
fn in_namespace(from: &Path, script: &str) -> Output {
    let mut command = Command::new("unshare");
    command.arg(if is_root() { "-m" } else { "-rm" }).args(["sh", "-ec", script]);
    command.env("agent", AGENT).env("host", HOST).env("from", from);
    command
        .env_remove("CREDENTIALS_DIRECTORY")
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Asserts the second promise of README.md: nothing that was printed contains a value.
fn assert_clean(output: &Output, canary: &[u8], what: &str) {
    for printed in [&output.stdout, &output.stderr] {
        assert!(!holds(printed, canary), "{what}: {}", stderr(output));
    }
    assert!(!stderr(output).contains("internal error"), "{what}: {}", stderr(output));
}
