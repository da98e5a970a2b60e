//! An import that is killed, or whose system call fails, at any instruction: the set is absent or complete.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output, Stdio};

use testkit::{code, recording, run, stderr, stdout, table};

use super::{Destination, TWO};

/// Runs an import under strace, which does `action` at the nth call of the kind `call`. Returns `None` if the import
/// makes fewer calls.
fn import_with(place: &Destination, call: &str, action: &str, n: usize) -> Option<Output> {
    let trace = place.source.path().join("trace");
    // The tests may inherit ignored signals. An ignored signal would not end the import.
    let output = Command::new("env")
        .args(["--default-signal", "strace", "-f", "-qq", "-o"])
        .arg(&trace)
        .arg("-e")
        .arg(format!("inject={call}:{action}:when={n}"))
        .arg(env!("CARGO_BIN_EXE_smbios-creds"))
        .args(["import", "--from"])
        .arg(place.source.path())
        .arg("--into")
        .arg(place.target())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("strace is needed, ./tests/run installs it: {error}"));
    let trace = fs::read_to_string(trace).unwrap();
    ["INJECTED", "killed by SIGKILL", "--- SIG"].iter().any(|word| trace.contains(word)).then_some(output)
}

/// Does `action` at every call of every kind in `calls`, each time with a new destination, and checks the outcome
/// with `check`. Returns the number of imports.
fn at_every_call(
    calls: &str,
    action: &str,
    old: Option<&str>,
    check: impl Fn(&Destination, &Output, &str),
) -> usize {
    let mut instants = 0;
    for call in calls.split(',') {
        for n in 1.. {
            let place = place_with(old);
            let Some(output) = import_with(&place, call, action, n) else { break };
            let what = format!("{action} at {call} {n}: {}", stderr(&output));
            assert_old_or_new(&place, old, &what);
            check(&place, &output, &what);
            // The next import completes, and removes what this one left.
            let next = place.import(&[]);
            assert_eq!(code(&next), 0, "{what}{}", stderr(&next));
            assert_eq!((place.files().len(), place.beside().len()), (2, 0), "{what}");
            instants += 1;
        }
    }
    instants
}

/// Asserts that the destination does not exist, has the old set, or has the new set; never a part of a set.
fn assert_old_or_new(place: &Destination, old: Option<&str>, what: &str) {
    let files = if place.target().exists() { Some(place.files()) } else { None };
    let old = old.map(|value| BTreeMap::from([("a".to_owned(), value.as_bytes().to_vec())]));
    let new = BTreeMap::from([("a".into(), b"one".to_vec()), ("b".into(), vec![0, 1, 2])]);
    assert!(files == old || files == Some(new), "{what}: {files:?}");
}

fn place_with(old: Option<&str>) -> Destination {
    let place = Destination::new(TWO);
    if let Some(value) = old {
        fs::create_dir(place.target()).unwrap();
        fs::write(place.target().join("a"), value).unwrap();
    }
    place
}

#[test]
fn killed_at_any_system_call_a_set_is_absent_or_complete() {
    let calls = "openat,openat2,mkdirat,write,fsync,rename,renameat,renameat2,linkat,unlinkat,fchmod,fstat,newfstatat,\
                 close,flock,getdents64,statfs,fstatfs,mmap,munmap,exit_group";
    for old in [None, Some("old")] {
        let instants = at_every_call(calls, "signal=KILL", old, |_, output, what| {
            assert_eq!(output.status.code(), None, "{what}");
        });
        assert!(instants > 60, "{instants}");
    }
}

#[test]
fn ended_by_a_signal_an_import_leaves_nothing_staged() {
    let calls = "mkdirat,write,fsync,renameat,renameat2,linkat,unlinkat,fchmod,flock";
    for signal in ["TERM", "INT", "HUP"] {
        for old in [None, Some("old")] {
            let instants = at_every_call(calls, &format!("signal={signal}"), old, |place, output, what| {
                assert!(place.beside().is_empty(), "{what}: {:?} is left", place.beside());
                assert_ne!(output.status.code(), Some(0), "{what}: the signal takes effect after that");
            });
            assert!(instants > 8, "{instants}");
        }
    }
}

/// The kernel sends SIGXFSZ when a write reaches the limit. Then the value may be half-written.
#[test]
fn limit_for_files_is_an_error_and_leaves_nothing_staged() {
    let string = [b"io.systemd.credential:a=".to_vec(), vec![b'x'; 5000]].concat();
    let strings: &[&[u8]] = &[b"io.systemd.credential:b=short", &string];
    let place = Destination::new(strings);
    let root = tempfile::tempdir().unwrap();
    let script = "ulimit -f 2; exec \"$@\"";
    let import = |arguments: &[&str], path: &std::path::Path| {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_smbios-creds"), "import", "--from"]);
        run(command.arg(place.source.path()).args(arguments).arg(path).env_remove("JOURNAL_STREAM"))
    };
    for output in
        [import(&["--into"], &place.target()), import(&["--into", "credstore", "--root"], root.path())]
    {
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("cannot write credential a ("), "{}", stderr(&output));
        assert!(stderr(&output).contains("File too large"), "{}", stderr(&output));
    }
    assert!(!place.target().exists() && place.beside().is_empty());
    assert_eq!(super::names(&root.path().join("run")), ["smbios-creds"]);
}

#[test]
fn any_failing_system_call_is_an_error_and_leaves_nothing_partial() {
    for (calls, action) in [
        ("write,linkat", "error=ENOSPC"),
        ("mkdirat,openat,openat2", "error=EMFILE"),
        ("mkdirat,openat,renameat,renameat2,linkat,unlinkat,fchmod", "error=EROFS"),
        ("read,write,fsync,flock,getdents64,fstatfs,renameat,renameat2,fstat,newfstatat", "error=EIO"),
        ("openat,openat2,mkdirat,unlinkat", "error=EACCES"),
    ] {
        for old in [None, Some("old")] {
            let failures = std::cell::Cell::new(0);
            at_every_call(calls, action, old, |_, output, what| {
                assert!(
                    output.status.code().is_some() && !what.contains("internal error"),
                    "a panic: {what}"
                );
                if code(output) != 0 {
                    failures.set(failures.get() + 1);
                    // The message is an error of the agent, or of the loader before the agent runs.
                    let message = stderr(output);
                    let clear =
                        message.contains("smbios-creds: error: ") || message.contains("shared librar");
                    assert!(clear || message.is_empty(), "{what}");
                }
            });
            assert!(failures.get() > 0, "{action}");
        }
    }
}

/// A repair changes systemd's directory through a second, writable mount, while systemd's units read the directory.
#[test]
fn killed_in_the_middle_of_a_repair_the_folder_is_read_only_and_the_old_value_whole() {
    let root = tempfile::tempdir().unwrap();
    let system = root.path().join("run/credentials/@system");
    for folder in [&root.path().join("run/systemd/system"), &system] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(system.join("a"), "on").unwrap();
    let source = recording(&table(TWO));
    let script = r#"system=$1 agent=$2; shift 2
        mount --bind "$system" "$system" && mount -o remount,bind,ro "$system" || exit 1
        strace -qq -o /dev/null -e inject=renameat,renameat2:signal=KILL:when=1 "$agent" "$@" >/dev/null 2>&1
        echo "$?"; cat "$system/a"; echo; grep " $system " /proc/mounts"#;
    let mut command = Command::new("unshare");
    command.arg(if testkit::is_root() { "-m" } else { "-rm" }).args(["sh", "-c", script, "sh"]).arg(&system);
    command.arg(env!("CARGO_BIN_EXE_smbios-creds")).args(["import", "--root"]).arg(root.path());
    let output = run(command.arg("--from").arg(source.path()));
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["137", "on"], "it was killed before anything was replaced: {text}");
    let mounts = &lines[2..];
    assert!(!mounts.is_empty() && mounts.iter().all(|mount| mount.contains(" ro,")), "{text}");
}
