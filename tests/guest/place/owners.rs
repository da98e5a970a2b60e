//! The directories that credentials and reports go to: who owns them, and who can write to them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{agent, code, is_root, recording, run, stderr, stdout, table};

use super::{Guest, NOBODY, TWO, holds_value, import_behind, in_namespace, names};

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
            stderr(&output).contains("other users can write to it, so nothing was written there"),
            "{}",
            stderr(&output)
        );
        assert!(!root.path().join("run/credentials/@system").exists());
    }
}

#[test]
fn nothing_is_mounted_below_a_folder_of_somebody_else() {
    if !testkit::is_root() {
        return; // Only root can make a directory of another user.
    }
    for folder in ["run", "run/credentials", "run/smbios-creds"] {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(folder);
        fs::create_dir_all(&path).unwrap();
        chown(&path, Some(65_534), None).unwrap();
        let output = import_behind(root.path(), "system", ":");
        assert_eq!(code(&output), 1, "{folder}");
        assert!(stderr(&output).contains("nothing was written there"), "{}", stderr(&output));
        assert!(!root.path().join("run/credentials/@system").exists());
    }
}

#[test]
fn folders_of_somebody_else_are_not_filled() {
    if !testkit::is_root() {
        return;
    }
    for (folder, sink) in [
        ("run", "system"),
        ("run", "initrd"),
        ("run", "credstore"),
        ("run/credentials", "system"),
        ("run/credentials", "initrd"),
        ("run/credentials/@initrd", "initrd"),
        ("run/credstore", "credstore"),
    ] {
        for (mode, owner) in [(0o755, NOBODY), (0o777, 0)] {
            let guest = Guest::new();
            let path = guest.folder(folder, mode, owner);
            let output = guest.import(sink);
            assert_eq!(code(&output), 1, "{folder} {mode:o} {owner}, {sink}: {}", stderr(&output));
            let message =
                format!("{} belongs to another user, or other users can write to it", path.display());
            assert!(stderr(&output).contains(&message), "{}", stderr(&output));
            assert!(!holds_value(guest.root.path()) && output.stdout.is_empty(), "{folder} {mode:o}");
        }
    }
    // A directory with the sticky bit is accepted: every user can write to it, but cannot rename files of others.
    let guest = Guest::new();
    guest.folder("run", 0o1777, 0);
    assert_eq!(code(&guest.import("credstore")), 0);
}

/// Imports to a path, as the user who runs the tests.
fn import_to(path: &Path) -> std::process::Output {
    let source = recording(&table(TWO));
    run(agent(&["import", "--from"]).arg(source.path()).arg("--into").arg(path))
}

/// Makes a directory with this mode below `root`. If root runs the tests, it belongs to `owner`.
fn folder_below(root: &Path, path: &str, mode: u32, owner: u32) -> PathBuf {
    let path = root.join(path);
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    if testkit::is_root() {
        chown(&path, Some(owner), None).unwrap();
    }
    path
}

#[test]
fn path_of_another_user_is_refused() {
    if !testkit::is_root() {
        return; // Only root can make a directory of another user.
    }
    // The destination itself, its parent, and a directory above both.
    for (theirs, into) in [("creds", "creds"), ("their", "their/creds"), ("their", "their/ours/creds")] {
        let root = tempfile::tempdir().unwrap();
        let theirs = folder_below(root.path(), theirs, 0o700, NOBODY);
        let into = root.path().join(into);
        fs::create_dir_all(into.parent().unwrap()).unwrap();
        let before = names(&theirs);
        let output = import_to(&into);
        assert_eq!(code(&output), 1, "{}: {}", into.display(), stderr(&output));
        let message = format!("{} belongs to another user, or other users can write to it", theirs.display());
        assert!(stderr(&output).contains(&message), "{}", stderr(&output));
        assert_eq!(names(&theirs), before);
        assert!(!into.join("a").exists());
    }
}

#[test]
fn path_that_others_can_write_is_refused_unless_sticky() {
    for (mode, into, exit) in [
        (0o777, "shared/creds", 1),
        (0o770, "shared/creds", 1),
        (0o777, "shared/ours/creds", 1),
        (0o777, "shared", 1),
        (0o1777, "shared/creds", 0),
        (0o1777, "shared/ours/creds", 0),
        (0o755, "shared/creds", 0),
    ] {
        let root = tempfile::tempdir().unwrap();
        let shared = folder_below(root.path(), "shared", mode, 0);
        let into = root.path().join(into);
        fs::create_dir_all(into.parent().unwrap()).unwrap();
        let output = import_to(&into);
        assert_eq!(code(&output), exit, "{mode:o} {}: {}", into.display(), stderr(&output));
        assert_eq!(into.join("a").exists(), exit == 0, "{mode:o} {}", into.display());
        if exit == 1 {
            let message = format!("{} belongs to another user, or other users can write", shared.display());
            assert!(stderr(&output).contains(&message), "{}", stderr(&output));
        }
    }
}

#[test]
fn link_of_another_user_is_not_followed_in_a_path() {
    let root = tempfile::tempdir().unwrap();
    let (ours, shared) =
        (folder_below(root.path(), "ours", 0o755, 0), folder_below(root.path(), "tmp", 0o1777, 0));
    let link = shared.join("link");
    symlink(&ours, &link).unwrap();
    let output = import_to(&link.join("creds"));
    assert_eq!(code(&output), 0, "our own link: {}", stderr(&output));
    fs::remove_dir_all(ours.join("creds")).unwrap();
    if !testkit::is_root() {
        return;
    }
    lchown(&link, Some(NOBODY), None).unwrap();
    let output = import_to(&link.join("creds"));
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("{} belongs to another user", link.display())));
    assert_eq!(names(&ours), [""; 0]);
}

#[test]
fn path_leads_where_the_kernel_would_lead_it() {
    let root = tempfile::tempdir().unwrap();
    let (ours, other) =
        (folder_below(root.path(), "a/ours", 0o755, 0), folder_below(root.path(), "a/other", 0o755, 0));
    symlink("../ours/../ours", other.join("relative")).unwrap();
    symlink(&ours, other.join("absolute")).unwrap();
    symlink("absolute/.", other.join("twice")).unwrap();
    for path in ["other/../ours", "other/relative", "other/absolute", "other/twice/../ours", "./ours/"] {
        let output = import_to(&root.path().join("a").join(path).join("creds"));
        assert_eq!(code(&output), 0, "{path}: {}", stderr(&output));
        assert!(ours.join("creds/a").exists(), "{path}");
        fs::remove_dir_all(ours.join("creds")).unwrap();
    }
    symlink("endless", other.join("endless")).unwrap();
    let output = import_to(&other.join("endless/creds"));
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("Too many symbolic links"), "{}", stderr(&output));
    fs::write(other.join("file"), "").unwrap();
    let output = import_to(&other.join("file/creds"));
    assert!(stderr(&output).contains("Not a directory"), "{}", stderr(&output));
}

/// Returns a command that runs the agent as a user other than root.
fn as_user(arguments: &[&str]) -> Command {
    let mut command = agent(arguments);
    if testkit::is_root() {
        command.uid(NOBODY);
    }
    command
}

#[test]
fn user_is_told_that_the_default_place_needs_root() {
    let guest = Guest::new();
    if testkit::is_root() {
        guest.folder("run", 0o755, 0);
        for sink in ["auto", "credstore", "system", "initrd"] {
            let mut command = as_user(&["import", "--into", sink, "--from"]);
            let output = run(command.arg(guest.source.path()).arg("--root").arg(guest.root.path()));
            assert_eq!(code(&output), 1, "{sink}");
            let message = format!(
                "{} belongs to root, and this process runs as user 65534",
                guest.path("run").display()
            );
            assert!(stderr(&output).contains(&message), "{}", stderr(&output));
            assert!(!stderr(&output).contains("another user"), "{}", stderr(&output));
        }
    }
}

#[test]
fn missing_directory_is_named_as_what_it_is() {
    let guest = Guest::new();
    let (parent, root) = (guest.path("missing"), guest.path("none"));
    let output = import_to(&parent.join("creds"));
    assert_eq!(code(&output), 1);
    let message = format!(
        "{0} does not exist, so {0}/creds cannot be created\nsmbios-creds: help: create {0} first",
        parent.display()
    );
    assert!(stderr(&output).contains(&message), "{}", stderr(&output));
    let mut command = agent(&["import", "--into", "credstore", "--from"]);
    let output = run(command.arg(guest.source.path()).arg("--root").arg(&root));
    assert_eq!(code(&output), 1);
    let message = format!(
        "{} does not exist, so nothing can be imported below it\nsmbios-creds: help: use --root",
        root.display()
    );
    assert!(stderr(&output).contains(&message), "{}", stderr(&output));
    assert!(!stderr(&output).contains("parent"), "{}", stderr(&output));
}

/// Whoever can write to `/` can replace `/run`.
#[test]
fn nothing_is_imported_if_other_users_can_write_to_the_root_directory() {
    let source = recording(&table(TWO));
    let script = r#"
        for mode in 777 755; do
            mount -t tmpfs -o mode=$mode tmpfs /mnt
            for directory in /bin /lib* /usr; do
                if [ -L $directory ]; then
                    cp -P $directory /mnt
                else
                    mkdir /mnt$directory
                    mount --bind $directory /mnt$directory
                fi
            done
            touch /mnt/agent
            mount --bind "$agent" /mnt/agent
            cp -r "$from" /mnt/from
            code=0
            chroot /mnt /agent import --from /from --into credstore >/dev/null || code=$?
            echo "$mode: exit $code, $(ls /mnt/run/credstore 2>/dev/null | wc -l) files"
            umount -R /mnt
        done"#;
    let output = in_namespace(source.path(), script);
    assert_eq!(stdout(&output), "777: exit 1, 0 files\n755: exit 0, 2 files\n", "{}", stderr(&output));
    let message = "/ belongs to another user, or other users can write to it";
    assert!(stderr(&output).contains(message), "{}", stderr(&output));
}

#[test]
fn a_state_folder_that_somebody_else_has_made_is_not_used() {
    for (mode, owner) in [(0o700, NOBODY), (0o777, 0), (0o770, 0)] {
        if owner == NOBODY && !testkit::is_root() {
            continue;
        }
        let guest = Guest::new();
        let state = guest.folder("run/smbios-creds", mode, owner);
        fs::write(state.join("report.json"), "{\"version\":\"9\",\"summary\":\"forged\"}").unwrap();
        let output = guest.import("system");
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        let message = format!("{} belongs to another user, or other users can write to it", state.display());
        assert!(stderr(&output).contains(&message), "{}", stderr(&output));
        assert!(!holds_value(guest.root.path()));
        assert_eq!(names(&state), ["report.json"], "nothing is left there");
        // If the credentials do not need the state directory, they are imported. No report is written, and a warning
        // says so.
        let output = guest.import("credstore");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(
            stderr(&output).contains("warning: no report of the import was written: "),
            "{}",
            stderr(&output)
        );
        assert_eq!(fs::read(state.join("report.json")).unwrap().len(), 34, "it is not ours to write");
        // The agent does not believe what the report in this directory says either.
        let output = run(
            agent(&["list", "--log-level=trace", "--into", "credstore", "--root"]).arg(guest.root.path())
        );
        assert!(!stderr(&output).contains("forged"), "{}", stderr(&output));
    }
}

#[test]
fn the_report_is_for_its_owner_alone_and_holds_no_value() {
    let root = tempfile::tempdir().unwrap();
    let output = import_behind(root.path(), "credstore", "umask 0");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(names(&root.path().join("run/smbios-creds")), ["report.json"]);
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("run/smbios-creds"), mode("run/smbios-creds/report.json")), (0o700, 0o400));
    fs::remove_dir_all(root.path().join("run/smbios-creds")).unwrap();
    let output = import_behind(root.path(), "credstore", "umask 0777");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!((mode("run/smbios-creds"), mode("run/smbios-creds/report.json")), (0o700, 0o400));
    // Before it mounts anything, an import takes a lock, which only its owner may take.
    let output = import_behind(root.path(), "system", "umask 0");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(mode("run/smbios-creds/lock"), 0o600);
    let report = fs::read_to_string(root.path().join("run/smbios-creds/report.json")).unwrap();
    assert!(report.contains("\"name\":\"a\"") && !report.contains("one") && !report.contains("AAEC"));
}

/// Any user who can read a directory can lock it.
#[test]
fn another_user_cannot_hold_up_an_import_by_a_lock() {
    if !is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("run/smbios-creds");
    fs::create_dir_all(&state).unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut other = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "flock", "--no-fork"])
        .arg(&state)
        .args(["sh", "-c", "echo locked; exec sleep 600"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 7];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut line).unwrap();
    let output = import_behind(root.path(), "credstore", "set -- timeout 60 \"$@\"");
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

/// Services of other users look for their credentials below run/credentials, so they need access to it.
#[test]
fn the_folder_above_has_its_mode_whatever_the_umask_is() {
    let root = tempfile::tempdir().unwrap();
    let output = import_behind(root.path(), "initrd", "umask 077");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("run/credentials"), mode("run/credentials/@initrd")), (0o755, 0o700));
}
