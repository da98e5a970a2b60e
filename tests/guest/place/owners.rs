//! The folders that credentials and reports go to: whose they are, and what in them is no file of ours.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use smbios_creds::guest::place::Place;
use smbios_creds::guest::place::choose::Into;
use smbios_creds::guest::system::System;
use testkit::{agent, code, recording, run, stderr, stdout, table};

const TWO: &[&[u8]] = &[b"io.systemd.credential:a=one", b"io.systemd.credential.binary:b=AAEC"];

/// Imports below a root folder, in a mount namespace of its own and behind these commands.
fn import_behind(root: &Path, sink: &str, mounts: &str) -> Output {
    let source = recording(&table(TWO));
    let mut command = Command::new("unshare");
    command.arg(if testkit::is_root() { "-m" } else { "-rm" });
    command.args(["sh", "-c", &format!("{mounts} && exec \"$@\""), "sh", env!("CARGO_BIN_EXE_smbios-creds")]);
    command.args(["import", "--into", sink, "--root"]).arg(root).arg("--from").arg(source.path());
    run(command.env_remove("CREDENTIALS_DIRECTORY").env_remove("JOURNAL_STREAM"))
}

fn read_only(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn no_link_in_our_own_paths_is_followed() {
    for (link, sinks) in [
        ("run", &["system", "initrd", "credstore"][..]),
        ("run/credentials", &["system", "initrd"]),
        ("run/smbios-creds", &["system"]),
        ("run/credentials/@system", &["system"]),
        ("run/credentials/@initrd", &["initrd"]),
        ("run/credstore", &["credstore"]),
    ] {
        for sink in sinks {
            let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let link = root.path().join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(elsewhere.path(), &link).unwrap();
            let output = import_behind(root.path(), sink, ":");
            assert_eq!(code(&output), 1, "{} for {sink}: {}", link.display(), stderr(&output));
            assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "{} for {sink}", link.display());
        }
    }
}

#[test]
fn beside_systemd_nothing_is_repaired_behind_a_link() {
    let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in ["run/systemd/system", "run/credentials"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    fs::write(elsewhere.path().join("a"), "on").unwrap();
    read_only(&elsewhere.path().join("a"), 0o400);
    symlink(elsewhere.path(), root.path().join("run/credentials/@system")).unwrap();
    // As systemd leaves its own.
    let folder = elsewhere.path().display();
    let mounts = format!("mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}");
    let output = import_behind(root.path(), "system", &mounts);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert_eq!(fs::read(elsewhere.path().join("a")).unwrap(), b"on");
    assert!(!elsewhere.path().join("b").exists());
}

/// What systemd's units read is mended behind their backs, through a view of our own.
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

#[test]
fn a_folder_that_is_replaced_by_a_link_meanwhile_leads_nothing_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["parent", "outside"] {
        fs::create_dir(path(name)).unwrap();
    }
    let source = recording(&table(TWO));
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", "inject=renameat,renameat2:delay_enter=2000000"]);
    command.arg(env!("CARGO_BIN_EXE_smbios-creds")).args(["import", "--from"]).arg(source.path());
    command.arg("--into").arg(path("parent/creds")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // While it prepares the set beside its place, somebody else exchanges the folder of both.
    while fs::read_dir(path("parent")).unwrap().count() == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it prepares nothing");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fs::rename(path("parent"), path("moved")).unwrap();
    symlink(path("outside"), path("parent")).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read(path("moved/creds/a")).unwrap(), b"one", "it is in the folder that was opened");
    assert_eq!(fs::read_dir(path("outside")).unwrap().count(), 0);
}

#[test]
fn a_link_to_the_same_bytes_is_not_taken_for_the_credential() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = outside.path().join("file");
    fs::write(&file, "one").unwrap();
    read_only(&file, 0o400);
    symlink(&file, folder.path().join("a")).unwrap();
    let source = recording(&table(&TWO[..1]));
    let into = |verb| {
        let mut command = agent(&[verb, "--from"]);
        run(command.arg(source.path()).arg("--into").arg(folder.path()))
    };
    assert!(stdout(&into("list")).contains(" differs "), "whoever owns the file can change it");
    let output = into("import");
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("holds 'a', which is not a regular file"), "{}", stderr(&output));
}

#[test]
fn a_file_that_is_there_already_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("creds");
    // A mistake of whoever uses the library: the second one must not end up in the file of the first.
    let set = [testkit::credential("a", b"first"), testkit::credential("a", b"second")];
    let system = System::running();
    let choice = Into::At(Place::Directory(into.clone())).choose(&system);
    let error = choice.fill(&system, &[&set[0], &set[1]]).unwrap_err();
    assert!(error.to_string().contains("File exists"), "{error}");
    assert!(!into.exists());
}

#[test]
fn nothing_is_mounted_below_a_folder_of_somebody_else() {
    if !testkit::is_root() {
        return; // Only root can make one.
    }
    for folder in ["run", "run/credentials", "run/smbios-creds"] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(folder);
        fs::create_dir_all(&path).unwrap();
        chown(&path, Some(65_534), None).unwrap();
        let output = import_behind(root.path(), "system", ":");
        assert_eq!(code(&output), 1, "{folder}");
        assert!(stderr(&output).contains("nothing is put there"), "{}", stderr(&output));
        assert!(!root.path().join("run/credentials/@system").exists());
    }
}

#[test]
fn the_report_is_for_its_owner_alone_and_holds_no_value() {
    let root = tempfile::tempdir().unwrap();
    let output = import_behind(root.path(), "credstore", "umask 0");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("run/smbios-creds"), 0o700);
    assert_eq!((mode("run/smbios-creds/report.json"), mode("run/smbios-creds/lock")), (0o600, 0o600));
    let report = fs::read_to_string(root.path().join("run/smbios-creds/report.json")).unwrap();
    assert!(report.contains("\"name\":\"a\"") && !report.contains("one") && !report.contains("AAEC"));
}

/// Services that are not root look for theirs below it.
#[test]
fn the_folder_above_has_its_mode_whatever_the_umask_is() {
    let root = tempfile::tempdir().unwrap();
    let output = import_behind(root.path(), "initrd", "umask 077");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("run/credentials"), mode("run/credentials/@initrd")), (0o755, 0o700));
}

/// Were it read twice, it could say two things.
#[test]
fn each_file_of_a_table_is_opened_once() {
    let source = recording(&table(TWO));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let verbs: [&[&str]; 6] = [
        &["list"],
        &["check"],
        &["cat", "a"],
        &["import", "--into", &path("creds")],
        &["exec", "--into", &path("creds"), "--", "true"],
        &["record", &path("recorded")],
    ];
    for verb in verbs {
        for file in ["smbios_entry_point", "DMI"] {
            _ = fs::remove_dir_all(path("recorded"));
            let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
            // An event that is like the last one is left out: what is between two openings has to be seen as well.
            let events = WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::CLOSE_NOWRITE;
            inotify::add_watch(&watch, source.path().join(file), events).unwrap();
            let mut command = agent(&[verb[0], "--from"]);
            assert_eq!(code(&run(command.arg(source.path()).args(&verb[1..]))), 0, "{verb:?}");
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(&watch, &mut buffer);
            let events = std::iter::from_fn(|| reader.next().ok().map(|event| event.events()));
            assert_eq!(events.filter(|event| event.contains(ReadFlags::OPEN)).count(), 1, "{verb:?}: {file}");
        }
    }
}
