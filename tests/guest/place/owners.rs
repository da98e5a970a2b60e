//! The directories that credentials and reports go to: who owns them, and who can write to them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};

use testkit::{agent, code, recording, run, stderr, table};

use super::{Guest, NOBODY, TWO, holds_value, import_behind, names};

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
            let message = format!("{} belongs to somebody else or can be written by others", path.display());
            assert!(stderr(&output).contains(&message), "{}", stderr(&output));
            assert!(!holds_value(guest.root.path()) && output.stdout.is_empty(), "{folder} {mode:o}");
        }
    }
    // A folder that everybody may write to and nobody may rename in is as good as ours.
    let guest = Guest::new();
    guest.folder("run", 0o1777, 0);
    assert_eq!(code(&guest.import("credstore")), 0);
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
        let message = format!("{} belongs to somebody else or can be written by others", state.display());
        assert!(stderr(&output).contains(&message), "{}", stderr(&output));
        assert!(!holds_value(guest.root.path()));
        assert_eq!(names(&state), ["report.json"], "nothing is left there");
        // Where credentials need no such folder, there is no report, and that is said.
        let output = guest.import("credstore");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stderr(&output).contains("warning: no report is left: "), "{}", stderr(&output));
        assert_eq!(fs::read(state.join("report.json")).unwrap().len(), 34, "it is not ours to write");
        // What it says is not believed either.
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
