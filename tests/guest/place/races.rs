//! What others do while an import is at work: another import, or whoever can write to the folder above.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{agent, code, recording, stderr, table};

/// Whom nobody trusts.
const NOBODY: u32 = 65_534;

const CANARY: &[u8] = b"Canary-of-a-value";

/// A folder that is to get `creds` with two credentials.
struct Place {
    folder: tempfile::TempDir,
    source: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("above")).unwrap();
        let string = |name: &str| [b"io.systemd.credential:", name.as_bytes(), b"=", CANARY].concat();
        Self { folder, source: recording(&table(&[&string("a"), &string("b")])) }
    }

    fn above(&self) -> PathBuf {
        self.folder.path().join("above")
    }

    fn creds(&self) -> PathBuf {
        self.above().join("creds")
    }

    /// An import that stands still behind the `number`th call of this kind until `meanwhile` is done.
    fn import_held(&self, program: &Path, call: &str, number: u32, meanwhile: impl FnOnce()) -> Output {
        let log = self.folder.path().join("log");
        let mut import = Command::new("strace");
        import.args(["-qq", "-e", &format!("inject={call}:signal=SIGSTOP:when={number}"), "-o"]).arg(&log);
        import.arg(program).args(["import", "--from"]).arg(self.source.path());
        import.arg("--into").arg(self.creds()).env_remove("JOURNAL_STREAM").stdin(Stdio::null());
        let mut import = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while !fs::read_to_string(&log).unwrap_or_default().contains("--- stopped by SIGSTOP ---") {
            assert_eq!(import.try_wait().unwrap(), None, "it ended without {call}");
            std::thread::sleep(Duration::from_millis(5));
        }
        meanwhile();
        let agent = fs::read_to_string(format!("/proc/{0}/task/{0}/children", import.id())).unwrap();
        kill(Pid::from_raw(agent.trim().parse().unwrap()), Signal::SIGCONT).unwrap();
        import.wait_with_output().unwrap()
    }
}

fn native() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_smbios-creds"))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whatever somebody else puts into the place of the staging folder once it is made: nothing is written anywhere else,
/// and they read nothing.
#[test]
fn nothing_put_in_the_place_of_the_staging_folder_is_written_to() {
    // As ourselves, what they make would be ours.
    if !testkit::is_root() {
        return;
    }
    let not_ours = "belongs to somebody else or can be written by others";
    for (script, message) in [
        ("ln -s ../outside $f", "make a staging folder beside"),
        ("mkdir -m 777 $f", not_ours),
        ("mkdir -m 755 $f && ln -s ../../outside/file $f/a", not_ours),
        // Then another name is taken.
        (":", ""),
    ] {
        let place = Place::new();
        fs::set_permissions(place.above(), PermissionsExt::from_mode(0o777)).unwrap();
        chown(place.above(), Some(NOBODY), Some(NOBODY)).unwrap();
        let outside = place.folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "").unwrap();
        let output = place.import_held(native(), "mkdirat", 1, || {
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
            let values = files.iter().filter(|file| fs::read(folder.join(file)).unwrap() == CANARY).count();
            assert!(values == 0 || folder == place.creds(), "{script}: {}", folder.display());
            assert!(values == 0 || (metadata.uid(), metadata.mode() & 0o7777) == (0, 0o700), "{script}");
        }
        assert_eq!(place.creds().exists(), message.is_empty(), "{script}");
    }
}

/// It has been opened then, and is gone before it is locked.
#[test]
fn a_staging_folder_that_is_removed_before_it_is_locked_is_not_used() {
    // The static agent's first openat opens it: no loader opens anything before.
    if !testkit::static_agent_is_small() {
        return;
    }
    let place = Place::new();
    let output = place.import_held(&testkit::static_agent(), "openat", 1, || {
        let [staging] = names(&place.above()).try_into().unwrap();
        fs::remove_dir(place.above().join(staging)).unwrap();
    });
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(
        (names(&place.creds()), names(&place.above())),
        (vec!["a".into(), "b".into()], vec!["creds".into()])
    );
}

/// The folder is listed, and its files are brought along; then comes one more.
#[test]
fn a_file_that_somebody_adds_before_the_exchange_is_kept() {
    let place = Place::new();
    fs::create_dir(place.creds()).unwrap();
    fs::write(place.creds().join("other"), "theirs").unwrap();
    let output = place.import_held(native(), "linkat", 1, || {
        fs::write(place.creds().join("late"), "theirs too").unwrap();
    });
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(names(&place.creds()), ["a", "b", "late", "other"]);
    assert_eq!(fs::read(place.creds().join("late")).unwrap(), b"theirs too");
    assert_eq!(names(&place.above()), ["creds"]);
}

/// What is taken for a leftover, since nobody holds it any more, has been put in place by its import since.
#[test]
fn a_folder_that_another_import_puts_in_place_is_not_removed_as_a_leftover() {
    // The static agent's calls are its own: no loader opens anything before. The third fstat looks at what was opened
    // as a leftover.
    if !testkit::static_agent_is_small() {
        return;
    }
    let place = Place::new();
    let theirs = place.above().join(".smbios-creds-1-0");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("c"), "of the other import").unwrap();
    let output = place
        .import_held(&testkit::static_agent(), "fstat", 3, || fs::rename(&theirs, place.creds()).unwrap());
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
