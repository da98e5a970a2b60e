//! `emit --output-dir` writes structures into a directory, one structure per file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::host::{delivered, directory, host_with, qemu_smbios};
use testkit::{code, is_root, run, stderr, stdout};

const EMIT: [&str; 3] = ["emit", "--all", "--output-dir"];

fn emit(credentials: &Path, target: &Path, options: &[&str]) -> Output {
    let options = [&EMIT[..], &[target.to_str().unwrap()], options].concat();
    let format = if options.contains(&"--format=libvirt") { &[][..] } else { &["--format=structures"] };
    run(&mut host_with(credentials, &[&options, format].concat()))
}

/// Returns the content of a directory's files, by name.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default())
    };
    fs::read_dir(directory).unwrap().map(|entry| file(entry.unwrap())).collect()
}

/// Returns the names in a directory.
fn names(directory: &Path) -> Vec<String> {
    files(directory).into_keys().collect()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// A directory in memory for the output of `emit`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn target(&self) -> PathBuf {
        self.0.path().join("web")
    }
}

#[test]
fn structures_are_a_file_each_for_their_owner_only() {
    let credentials = directory(&[("db", b"secret"), ("large", &[b'x'; 9000])]);
    let place = Place::new();
    let target = place.target();
    let output = emit(credentials.path(), &target, &["--files", "5"]);
    assert_eq!((code(&output), stderr(&output).contains("on a disk")), (0, false), "{}", stderr(&output));
    let files = files(&target);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
    assert_eq!(mode(&target), 0o700);
    for (number, (name, bytes)) in files.iter().enumerate() {
        assert_eq!(mode(&target.join(name)), 0o400);
        let walked = testkit::walk(bytes, false);
        assert_eq!(walked.len(), 1, "one structure a file");
        assert_eq!(usize::from(walked[0].handle), 0x8b00 + number);
        assert_eq!(walked[0].kind, if number < 3 { 11 } else { 126 });
    }
    assert_eq!(files["4"], [126, 4, 4, 0x8b, 0, 0]);
    let delivery = delivered(&files.into_values().collect::<Vec<_>>());
    assert!(delivery.passed() && delivery.proof.is_proven());
    assert_eq!(testkit::intact(&delivery), [("db", &b"secret"[..]), ("large", &[b'x'; 9000])]);
    let expected = [0, 1, 2, 3, 4].map(|number| format!("-smbios file={}/{number}\n", target.display()));
    assert_eq!(stdout(&output), expected.concat());
    // Without `--files`, `emit` writes as many files as the set needs.
    assert_eq!(code(&emit(credentials.path(), &target, &[])), 0);
    assert_eq!(names(&target), ["0", "1", "2"]);
    assert_eq!(names(place.0.path()), ["web"]);
}

#[test]
fn too_few_files_are_refused_and_nothing_is_written() {
    let credentials = directory(&[("db", b"secret"), ("large", &[b'x'; 9000])]);
    let place = Place::new();
    let target = place.target();
    let output = emit(credentials.path(), &target, &["--files", "2"]);
    assert_eq!((code(&output), output.stdout.len()), (3, 0));
    let words = "the OEM strings need 3 structures, but only 2 are available; nothing is written\nsmbios-creds-host: \
                 help: use a larger --files";
    assert!(stderr(&output).contains(words), "{}", stderr(&output));
    assert!(names(place.0.path()).is_empty());
    // After any refusal, the existing files are still there.
    assert_eq!(code(&emit(credentials.path(), &target, &["--files", "3"])), 0);
    let before = files(&target);
    let large = directory(&[("large", &vec![b'x'; 49_000])]);
    let empty = directory(&[("db", b"")]);
    for (credentials, options) in
        [(&credentials, &["--files", "1"][..]), (&large, &[]), (&empty, &[]), (&large, &["--files", "65535"])]
    {
        let output = emit(credentials.path(), &target, options);
        assert_eq!((code(&output), output.stdout.len()), (3, 0), "{}", stderr(&output));
        assert!(stderr(&output).contains("nothing is written"), "{}", stderr(&output));
        assert_eq!((files(&target), names(place.0.path())), (before.clone(), vec!["web".to_owned()]));
    }
}

#[test]
fn inactive_structures_count_towards_the_table() {
    let credentials = directory(&[("db", b"secret")]);
    let place = Place::new();
    // QEMU leaves 61,439 bytes of the table to us, and an inactive structure has 6 bytes.
    assert_eq!(code(&emit(credentials.path(), &place.target(), &["--files", "10000"])), 0);
    let output = emit(credentials.path(), &place.target(), &["--files", "10300"]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("QEMU: size of the structure table: "), "{}", stderr(&output));
    assert_eq!(names(&place.target()).len(), 10_000);
}

#[test]
fn existing_directory_is_replaced_whole_and_keeps_its_mode() {
    let place = Place::new();
    let target = place.target();
    let (old, new) = (directory(&[("a", &[b'a'; 9000])]), directory(&[("b", b"new")]));
    assert_eq!(code(&emit(old.path(), &target, &["--files", "4"])), 0);
    // With mode 0555, a user who is not root can change or remove no file in the directory, but can replace the
    // directory.
    fs::set_permissions(&target, PermissionsExt::from_mode(0o555)).unwrap();
    let before = fs::metadata(&target).unwrap().ino();
    let opened = fs::File::open(&target).unwrap();
    let output = emit(new.path(), &target, &["--files", "2"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_ne!(fs::metadata(&target).unwrap().ino(), before, "it is another directory");
    assert_eq!(opened.metadata().unwrap().nlink(), 0, "the old one is gone");
    assert_eq!((mode(&target), names(&target)), (0o555, vec!["0".to_owned(), "1".to_owned()]));
    let delivery = delivered(&files(&target).into_values().collect::<Vec<_>>());
    assert_eq!(testkit::intact(&delivery), [("b", &b"new"[..])]);
    assert_eq!(names(place.0.path()), ["web"]);
    fs::set_permissions(&target, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn user_who_is_not_root_replaces_a_directory_that_cannot_be_written_to() {
    if !is_root() {
        return;
    }
    let credentials = directory(&[("db", b"secret")]);
    fs::set_permissions(credentials.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let place = Place::new();
    chown(place.0.path(), Some(65_534), None).unwrap();
    let as_nobody = |files: &str| {
        let target = place.target();
        let options = ["emit", "--all", "--format=structures", "--files", files, "--output-dir"];
        run(host_with(credentials.path(), &options).arg(target).uid(65_534))
    };
    for (files, mode) in [("1", 0o500), ("2", 0o500), ("3", 0o700)] {
        let output = as_nobody(files);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert_eq!(names(&place.target()).len().to_string(), files);
        fs::set_permissions(place.target(), PermissionsExt::from_mode(mode)).unwrap();
    }
    assert_eq!(names(place.0.path()), ["web"]);
    // Another user's directory is not replaced, although the mode of its parent directory would allow it.
    chown(place.target(), Some(0), None).unwrap();
    let output = as_nobody("4");
    assert_eq!((code(&output), names(&place.target()).len()), (1, 3), "{}", stderr(&output));
}

#[test]
fn directory_with_anything_else_is_refused_and_kept() {
    let credentials = directory(&[("db", b"secret")]);
    for other in ["notes", "0.bak", "-1", "٣"] {
        let place = Place::new();
        fs::create_dir(place.target()).unwrap();
        fs::write(place.target().join("0"), "old").unwrap();
        fs::write(place.target().join(other), "mine").unwrap();
        let before = files(&place.target());
        let output = emit(credentials.path(), &place.target(), &[]);
        assert_eq!((code(&output), output.stdout.len()), (1, 0));
        assert!(
            stderr(&output).contains("which this program did not write\nsmbios-creds-host: help: use a new"),
            "{}",
            stderr(&output)
        );
        assert_eq!((files(&place.target()), names(place.0.path())), (before, vec!["web".to_owned()]));
    }
    let place = Place::new();
    fs::create_dir_all(place.target().join("0")).unwrap();
    assert_eq!(code(&emit(credentials.path(), &place.target(), &[])), 1, "0 is a directory");
    assert!(place.target().join("0").is_dir());
}

#[test]
fn path_that_is_no_directory_of_this_user_is_refused() {
    let credentials = directory(&[("db", b"secret")]);
    let place = Place::new();
    let refused = |target: &Path, words: &str| {
        let output = emit(credentials.path(), target, &[]);
        assert_eq!((code(&output), output.stdout.len()), (1, 0), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert!(!names(place.0.path()).iter().any(|name| name.starts_with('.')));
    };
    let elsewhere = place.0.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, place.target()).unwrap();
    refused(&place.target(), "is not a directory (a link to one is not followed)");
    fs::write(place.0.path().join("file"), "x").unwrap();
    refused(&place.0.path().join("file"), "is not a directory");
    refused(&place.0.path().join("missing/web"), "No such file");
    refused(Path::new("/"), "does not end in a name");
    refused(&place.0.path().join(".."), "does not end in a name");
    assert!(names(&elsewhere).is_empty());
    // `emit` refuses a directory that others can write to, and a directory of another user.
    fs::set_permissions(&elsewhere, PermissionsExt::from_mode(0o777)).unwrap();
    refused(&elsewhere, "another user owns it or can change its contents");
    fs::set_permissions(&elsewhere, PermissionsExt::from_mode(0o700)).unwrap();
    if is_root() {
        chown(&elsewhere, Some(65_534), None).unwrap();
        refused(&elsewhere, "another user owns it or can change its contents");
    }
    // `emit` refuses such a parent directory too.
    let parent = place.0.path().join("parent");
    fs::create_dir(&parent).unwrap();
    fs::set_permissions(&parent, PermissionsExt::from_mode(0o777)).unwrap();
    refused(&parent.join("web"), "parent: another user owns it or can change its contents");
    fs::set_permissions(&parent, PermissionsExt::from_mode(0o755)).unwrap();
    if is_root() {
        chown(&parent, Some(65_534), None).unwrap();
        refused(&parent.join("web"), "parent: another user owns it or can change its contents");
    }
    assert!(names(&parent).is_empty());
}

#[test]
fn arguments_name_files_whose_path_has_odd_characters() {
    let credentials = directory(&[("db", b"secret")]);
    let place = Place::new();
    let target = place.0.path().join("a,b c'd,,=&<\"$`x");
    let output = emit(credentials.path(), &target, &["--files", "2"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    // A shell splits the output into QEMU's arguments, and QEMU's parser reads a doubled comma as one comma.
    let script = format!("printf '%s\\n' {}", stdout(&output).replace('\n', " "));
    let words = Command::new("sh").args(["-c", &script]).output().unwrap();
    let words: Vec<String> = stdout(&words).lines().map(str::to_owned).collect();
    assert_eq!(words.len(), 4);
    for (number, option) in qemu_smbios(&words).iter().enumerate() {
        assert_eq!(option[..], [("file".to_owned(), format!("{}/{number}", target.display()))]);
        assert!(Path::new(&option[0].1).is_file());
    }
    let output = emit(credentials.path(), &target, &["--format=libvirt", "--files", "2"]);
    let xml = stdout(&output);
    let value = |line: &str| {
        let value = line.strip_prefix("  <qemu:arg value='")?.strip_suffix("'/>")?;
        assert!(!value.contains(['\'', '<']), "{value}");
        Some(value.replace("&apos;", "'").replace("&lt;", "<").replace("&amp;", "&"))
    };
    assert_eq!(xml.lines().filter_map(value).collect::<Vec<_>>(), words);
    assert!(xml.starts_with("<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"));
    assert!(xml.ends_with("/>\n</qemu:commandline>\n") && !stderr(&output).contains("command line"));
    let control = place.0.path().join("a\nb");
    let output = emit(credentials.path(), &control, &[]);
    assert_eq!((code(&output), control.exists()), (3, false));
    assert!(stderr(&output).contains("a\\nb has control characters"), "{}", stderr(&output));
}

#[test]
fn relative_directory_is_named_by_its_absolute_path() {
    let credentials = directory(&[("db", b"secret")]);
    let place = Place::new();
    let options = ["emit", "--all", "--format=structures", "--output-dir", "web/"];
    let output = run(host_with(credentials.path(), &options).current_dir(place.0.path()));
    assert_eq!(stdout(&output), format!("-smbios file={}/0\n", place.target().display()));
    assert_eq!(names(&place.target()), ["0"]);
}

#[test]
fn directory_on_a_disk_is_warned_of() {
    let credentials = directory(&[("db", b"secret")]);
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let target = disk.path().join("web");
    let output = emit(credentials.path(), &target, &[]);
    let words = format!("{} is on a disk: the secrets stay there in plain text", target.display());
    assert_eq!((code(&output), stderr(&output).contains(&words)), (0, true), "{}", stderr(&output));
}

#[test]
fn options_that_make_no_sense_with_a_directory_are_usage_errors() {
    let credentials = directory(&[("db", b"secret")]);
    let place = Place::new();
    let target = place.target();
    let target = target.to_str().unwrap();
    for options in [
        &["--format=structures", "--files", "2"][..],
        &["--format=structures", "--output-dir", target, "--files", "0"],
        &["--format=structures", "--output-dir", target, "--output", "x"],
        &["--format=qemu", "--output-dir", target],
        &["--format=json", "--output-dir", target],
        &["--format=incus", "--output-dir", target],
    ] {
        let output = run(&mut host_with(credentials.path(), &[&["emit", "--all"], options].concat()));
        assert_eq!((code(&output), output.stdout.len()), (2, 0), "{options:?} {}", stderr(&output));
    }
    assert!(names(place.0.path()).is_empty());
}

/// Runs `emit` under strace, which injects `action` at the nth system call of this kind. Returns `None` if `emit`
/// makes fewer of these calls.
fn emit_with(credentials: &Path, target: &Path, call: &str, action: &str, n: usize) -> Option<Output> {
    let trace = credentials.with_extension("trace");
    // `env` resets signals to their default action, since an ignored signal would not end `emit`.
    let mut command = Command::new("env");
    command
        .args(["--default-signal", "strace", "-f", "-qq", "-o"])
        .arg(&trace)
        .arg("-e")
        .arg(format!("inject={call}:{action}:when={n}"));
    command.arg(env!("CARGO_BIN_EXE_smbios-creds-host")).args(EMIT).arg(target);
    command.args(["--format=structures", "--files=2", "--credentials"]).arg(credentials);
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("strace is needed, ./tests/run installs it: {error}"));
    let text = fs::read_to_string(&trace).unwrap();
    fs::remove_file(trace).unwrap();
    ["INJECTED", "killed by SIGKILL", "--- SIG"].iter().any(|word| text.contains(word)).then_some(output)
}

/// Injects `action` at every call that changes a file system, and has `check` check each outcome. Returns the number
/// of injections.
fn at_every_call(action: &str, check: impl Fn(&Place, &Output, &str)) -> usize {
    let (old, new) = (directory(&[("a", b"old")]), directory(&[("a", b"new"), ("b", &[b'x'; 3000])]));
    let mut instants = 0;
    for replaces in [false, true] {
        for call in ["mkdirat", "openat", "write", "renameat", "renameat2", "unlinkat", "fchmod", "flock"] {
            for n in 1.. {
                let place = Place::new();
                let target = place.target();
                if replaces {
                    assert_eq!(code(&emit(old.path(), &target, &["--files=2"])), 0);
                }
                let before = target.exists().then(|| files(&target));
                let Some(output) = emit_with(new.path(), &target, call, action, n) else { break };
                let what = format!("{action} at {call} {n}: {}", stderr(&output));
                let after = target.exists().then(|| files(&target));
                if after != before {
                    let delivery = delivered(&after.unwrap_or_default().into_values().collect::<Vec<_>>());
                    assert!(delivery.passed() && delivery.proof.is_proven(), "{what}");
                    assert_eq!(delivery.intact().count(), 2, "{what}");
                }
                check(&place, &output, &what);
                // The next `emit` completes, and removes the files that the previous `emit` left.
                assert_eq!(code(&emit(new.path(), &target, &["--files=2"])), 0, "{what}");
                assert_eq!(
                    (names(&target).len(), names(place.0.path())),
                    (2, vec!["web".to_owned()]),
                    "{what}"
                );
                instants += 1;
            }
        }
    }
    instants
}

#[test]
fn directory_is_old_or_new_if_emit_is_killed_at_any_call() {
    let instants =
        at_every_call("signal=KILL", |_, output, what| assert!(output.status.code().is_none(), "{what}"));
    assert!(instants > 30, "{instants}");
}

#[test]
fn emit_that_is_ended_by_a_signal_leaves_no_plain_text_beside_the_directory() {
    for signal in ["TERM", "INT"] {
        let instants = at_every_call(&format!("signal={signal}"), |place, _, what| {
            let left = names(place.0.path());
            assert!(left.iter().all(|name| name == "web"), "{what}: {left:?}");
        });
        assert!(instants > 30, "{instants}");
    }
}

#[test]
fn file_of_emit_that_is_ended_by_a_signal_is_whole_or_absent() {
    let credentials = directory(&[("a", b"one"), ("b", &[b'x'; 3000])]);
    let place = Place::new();
    let (trace, file) = (place.0.path().join("trace"), place.0.path().join("file"));
    let mut size = None;
    for call in ["openat", "write", "fsync"] {
        for n in 1.. {
            let mut command = Command::new("env");
            command.args(["--default-signal", "strace", "-f", "-qq", "-o"]).arg(&trace).arg("-e");
            command.arg(format!("inject={call}:signal=TERM:when={n}"));
            command.arg(env!("CARGO_BIN_EXE_smbios-creds-host")).args(["emit", "--all", "--format=strings"]);
            command.arg("--credentials").arg(credentials.path()).arg("--output").arg(&file);
            let output = command.output().unwrap();
            if !fs::read_to_string(&trace).unwrap().contains("--- SIG") {
                assert!(n > 1, "{call}: {}", stderr(&output));
                break;
            }
            if let Ok(found) = fs::metadata(&file) {
                let whole = *size.get_or_insert(found.len());
                assert!(whole > 4000 && found.len() == whole, "{call} {n}: {} bytes", found.len());
                fs::remove_file(&file).unwrap();
            }
        }
        _ = fs::remove_file(&file);
    }
    assert!(size.is_some());
}

#[test]
fn directory_named_like_a_leftover_is_not_removed() {
    let credentials = directory(&[("db", b"secret")]);
    let place = Place::new();
    for name in [".smbios-creds-host-2026-11", ".smbios-creds-host-1-0-0000000000000000"] {
        let directory = place.0.path().join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("0"), "mine").unwrap();
        assert_eq!(code(&emit(credentials.path(), &place.target(), &[])), 0);
        assert_eq!(fs::read(directory.join("0")).unwrap(), b"mine", "{name}");
    }
}

#[test]
fn directory_of_a_path_that_another_user_can_change_is_refused() {
    let credentials = directory(&[("db", b"secret")]);
    let place = Place::new();
    let above = place.0.path().join("above");
    fs::create_dir_all(above.join("parent")).unwrap();
    fs::set_permissions(&above, PermissionsExt::from_mode(0o777)).unwrap();
    let output = emit(credentials.path(), &above.join("parent/web"), &[]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("above: another user owns it or can change"), "{}", stderr(&output));
    // In a sticky directory, others can write, but can change only their own files.
    fs::set_permissions(&above, PermissionsExt::from_mode(0o1777)).unwrap();
    assert_eq!(code(&emit(credentials.path(), &above.join("web"), &[])), 0);
}

#[test]
fn directory_is_old_or_new_if_any_call_fails() {
    let instants = at_every_call("error=EIO", |_, output, what| {
        assert!([0, 1, 3].contains(&code(output)), "{what}");
        assert!(code(output) == 0 || !stderr(output).is_empty(), "{what}");
    });
    assert!(instants > 30, "{instants}");
}
