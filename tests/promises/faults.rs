//! Lets every system call of `exec` and of `run` fail once. The program must be started with everything that it was
//! to get, or not be started, with an error that says why. (`killed.rs` does this for the calls of `import`, and
//! `private_argv/` for the calls of a start with a private command line.)

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use smbios_creds::format::base64;
use testkit::{canary, code, holds, recording, stderr, table};

/// Returns the errors with which a call is made to fail, the most likely error first.
fn errors(call: &str) -> [&'static str; 3] {
    match call {
        "openat" | "openat2" => ["EMFILE", "EACCES", "ENOENT"],
        "mkdirat" | "mkdir" => ["ENOSPC", "EROFS", "EEXIST"],
        "renameat" | "renameat2" | "rename" | "unlinkat" | "linkat" | "fchmod" => ["EIO", "EROFS", "EPERM"],
        "write" => ["ENOSPC", "EIO", "EINTR"],
        "read" => ["EIO", "EINTR", "EAGAIN"],
        "mmap" | "brk" | "mremap" | "munmap" | "mprotect" => ["ENOMEM", "EAGAIN", "EPERM"],
        "memfd_create" => ["ENFILE", "ENOSYS", "ENOMEM"],
        "fcntl" => ["EMFILE", "EBUSY", "EPERM"],
        "flock" => ["ENOLCK", "EINTR", "EIO"],
        "execve" => ["EACCES", "ENOMEM", "ETXTBSY"],
        "close" => ["EIO", "EINTR", "ENOSPC"],
        _ => ["EPERM", "ENOSYS", "EIO"],
    }
}

/// Calls that cannot fail, or do not return. brk(2) has no error either: it returns the end of the heap, and glibc
/// would take an injected error for this address.
const WITHOUT_ERROR: [&str; 9] = [
    "brk",
    "exit_group",
    "getpid",
    "gettid",
    "geteuid",
    "getuid",
    "umask",
    "rt_sigreturn",
    "set_tid_address",
];

/// A program to run, and what must be there after it has started another program.
struct Case {
    program: PathBuf,
    arguments: Vec<String>,
    /// The output of the program that it starts.
    whole: Vec<u8>,
    /// The directory that the program may write to.
    folder: tempfile::TempDir,
}

impl Case {
    /// Runs the program under strace with these options. stderr has only the program's own messages, since strace
    /// writes to a file.
    fn run(&self, options: &[&str]) -> Output {
        _ = fs::remove_dir_all(self.folder.path().join("creds"));
        let mut command = Command::new("strace");
        command.args(["-qq", "-o"]).arg(self.folder.path().join("trace")).args(options);
        command.arg(&self.program).args(&self.arguments).env_remove("JOURNAL_STREAM").env("LC_ALL", "C");
        command.env_remove("CREDENTIALS_DIRECTORY").stdin(Stdio::null()).output().unwrap()
    }

    fn trace(&self) -> String {
        fs::read_to_string(self.folder.path().join("trace")).unwrap()
    }

    /// Returns, for each call, which of its occurrences the program makes after its loader and runtime, up to where
    /// it executes another program.
    fn calls(&self) -> BTreeMap<String, std::ops::RangeInclusive<usize>> {
        let output = self.run(&[]);
        assert_eq!((code(&output), &output.stdout), (0, &self.whole), "{}", stderr(&output));
        let mut made: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let mut loaded = false;
        for line in self.trace().lines().skip(1) {
            let Some((call, _)) = line.split_once('(').filter(|(call, _)| !call.contains([' ', '-', '+']))
            else {
                continue;
            };
            // The first call that the program makes after its loader and runtime is this prctl(2), by which it
            // protects itself.
            loaded |= line.starts_with("prctl(PR_SET_DUMPABLE, ");
            let (all, before) = made.entry(call.to_owned()).or_default();
            *all += 1;
            *before += usize::from(!loaded);
            if call == "execve" {
                break;
            }
        }
        made.into_iter()
            .filter(|(call, (all, before))| all > before && !WITHOUT_ERROR.contains(&call.as_str()))
            .map(|(call, (all, before))| (call, before + 1..=all))
            .collect()
    }

    /// Lets every call fail, and returns how often the program was started, and how often it was not.
    fn fail_every_call(&self, canary: &[u8], check: impl Fn(bool, &str)) -> (usize, usize) {
        let (mut started, mut refused) = (0, 0);
        for (call, occurrences) in self.calls() {
            let [error, others @ ..] = errors(&call);
            let first = *occurrences.start();
            let faults = occurrences.map(|n| (n, error)).chain(others.map(|error| (first, error)));
            for (n, error) in faults {
                let output = self.run(&["-e", &format!("inject={call}:error={error}:when={n}")]);
                let message = stderr(&output);
                let what = format!("{call} {n} {error}: {message}");
                assert!(self.trace().contains("(INJECTED)"), "{what}");
                assert!(!holds(message.as_bytes(), canary), "{what}");
                assert!(!message.contains("panicked") && !message.contains("internal error"), "{what}");
                let whole = output.stdout == self.whole;
                if whole {
                    assert_eq!(code(&output), 0, "{what}");
                    started += 1;
                } else {
                    assert_eq!(output.stdout, b"", "{what}: the program ran without all that it was to get");
                    self.assert_refused(&output, &what);
                    refused += 1;
                }
                check(whole, &what);
            }
        }
        (started, refused)
    }

    /// Asserts that there is an error that says what failed, and where or why. If there was no memory, the Rust
    /// runtime's error is enough.
    fn assert_refused(&self, output: &Output, what: &str) {
        let message = stderr(output);
        if output.status.code().is_none() {
            assert!(message.contains("memory allocation of "), "{what}: {:?}", output.status);
            return;
        }
        assert!(matches!(code(output), 1 | 3 | 4), "{what}: {}", code(output));
        let name = self.program.file_name().unwrap().to_str().unwrap();
        let line = message.lines().find_map(|line| line.strip_prefix(&format!("{name}: error: ")));
        // If write(2) fails, the program cannot write the error either.
        assert!(line.is_some_and(|line| line.len() > 20) || what.starts_with("write "), "{what}");
    }
}

/// Returns the names that are left in a directory, except those that belong there.
fn left(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !matches!(name.as_str(), "trace" | "creds")).collect()
}

#[test]
fn whatever_call_of_exec_fails_the_program_has_every_credential_or_does_not_run() {
    let canary = canary();
    let binary = format!("io.systemd.credential.binary:b={}", *base64::encode(&canary));
    let text = [b"io.systemd.credential:a=", canary.as_slice()].concat();
    let source = recording(&table(&[&text, binary.as_bytes()]));
    let folder = tempfile::tempdir().unwrap();
    let words = ["exec", "--require=a", "--require=b", "--from"];
    let mut arguments: Vec<String> = words.map(str::to_owned).into();
    arguments.push(source.path().to_str().unwrap().to_owned());
    arguments.push("--into".to_owned());
    arguments.push(folder.path().join("creds").to_str().unwrap().to_owned());
    arguments.extend(
        ["--", "/bin/sh", "-c", r#"cat "$CREDENTIALS_DIRECTORY/a" "$CREDENTIALS_DIRECTORY/b""#]
            .map(str::to_owned),
    );
    let whole = canary.repeat(2);
    let case = Case { program: env!("CARGO_BIN_EXE_smbios-creds").into(), arguments, whole, folder };
    let (started, refused) = case.fail_every_call(&canary, |whole, what| {
        let folder = case.folder.path();
        // The next import removes a staging directory that could not be removed. No value is in it.
        for name in left(folder) {
            assert!(name.starts_with(".smbios-creds-") && !what.contains("flock"), "{what}: {name}");
            assert!(fs::remove_dir(folder.join(name)).is_ok(), "{what}: it is not empty");
        }
        let creds = folder.join("creds");
        let complete = || ["a", "b"].iter().all(|name| fs::read(creds.join(name)).is_ok_and(|v| v == canary));
        assert!(if whole { complete() } else { !creds.exists() || complete() }, "{what}: partial");
    });
    assert!(started > 10 && refused > 20, "{started} {refused}");
}

#[test]
fn whatever_call_of_run_fails_the_hypervisor_has_every_string_or_does_not_run() {
    let canary = canary();
    let credentials = testkit::host::directory(&[("a", &canary), ("b", &canary.repeat(300))]);
    let folder = tempfile::tempdir().unwrap();
    // The script stands in for QEMU, and prints the strings of the files that it was given.
    let script = r#"for word; do case $word in *file=*) cat "${word#*file=}" ;; esac; done |
        grep -ao "binary:[ab]=[A-Za-z0-9+/=]*""#;
    let words = ["run", "--all", "--hypervisor=qemu", "--log-level=error", "--credentials"];
    let mut arguments: Vec<String> = words.map(str::to_owned).into();
    arguments.push(credentials.path().to_str().unwrap().to_owned());
    let (_programs, shell) = testkit::host::shell_with(testkit::host::QEMU_WORD);
    arguments.extend(["--", shell.to_str().unwrap(), "-c", script, "sh"].map(str::to_owned));
    let line = |name: &str, value: &[u8]| format!("binary:{name}={}\n", *base64::encode(value));
    let whole = [line("a", &canary), line("b", &canary.repeat(300))].concat().into_bytes();
    let case = Case { program: env!("CARGO_BIN_EXE_smbios-creds-host").into(), arguments, whole, folder };
    let (started, refused) = case.fail_every_call(&canary, |_, what| {
        assert_eq!(left(case.folder.path()), [""; 0], "{what}");
    });
    assert!(started > 5 && refused > 15, "{started} {refused}");
}
