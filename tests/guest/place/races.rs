//! What others do during an import: another import, or a user who can write to the directory above the destination.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{agent, canary, code, recording, run, stderr, stdout, table};

use super::{
    CANARY, Guest, NOBODY, TWO, assert_clean, holds_value, holds_value_in, in_namespace, names, source,
};

/// A staging directory of another import. Its name ends in a checksum of the part before the last '-'.
const STAGING: &str = ".smbios-creds-1-0-37f7b47ab8f50bd5";

/// A directory in which an import makes `creds` with two credentials.
struct Place {
    folder: tempfile::TempDir,
    source: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("above")).unwrap();
        let string =
            |name: &str| [b"io.systemd.credential:", name.as_bytes(), b"=", CANARY.as_bytes()].concat();
        Self { folder, source: recording(&table(&[&string("a"), &string("b")])) }
    }

    fn above(&self) -> PathBuf {
        self.folder.path().join("above")
    }

    fn creds(&self) -> PathBuf {
        self.above().join("creds")
    }

    /// Runs an import that stops after the `number`th call of this kind until `meanwhile` is done.
    fn import_held(&self, call: &str, number: u32, meanwhile: impl FnOnce()) -> Output {
        self.import_held_on(None, call, number, meanwhile)
    }

    /// Does the same, but counts only the calls that name this path or have its file descriptor.
    fn import_held_on(
        &self,
        path: Option<&Path>,
        call: &str,
        number: u32,
        meanwhile: impl FnOnce(),
    ) -> Output {
        let mut import = agent(&["import", "--from"]);
        import.arg(self.source.path()).arg("--into").arg(self.creds());
        held(&import, &self.folder.path().join("log"), path, call, number, meanwhile)
    }
}

/// Runs an import that stops after the `number`th call of this kind until `meanwhile` is done. If `path` is given,
/// counts only the calls that name this path or have its file descriptor.
fn held(
    import: &Command,
    log: &Path,
    path: Option<&Path>,
    call: &str,
    number: u32,
    meanwhile: impl FnOnce(),
) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-e", &format!("inject={call}:signal=SIGSTOP:when={number}"), "-o"]).arg(log);
    if let Some(path) = path {
        strace.arg("-P").arg(path);
    }
    strace
        .arg(import.get_program())
        .args(import.get_args())
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null());
    let mut strace = strace.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !fs::read_to_string(log).unwrap_or_default().contains("--- stopped by SIGSTOP ---") {
        assert_eq!(strace.try_wait().unwrap(), None, "it ended without {call}");
        std::thread::sleep(Duration::from_millis(5));
    }
    meanwhile();
    let agent = fs::read_to_string(format!("/proc/{0}/task/{0}/children", strace.id())).unwrap();
    kill(Pid::from_raw(agent.trim().parse().unwrap()), Signal::SIGCONT).unwrap();
    strace.wait_with_output().unwrap()
}

/// Another user replaces the staging directory after the import has made it. Nothing is written anywhere else, and
/// the user reads no value.
#[test]
fn nothing_put_in_the_place_of_the_staging_folder_is_written_to() {
    // Without root, the other user would be the user of the import, who is trusted.
    if !testkit::is_root() {
        return;
    }
    let not_ours = "belongs to another user, or other users can write to it";
    for (script, message) in [
        ("ln -s ../outside $f", "create a temporary directory next to"),
        ("mkdir -m 777 $f", not_ours),
        ("mkdir -m 755 $f && ln -s ../../outside/file $f/a", not_ours),
        // The other user only moves the directory, and the import makes another one.
        (":", ""),
    ] {
        let place = Place::new();
        let outside = place.folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "").unwrap();
        let output = place.import_held("mkdirat", 1, || {
            // Change mode and owner only now, because an import refuses such a directory when it starts.
            fs::set_permissions(place.above(), PermissionsExt::from_mode(0o777)).unwrap();
            chown(place.above(), Some(NOBODY), Some(NOBODY)).unwrap();
            let mut theirs = Command::new("sh");
            theirs.arg("-c").arg(format!("f=$(echo .smbios-creds-*) && mv $f moved && {script}"));
            let theirs = theirs.current_dir(place.above()).uid(NOBODY).gid(NOBODY).status().unwrap();
            assert!(theirs.success(), "{script}");
        });
        assert_eq!(code(&output), i32::from(!message.is_empty()), "{script}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{script}: {}", stderr(&output));
        assert!(!stderr(&output).contains("internal error"));
        assert_eq!(names(&outside), ["file"], "{script}");
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"", "{script}");
        for folder in names(&place.above()).iter().map(|name| place.above().join(name)) {
            let metadata = fs::symlink_metadata(&folder).unwrap();
            let files = if metadata.is_dir() { names(&folder) } else { vec![] };
            let values =
                files.iter().filter(|file| fs::read(folder.join(file)).unwrap() == CANARY.as_bytes()).count();
            assert!(values == 0 || folder == place.creds(), "{script}: {}", folder.display());
            assert!(values == 0 || (metadata.uid(), metadata.mode() & 0o7777) == (0, 0o700), "{script}");
        }
        assert_eq!(place.creds().exists(), message.is_empty(), "{script}");
    }
}

/// The directory is exchanged when the import has opened it and has not yet looked at its path.
#[test]
fn directory_that_is_exchanged_before_its_path_is_seen_is_refused() {
    for by_link in [false, true] {
        let place = Place::new();
        let moved = place.folder.path().join("moved");
        let output = place.import_held_on(Some(&place.above()), "openat", 1, || {
            fs::rename(place.above(), &moved).unwrap();
            let other = place.folder.path().join(if by_link { "other" } else { "above" });
            fs::create_dir(&other).unwrap();
            if by_link {
                symlink(&other, place.above()).unwrap();
            }
        });
        assert_eq!(code(&output), 1, "{by_link}: {}", stderr(&output));
        assert!(stderr(&output).contains("nothing was written there"), "{}", stderr(&output));
        assert!(!holds_value(place.folder.path()), "{by_link}");
    }
}

/// The staging directory is removed when the import has opened it and has not yet locked it.
#[test]
fn a_staging_folder_that_is_removed_before_it_is_locked_is_not_used() {
    let place = Place::new();
    // The first call opens the directory above the destination, the second one the staging directory.
    let output = place.import_held_on(Some(&place.above()), "openat", 2, || {
        let [staging] = names(&place.above()).try_into().unwrap();
        fs::remove_dir(place.above().join(staging)).unwrap();
    });
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(
        (names(&place.creds()), names(&place.above())),
        (vec!["a".into(), "b".into()], vec!["creds".into()])
    );
}

/// The import has listed the destination and links its files into the new directory. Then somebody adds one more
/// file.
#[test]
fn a_file_that_somebody_adds_before_the_exchange_is_kept() {
    let place = Place::new();
    fs::create_dir(place.creds()).unwrap();
    fs::write(place.creds().join("other"), "theirs").unwrap();
    let output = place.import_held("linkat", 1, || {
        fs::write(place.creds().join("late"), "theirs too").unwrap();
    });
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(names(&place.creds()), ["a", "b", "late", "other"]);
    assert_eq!(fs::read(place.creds().join("late")).unwrap(), b"theirs too");
    assert_eq!(names(&place.above()), ["creds"]);
}

/// Only a complete name of a staging directory proves that an import made the directory. A prefix of the name does
/// not.
#[test]
fn directory_named_like_a_leftover_is_not_removed() {
    let place = Place::new();
    let kept = [".smbios-creds-backup", ".smbios-creds-2026-11", ".smbios-creds-1-0"];
    for name in kept {
        fs::create_dir(place.above().join(name)).unwrap();
        fs::write(place.above().join(name).join("file"), "kept").unwrap();
    }
    // A directory that contains a directory is no staging directory, whatever its name is.
    fs::create_dir_all(place.above().join(STAGING).join("below")).unwrap();
    let run = || run(agent(&["import", "--from"]).arg(place.source.path()).arg("--into").arg(place.creds()));
    let output = run();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for name in kept {
        assert_eq!(fs::read(place.above().join(name).join("file")).unwrap(), b"kept", "{name}");
    }
    assert!(place.above().join(STAGING).join("below").exists());
    // A real leftover is removed.
    fs::remove_dir(place.above().join(STAGING).join("below")).unwrap();
    fs::write(place.above().join(STAGING).join("a"), "left").unwrap();
    assert_eq!(code(&run()), 0);
    assert!(!place.above().join(STAGING).exists());
}

/// An import takes an unlocked staging directory for a leftover. Before it can remove the directory, the other import
/// moves it to the destination.
#[test]
fn a_folder_that_another_import_puts_in_place_is_not_removed_as_a_leftover() {
    let place = Place::new();
    let theirs = place.above().join(STAGING);
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("c"), "of the other import").unwrap();
    let output = place.import_held_on(Some(&theirs), "fstat,newfstatat", 1, || {
        fs::rename(&theirs, place.creds()).unwrap();
    });
    assert_eq!(fs::read(place.creds().join("c")).unwrap(), b"of the other import", "{}", stderr(&output));
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("run the import again"), "{}", stderr(&output));
    assert_eq!(names(&place.above()), ["creds"]);
}

#[test]
fn imports_at_the_same_time_do_not_harm_each_other() {
    let place = Place::new();
    for _ in 0..20 {
        let start = || {
            let mut command = agent(&["import", "--from"]);
            command.arg(place.source.path()).arg("--into").arg(place.creds());
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let outputs: Vec<Output> = [start(), start(), start()].map(|c| c.wait_with_output().unwrap()).into();
        assert!(outputs.iter().any(|output| code(output) == 0));
        for output in outputs.iter().filter(|output| code(output) != 0) {
            assert!(stderr(output).contains("run the import again"), "{}", stderr(output));
        }
        assert_eq!(
            (names(&place.creds()), names(&place.above())),
            (vec!["a".into(), "b".into()], vec!["creds".into()])
        );
        fs::remove_dir_all(place.creds()).unwrap();
    }
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
    // While the import writes the set into its staging directory, another process replaces the parent directory by a
    // link.
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

/// A process of another user that changes a directory until this value is dropped.
struct Racer(Child);

impl Racer {
    fn start(folder: &Path, script: &str) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("while :; do {script}\ndone")).arg("sh").arg(folder);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if testkit::is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Another user changes and reads the destination and the staging directories all the time. Nothing is written
/// elsewhere, and the user reads no value. strace delays the import by 0.2 s after each call that makes a directory.
#[test]
fn no_race_leads_a_write_elsewhere_or_lets_others_read_it() {
    let cases = [
        "ln -s ../outside creds; sleep 0.01; rm -f creds; mkdir creds; sleep 0.01; rm -rf creds",
        "cat .smbios-creds-*/* creds/* >>../seen/seen",
    ];
    for script in cases {
        let guest = Guest::new();
        // The directory above belongs to the other user, which is worse than on any real system. `outside` belongs to
        // us, and everybody can read it.
        let shared = guest.folder("shared", 0o777, NOBODY);
        let outside = guest.folder("outside", 0o755, 0);
        let seen = guest.folder("seen", 0o777, NOBODY);
        let racer = Racer::start(&shared, script);
        for _ in 0..10 {
            // If the set were already there, the import would not make a directory.
            _ = fs::remove_dir_all(shared.join("creds"));
            let mut import = Command::new("strace");
            import.args(["-qq", "-o", "/dev/null", "-e", "inject=mkdirat:delay_exit=200000"]);
            import.arg(env!("CARGO_BIN_EXE_smbios-creds"));
            import.args(["import", "--into"]).arg(shared.join("creds"));
            let output = run(import.arg("--from").arg(guest.source.path()).env_remove("JOURNAL_STREAM"));
            assert!(code(&output) < 2, "{script}: {}", stderr(&output));
            assert!(!stderr(&output).contains(CANARY) && !stderr(&output).contains("internal error"));
            if testkit::is_root() {
                assert_nobody_can_read(&shared);
            }
        }
        drop(racer);
        assert_eq!(names(&outside), [""; 0], "{script}");
        assert!(!testkit::is_root() || !holds_value(&seen), "{script}");
    }
}

/// Asserts that only root can read each file with a value. The directory may change during the check.
fn assert_nobody_can_read(folder: &Path) {
    for name in names(folder) {
        let path = folder.join(name);
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            assert_nobody_can_read(&path);
        } else if metadata.is_file() && holds_value_in(&path) {
            assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o400), "{}", path.display());
        }
    }
}

/// Another user mounts and links at `/run/credentials` as fast as possible, inside and outside of a separate
/// namespace. This changes nothing for the import.
#[test]
fn mounts_and_links_of_somebody_else_at_run_credentials_change_nothing() {
    let guest = Guest::new();
    let credentials = guest.folder("run/credentials", 0o755, 0);
    let seen = guest.folder("seen", 0o777, NOBODY);
    let script = "unshare -rm sh -c 'mkdir -p @system; mount -t tmpfs tmpfs . && mkdir @system && cat @system/*'
                  ln -s ../../seen @system; ln -s ../../seen ../credentials; mv ../credentials ../moved; mkdir @system
                  cat @system/* >>../../seen/seen";
    let racer = if testkit::is_root() { Some(Racer::start(&credentials, script)) } else { None };
    for _ in 0..20 {
        let output = guest.import("system");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let mounts = testkit::stdout(&output);
        assert_eq!(mounts.matches("run/credentials/@system ").count(), 1, "{mounts}");
        assert!(!mounts.contains("staging"), "{mounts}");
    }
    drop(racer);
    assert!(!holds_value(&seen) && names(&credentials).iter().all(|name| name == "@system"));
}

#[test]
fn two_imports_at_once_a_hundred_times_leave_one_complete_set() {
    let canary = canary();
    let source = source(&canary);
    let script = r#"
        mount -t tmpfs -o mode=755 tmpfs /run
        for turn in $(seq 100); do
            "$agent" import --from "$from" --into system >/dev/null 2>/run/first & first=$!
            "$agent" import --from "$from" --into system >/dev/null 2>/run/second & second=$!
            wait $first || { echo "$turn: first"; cat /run/first; }
            wait $second || { echo "$turn: second"; cat /run/second; }
            [ "$(grep -c 'imported into' /run/first)$(grep -c 'nothing to do' /run/second)" = 11 ] ||
                [ "$(grep -c 'imported into' /run/second)$(grep -c 'nothing to do' /run/first)" = 11 ] ||
                { echo "$turn: not one of each"; cat /run/first /run/second; }
            [ "$(grep -c ' /run/' /proc/self/mounts)" = 1 ] || { echo "$turn: mounts"; grep /run /proc/self/mounts; }
            [ "$(cat /run/credentials/@system/* | wc -c)" = 48 ] || echo "$turn: not complete"
            [ "$(ls -A /run/smbios-creds)" = "$(printf 'lock\nreport.json')" ] || { echo "$turn:"; ls -A /run/smbios-creds; }
            umount /run/credentials/@system
            rm -r /run/credentials
        done
        echo done"#;
    let output = in_namespace(source.path(), script);
    assert_clean(&output, &canary, "");
    assert_eq!(stdout(&output), "done\n", "{}", stderr(&output));
}

/// An import that writes its report to `run/smbios-creds` below the root directory of a guest.
fn reporting(guest: &Guest) -> Command {
    let mut import = agent(&["import", "--into", "credstore", "--from"]);
    import.arg(guest.source.path()).arg("--root").arg(guest.root.path());
    import
}

/// The report is there, nothing else is, and the import does not warn.
fn assert_reported(guest: &Guest, output: &Output) {
    assert_eq!(code(output), 0, "{}", stderr(output));
    assert!(!stderr(output).contains("no report"), "{}", stderr(output));
    let state = guest.path("run/smbios-creds");
    assert_eq!(names(&state), ["report.json"]);
    let report = fs::read_to_string(state.join("report.json")).unwrap();
    assert!(report.contains("\"summary\":\"imported into ") && report.ends_with("}\n"), "{report}");
}

/// Waits until a process waits for the lock of a file.
fn wait_for_waiter(process: &Child, file: &fs::File) {
    let parts = [format!(" {} ", process.id()), format!(":{} ", file.metadata().unwrap().ino())];
    let waits = |line: &str| line.contains("-> FLOCK") && parts.iter().all(|part| line.contains(part));
    for _ in 0..600 {
        if fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the import does not wait");
}

/// How the other import goes on while an import waits for its report.
#[derive(Clone, Copy, PartialEq)]
enum Other {
    Finishes,
    IsKilled,
    /// It finishes, and a third import writes its report.
    IsFollowed,
}

#[test]
fn report_of_another_import_is_awaited_and_not_damaged() {
    for ends in [Other::Finishes, Other::IsKilled, Other::IsFollowed] {
        let guest = Guest::new();
        let state = guest.folder("run/smbios-creds", 0o700, 0);
        let (part, report) = (state.join("report.json.part"), state.join("report.json"));
        fs::write(&part, "of another import").unwrap();
        let other = fs::File::open(&part).unwrap();
        other.lock().unwrap();
        let import = reporting(&guest).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_waiter(&import, &other);
        assert_eq!(names(&state), ["report.json.part"]);
        if ends != Other::IsKilled {
            fs::rename(&part, &report).unwrap();
        }
        let kept = fs::File::open(if ends == Other::IsKilled { &part } else { &report }).unwrap();
        if ends == Other::IsFollowed {
            let third = fs::File::create_new(&part).unwrap();
            third.lock().unwrap();
            other.unlock().unwrap();
            wait_for_waiter(&import, &third);
            assert_eq!(names(&state), ["report.json", "report.json.part"]);
        }
        drop(other);
        assert_reported(&guest, &import.wait_with_output().unwrap());
        assert_eq!(std::io::read_to_string(kept).unwrap(), "of another import");
    }
}

/// Returns how many calls of this kind an import into this guest makes until a call whose line in a trace contains
/// `text`.
fn calls_until(guest: &Guest, call: &str, text: &str) -> u32 {
    let log = guest.path("log");
    let import = reporting(guest);
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-e", &format!("trace={call}"), "-o"]).arg(&log);
    strace.arg(import.get_program()).args(import.get_args()).env_remove("JOURNAL_STREAM");
    assert_eq!(code(&run(&mut strace)), 0);
    let calls = fs::read_to_string(&log).unwrap();
    let mut calls = calls.lines().filter(|line| line.starts_with(call));
    (calls.position(|call| call.contains(text)).unwrap() + 1).try_into().unwrap()
}

/// The report of another import is removed only under its lock: never after an error such as too many open files.
#[test]
fn report_of_another_import_is_not_removed_if_it_cannot_be_opened() {
    let guest = Guest::new();
    let state = guest.folder("run/smbios-creds", 0o700, 0);
    let part = state.join("report.json.part");
    fs::write(&part, "of another import").unwrap();
    let other = fs::File::open(&part).unwrap();
    other.lock().unwrap();
    // The import first tries to create the file, and then opens it.
    let like = Guest::new();
    like.folder("run/smbios-creds", 0o700, 0);
    let opened = calls_until(&like, "openat", "\"report.json.part\"") + 1;
    let import = reporting(&guest);
    let mut strace = Command::new("timeout");
    strace.args(["60", "strace", "-qq", "-e", &format!("inject=openat:error=EMFILE:when={opened}"), "-o"]);
    strace.arg(guest.path("log")).arg(import.get_program()).args(import.get_args());
    let output = run(strace.env_remove("JOURNAL_STREAM"));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("no report of the import was written: "), "{}", stderr(&output));
    assert!(stderr(&output).contains("Too many open files"), "{}", stderr(&output));
    assert_eq!(names(&state), ["report.json.part"]);
    assert_eq!(fs::read_to_string(&part).unwrap(), "of another import");
}

/// Between creating its report and locking it, an import looks like one that was killed.
#[test]
fn report_that_another_import_has_removed_before_its_lock_is_written_again() {
    let guest = Guest::new();
    let opened = calls_until(&Guest::new(), "openat", "\"report.json.part\"");
    let output = held(&reporting(&guest), &guest.path("log"), None, "openat", opened, || {
        assert_eq!(names(&guest.path("run/smbios-creds")), ["report.json.part"]);
        fs::remove_dir_all(guest.path("run/credstore")).unwrap();
        assert_reported(&guest, &run(&mut reporting(&guest)));
    });
    assert_reported(&guest, &output);
}

#[test]
fn report_is_locked_until_it_is_complete() {
    let guest = Guest::new();
    let written = calls_until(&Guest::new(), "write", "\"{\\\"version\\\"");
    let mut second = None;
    let output = held(&reporting(&guest), &guest.path("log"), None, "write", written, || {
        let part = fs::File::open(guest.path("run/smbios-creds/report.json.part")).unwrap();
        fs::remove_dir_all(guest.path("run/credstore")).unwrap();
        let import = reporting(&guest).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_waiter(&import, &part);
        second = Some(import);
    });
    assert_eq!(code(&output), 0);
    assert!(!stderr(&output).contains("no report"), "{}", stderr(&output));
    assert_reported(&guest, &second.unwrap().wait_with_output().unwrap());
}
