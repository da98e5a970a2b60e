//! Materializing: all at once, absent or complete, and never outside of the folder.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;
use smbios_creds::guest::place::Place as Target;
use smbios_creds::guest::place::choose::Into as Choose;
use smbios_creds::guest::place::outcome::{Outcome, Storage};
use smbios_creds::guest::system::System;
use testkit::{agent, code, recording, run, stderr, stdout, table};

struct Place {
    folder: tempfile::TempDir,
    source: tempfile::TempDir,
}

impl Place {
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

    /// What stands beside the folder: nothing of ours, once an import has ended.
    fn beside(&self) -> Vec<String> {
        let names =
            fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "creds").collect()
    }
}

const TWO: &[&[u8]] = &[b"io.systemd.credential:a=one", b"io.systemd.credential.binary:b=AAEC"];

#[test]
fn files_are_0400_in_a_folder_0700() {
    let place = Place::new(TWO);
    let output = place.import(&[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().filter(|line| line.contains(" imported ")).count(), 2);
    assert_eq!(place.files(), BTreeMap::from([("a".into(), b"one".to_vec()), ("b".into(), vec![0, 1, 2])]));
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&place.target()), mode(&place.target().join("a"))), (0o700, 0o400));
    assert!(place.beside().is_empty());
}

#[test]
fn a_second_import_writes_nothing() {
    let place = Place::new(TWO);
    place.import(&[]);
    let inodes =
        |place: &Place| [place.target(), place.target().join("a")].map(|p| fs::metadata(p).unwrap().ino());
    let before = inodes(&place);
    let output = place.import(&[]);
    assert_eq!((code(&output), inodes(&place)), (0, before));
    assert!(stderr(&output).contains("nothing to do"));
}

#[test]
fn other_files_are_kept_and_old_values_replaced() {
    let place = Place::new(TWO);
    fs::create_dir(place.target()).unwrap();
    fs::set_permissions(place.target(), PermissionsExt::from_mode(0o750)).unwrap();
    fs::write(place.target().join("a"), "old").unwrap();
    fs::write(place.target().join("other"), "kept").unwrap();
    let inode = fs::metadata(place.target().join("other")).unwrap().ino();
    assert_eq!(code(&place.import(&[])), 0);
    let files = place.files();
    assert_eq!(
        (files["a"].as_slice(), files["other"].as_slice(), files.len()),
        (&b"one"[..], &b"kept"[..], 3)
    );
    assert_eq!(fs::metadata(place.target().join("other")).unwrap().ino(), inode, "the very file");
    assert_eq!(fs::metadata(place.target()).unwrap().mode() & 0o7777, 0o750);
    assert!(place.beside().is_empty());
}

#[test]
fn a_file_that_others_can_read_is_written_anew() {
    let place = Place::new(TWO);
    place.import(&[]);
    fs::set_permissions(place.target().join("a"), PermissionsExt::from_mode(0o444)).unwrap();
    assert_eq!(code(&place.import(&[])), 0);
    assert_eq!(fs::metadata(place.target().join("a")).unwrap().mode() & 0o7777, 0o400);
}

#[test]
fn no_link_is_followed_out_of_the_folder() {
    let place = Place::new(TWO);
    let outside = place.folder.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    fs::create_dir(place.target()).unwrap();
    symlink(&outside, place.target().join("a")).unwrap();
    let output = place.import(&[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("holds 'a', which is not a regular file"), "{}", stderr(&output));
    assert_eq!(fs::read(&outside).unwrap(), b"untouched");
    assert_eq!(place.beside(), ["outside"]);

    // The folder itself may be no link either.
    let place = Place::new(TWO);
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), place.target()).unwrap();
    let output = place.import(&[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("is not a folder (a link to one is not followed)"));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn what_is_in_the_way_is_named_and_left_alone() {
    let place = Place::new(TWO);
    fs::write(place.target(), "a file").unwrap();
    assert!(stderr(&place.import(&[])).contains("is not a folder"));
    assert_eq!(fs::read(place.target()).unwrap(), b"a file");
    fs::remove_file(place.target()).unwrap();
    fs::create_dir_all(place.target().join("sub/folder")).unwrap();
    assert!(stderr(&place.import(&[])).contains("holds 'sub', which is not a regular file"));
    assert!(place.target().join("sub/folder").exists());
    assert!(place.beside().is_empty());
    for path in ["/nonexistent/creds", "/", "./..", "./"] {
        let output = run(agent(&["import", "--into", path, "--from"]).arg(place.source.path()));
        assert_eq!(code(&output), 1, "{path}");
    }
}

#[test]
fn without_permission_nothing_is_written_and_the_error_says_what_to_do() {
    let place = Place::new(TWO);
    fs::set_permissions(place.folder.path(), PermissionsExt::from_mode(0o555)).unwrap();
    let mut command = agent(&["import", "--from"]);
    command.arg(place.source.path()).arg("--into").arg(place.target());
    if testkit::is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    }
    let output = run(&mut command);
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("Run this as root, or give --into a path of your own"),
        "{}",
        stderr(&output)
    );
    assert!(!place.target().exists());
}

#[test]
fn an_unprivileged_user_can_import_a_recording() {
    let place = Place::new(TWO);
    fs::set_permissions(place.folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let user = |arguments: &[&str]| {
        let mut command = agent(arguments);
        command.arg("--from").arg(place.source.path());
        if testkit::is_root() {
            std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        }
        command
    };
    for verb in ["import", "list"] {
        let output = run(user(&[verb]).arg("--into").arg(place.target()));
        assert_eq!(
            (code(&output), stdout(&output).matches(" imported ").count()),
            (0, 2),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(run(&mut user(&["cat", "a"])).stdout, b"one");
    assert_eq!(code(&run(&mut user(&["check"]))), 0);
    let recorded = place.folder.path().join("recorded");
    assert_eq!(code(&run(user(&["record"]).arg(&recorded))), 0);
}

#[test]
fn strict_materializes_nothing_unless_the_verdict_passes() {
    let strings: &[&[u8]] = &[b"io.systemd.credential:a=1", b"io.systemd.credential:e="];
    let place = Place::new(strings);
    let output = place.import(&["--strict"]);
    assert_eq!((code(&output), place.target().exists()), (3, false));
    assert!(stderr(&output).contains("--strict is given: nothing is materialized"));
    assert_eq!(code(&place.import(&[])), 3, "and without it, what is intact, and still no success");
    assert_eq!(place.files(), BTreeMap::from([("a".into(), b"1".to_vec())]));
}

#[test]
fn a_dry_run_writes_nothing() {
    let place = Place::new(TWO);
    let output = place.import(&["--dry-run"]);
    assert_eq!((code(&output), place.target().exists()), (0, false));
    assert_eq!(stdout(&output).matches(" missing ").count(), 2);
}

#[test]
fn nothing_to_materialize_makes_no_folder() {
    let place = Place::new(&[b"io.systemd.credential:e="]);
    assert_eq!((code(&place.import(&[])), place.target().exists()), (3, false));
}

#[test]
fn a_disk_is_warned_of_and_memory_is_not() {
    let place = Place::new(TWO);
    let memory = |path: &Path| {
        use nix::sys::statfs::{TMPFS_MAGIC, statfs};
        statfs(path).unwrap().filesystem_type() == TMPFS_MAGIC
    };
    let warned = stderr(&place.import(&[])).contains("is on a disk: the values stay there in plain text");
    assert_eq!(warned, !memory(place.folder.path()));
    let shm = tempfile::tempdir_in("/dev/shm").unwrap();
    assert!(memory(shm.path()), "/dev/shm is a tmpfs");
    let credential = testkit::credential("a", b"1");
    let choice = Choose::At(Target::Directory(shm.path().join("c"))).choose(&System::running());
    let outcome = choice.fill(&System::running(), &[&credential]);
    assert_eq!(outcome.unwrap(), Outcome::Materialized(Storage::Memory));
}

/// The folders that systemd reads, below a root of our own.
#[test]
fn initrd_and_credstore_are_filled_at_once() {
    let root = tempfile::tempdir().unwrap();
    let source = recording(&table(TWO));
    for (sink, folder) in [("initrd", "run/credentials/@initrd"), ("credstore", "run/credstore")] {
        for outcome in ["materialized in", "nothing to do"] {
            let mut command = agent(&["import", "--into", sink, "--from"]);
            let output = run(command.arg(source.path()).arg("--root").arg(root.path()));
            assert_eq!(code(&output), 0, "{}", stderr(&output));
            assert!(stderr(&output).contains(outcome));
        }
        let path = root.path().join(folder);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::read(path.join("b")).unwrap(), [0, 1, 2]);
    }
    assert_eq!(fs::metadata(root.path().join("run/credentials")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn nothing_is_mounted_below_a_folder_that_others_can_write() {
    let source = recording(&table(TWO));
    for (folder, mode) in [("run", 0o777), ("run/credentials", 0o775), ("run/smbios-creds", 0o702)] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(folder)).unwrap();
        fs::set_permissions(root.path().join(folder), PermissionsExt::from_mode(mode)).unwrap();
        let mut command = agent(&["import", "--into", "system", "--from"]);
        let output = run(command.arg(source.path()).arg("--root").arg(root.path()));
        assert_eq!(code(&output), 1);
        assert!(
            stderr(&output).contains("can be written by others, so nothing is put there"),
            "{}",
            stderr(&output)
        );
        assert!(!root.path().join("run/credentials/@system").exists());
    }
}

/// Imports beside systemd, whose folder is a mount of its own and read-only, as systemd leaves it.
fn import_below(root: &Path, sink: &str) -> Output {
    import_beside(root, sink, "mount --bind $1 $1 && mount -o remount,bind,ro $1")
}

fn import_beside(root: &Path, sink: &str, mounts: &str) -> Output {
    let source = recording(&table(TWO));
    let agent = agent(&["import", "--into", sink, "--root"]);
    let system = root.join("run/credentials/@system");
    let mounts = if system.exists() { mounts } else { ":" };
    let mut command = Command::new("unshare");
    command.arg(if testkit::is_root() { "-m" } else { "-rm" });
    command.args(["sh", "-c", &format!("{mounts} && shift && exec ${{STRACE:-}} \"$@\""), "sh"]).arg(system);
    command.arg(agent.get_program()).args(agent.get_args()).arg(root).arg("--from").arg(source.path());
    command.env_remove("CREDENTIALS_DIRECTORY").env_remove("JOURNAL_STREAM");
    run(&mut command)
}

#[test]
fn beside_a_systemd_that_imported_nothing_its_folder_is_not_made() {
    let root = testkit::systemd_root(&[]);
    let output = import_below(root.path(), "system");
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("nothing was written"), "{}", stderr(&output));
    for outcome in ["materialized in", "nothing to do"] {
        let output = import_below(root.path(), "auto");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stderr(&output).contains("/run/credstore: PID 1 is systemd, and has imported nothing"));
        assert!(stderr(&output).contains(outcome));
    }
    assert!(!root.path().join("run/credentials/@system").exists());
    assert_eq!(fs::read(root.path().join("run/credstore/b")).unwrap(), [0, 1, 2]);
}

#[test]
fn beside_a_systemd_that_imported_everything_nothing_is_written() {
    let root = testkit::systemd_root(&[("a", b"one"), ("b", b"\0\x01\x02"), ("other", b"kept")]);
    let system = root.path().join("run/credentials/@system");
    let inodes = || {
        fs::read_dir(&system).unwrap().map(|file| file.unwrap().metadata().unwrap().ino()).collect::<Vec<_>>()
    };
    let before = inodes();
    let output = import_below(root.path(), "auto");
    assert_eq!((code(&output), inodes()), (0, before));
    assert!(stderr(&output).contains("nothing to do"), "{}", stderr(&output));
}

#[test]
fn a_folder_that_systemd_does_not_hand_out_is_left_alone_and_credstore_is_used() {
    for mounts in [":", "mount --bind $1 $1"] {
        let root = testkit::systemd_root(&[("a", b"on"), ("other", b"kept")]);
        let output = import_beside(root.path(), "system", mounts);
        assert_eq!(code(&output), 1);
        assert!(stderr(&output).contains("hands out nothing of"), "{}", stderr(&output));
        let output = import_beside(root.path(), "auto", mounts);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stderr(&output).contains("somebody else has filled its @system"), "{}", stderr(&output));
        assert_eq!(fs::read(root.path().join("run/credstore/a")).unwrap(), b"one");
        assert_eq!(fs::read(root.path().join("run/credentials/@system/a")).unwrap(), b"on");
    }
}

#[test]
fn what_was_repaired_before_something_failed_is_told() {
    let root = testkit::systemd_root(&[("a", b"on")]);
    let mounts = "mount --bind $1 $1 && mount -o remount,bind,ro $1 && \
                  STRACE='strace -qq -o /dev/null -e inject=renameat:error=EIO:when=2'";
    let output = import_beside(root.path(), "auto", mounts);
    assert_eq!(code(&output), 1);
    let message = stderr(&output);
    assert!(message.contains("cannot write credential b ("), "{message}");
    assert!(message.contains("repaired before that: a (2 bytes were there, 3 bytes are now)"), "{message}");
    assert_eq!(fs::read(root.path().join("run/credentials/@system/a")).unwrap(), b"one");
}

#[test]
fn in_the_initrd_everything_is_handed_over_and_in_the_host_stage_duplicates_are_removed() {
    let root = testkit::systemd_root(&[]);
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/initrd-release"), "").unwrap();
    assert_eq!(code(&import_below(root.path(), "auto")), 0);
    let drop = root.path().join("run/credentials/@initrd");
    let report = fs::read_to_string(drop.join("smbios-creds.report")).unwrap();
    assert!(report.contains("\"summary\":\"materialized in ") && !report.contains("one"), "{report}");
    assert_eq!(fs::read(drop.join("b")).unwrap(), [0, 1, 2]);
    assert_eq!(fs::read(root.path().join("run/credstore/b")).unwrap(), [0, 1, 2]);

    // The host stage's systemd has all of it, and one of them from elsewhere in the folder besides.
    fs::remove_file(root.path().join("etc/initrd-release")).unwrap();
    fs::create_dir(root.path().join("run/credentials/@system")).unwrap();
    for (name, value) in [("a", &b"one"[..]), ("b", &[0, 1, 2])] {
        let path = root.path().join("run/credentials/@system").join(name);
        fs::write(&path, value).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o400)).unwrap();
    }
    fs::write(drop.join("other"), "somebody else's").unwrap();
    fs::remove_file(drop.join("smbios-creds.report")).unwrap();
    let output = import_below(root.path(), "auto");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("2 duplicates that systemd did not take over were removed"));
    let left: Vec<_> = fs::read_dir(&drop).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["other"]);
}

#[test]
fn a_report_that_cannot_be_left_fails_no_import() {
    let root = testkit::systemd_root(&[]);
    fs::create_dir_all(root.path().join("run/smbios-creds/report.json")).unwrap();
    fs::set_permissions(root.path().join("run/smbios-creds"), PermissionsExt::from_mode(0o700)).unwrap();
    let output = import_below(root.path(), "auto");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("warning: no report is left: cannot write the report to"));
    assert_eq!(fs::read(root.path().join("run/credstore/a")).unwrap(), b"one");
}

#[test]
fn what_systemd_cut_or_lost_is_repaired_and_reported_with_both_sizes() {
    let root = testkit::systemd_root(&[("a", b"on"), ("other", b"kept")]);
    let system = root.path().join("run/credentials/@system");
    fs::write(system.join(".smbios-creds-1"), "left by a killed import").unwrap();
    let output = import_below(root.path(), "auto");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("repaired credential a (2 bytes were there, 3 bytes are now)"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("repaired credential b (nothing was there, 3 bytes are now)"));
    let read = |name| fs::read(system.join(name)).unwrap();
    assert_eq!((read("a"), read("b"), read("other")), (b"one".to_vec(), vec![0, 1, 2], b"kept".to_vec()));
    assert_eq!(fs::metadata(system.join("a")).unwrap().mode() & 0o7777, 0o400);
    assert_eq!(fs::read_dir(&system).unwrap().count(), 3);
}

#[test]
fn a_value_that_systemd_has_from_elsewhere_is_left_alone_and_named() {
    for other in ["two", "one more"] {
        let root = testkit::systemd_root(&[("a", other.as_bytes())]);
        let output = import_below(root.path(), "auto");
        assert_eq!(code(&output), 1);
        assert!(stderr(&output).contains("credential a: "), "{}", stderr(&output));
        assert!(stderr(&output).contains("it was left alone"));
        let read = |name| fs::read(root.path().join("run/credentials/@system").join(name)).unwrap();
        assert_eq!(
            (read("a"), read("b")),
            (other.as_bytes().to_vec(), vec![0, 1, 2]),
            "what is missing is mended"
        );
    }
}

/// Runs an import and has the kernel do something at the nth call of one kind; `None` if it makes fewer.
fn import_with(place: &Place, call: &str, action: &str, n: usize) -> Option<Output> {
    let trace = place.source.path().join("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o"])
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
    (trace.contains("INJECTED") || trace.contains("killed by SIGKILL")).then_some(output)
}

/// Does so at every call of every kind, each time in a new place, and has the outcome checked. Returns how often.
fn at_every_call(
    calls: &str,
    action: &str,
    old: Option<&str>,
    check: impl Fn(&Place, &Output, &str),
) -> usize {
    let mut instants = 0;
    for call in calls.split(',') {
        for n in 1.. {
            let place = place_with(old);
            let Some(output) = import_with(&place, call, action, n) else { break };
            let what = format!("{action} at {call} {n}: {}", stderr(&output));
            assert_old_or_new(&place, old, &what);
            check(&place, &output, &what);
            // The next import completes, and removes what was left.
            let next = place.import(&[]);
            assert_eq!(code(&next), 0, "{what}{}", stderr(&next));
            assert_eq!((place.files().len(), place.beside().len()), (2, 0), "{what}");
            instants += 1;
        }
    }
    instants
}

/// Everything there is to see: no folder, the old one, or the new one; never a part of it.
fn assert_old_or_new(place: &Place, old: Option<&str>, what: &str) {
    let files = if place.target().exists() { Some(place.files()) } else { None };
    let old = old.map(|value| BTreeMap::from([("a".to_owned(), value.as_bytes().to_vec())]));
    let new = BTreeMap::from([("a".into(), b"one".to_vec()), ("b".into(), vec![0, 1, 2])]);
    assert!(files == old || files == Some(new), "{what}: {files:?}");
}

fn place_with(old: Option<&str>) -> Place {
    let place = Place::new(TWO);
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
                    // But for the loader's own words, before the agent runs.
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the name is, a file appears in the folder under exactly that name, or nowhere.
    #[test]
    fn no_name_leads_a_write_out_of_the_folder(name in prop_oneof![
        "[ -~]{1,20}", "([.]{0,3}/){1,3}[a-z]{0,3}", Just("..".to_owned()), Just(".".to_owned()), "[.]{1,4}",
    ]) {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("in/creds");
        fs::create_dir(folder.path().join("in")).unwrap();
        let string = [b"io.systemd.credential:", name.as_bytes(), b"=value"].concat();
        let delivery = testkit::verdict(&table(&[&string]));
        let set: Vec<_> = delivery.intact().collect();
        let choice = Choose::At(Target::Directory(into.clone())).choose(&System::running());
        choice.fill(&System::running(), &set).unwrap();
        let list = |path: &Path| -> Vec<String> {
            fs::read_dir(path).map(|d| d.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()).unwrap_or_default()
        };
        prop_assert_eq!(list(folder.path()), ["in"]);
        let names: Vec<_> = set.iter().map(|c| c.name.to_string()).collect();
        prop_assert_eq!(list(&into), names.clone());
        prop_assert_eq!(list(&folder.path().join("in")).len(), names.len());
    }
}
