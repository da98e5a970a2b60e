//! Writing a set of credentials: all at once, so that the set is absent or complete, and never outside of its
//! directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

use proptest::prelude::*;
use smbios_creds::guest::place::Place;
use smbios_creds::guest::place::choose::Into;
use smbios_creds::guest::place::outcome::{Outcome, Storage};
use smbios_creds::guest::system::System;
use testkit::{agent, code, recording, run, stderr, stdout, table};

use super::{Destination, TWO};

#[test]
fn files_are_0400_in_a_folder_0700() {
    let place = Destination::new(TWO);
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
    let place = Destination::new(TWO);
    place.import(&[]);
    let inodes = |place: &Destination| {
        [place.target(), place.target().join("a")].map(|p| fs::metadata(p).unwrap().ino())
    };
    let before = inodes(&place);
    let output = place.import(&[]);
    assert_eq!((code(&output), inodes(&place)), (0, before));
    assert!(stderr(&output).contains("nothing to do"));
}

#[test]
fn other_files_are_kept_and_old_values_replaced() {
    let place = Destination::new(TWO);
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

/// The seccomp filter of an import refuses to set the set-group-ID bit, so the new directory does not have it.
#[test]
fn directory_with_set_group_id_bit_is_filled_and_loses_it() {
    let place = Destination::new(TWO);
    fs::create_dir(place.target()).unwrap();
    fs::set_permissions(place.target(), PermissionsExt::from_mode(0o2750)).unwrap();
    fs::write(place.target().join("a"), "old").unwrap();
    assert_eq!(code(&place.import(&[])), 0);
    assert_eq!(place.files()["a"], b"one");
    assert_eq!(fs::metadata(place.target()).unwrap().mode() & 0o7777, 0o750);
}

#[test]
fn a_file_that_others_can_read_is_written_anew() {
    let place = Destination::new(TWO);
    place.import(&[]);
    fs::set_permissions(place.target().join("a"), PermissionsExt::from_mode(0o444)).unwrap();
    assert_eq!(code(&place.import(&[])), 0);
    assert_eq!(fs::metadata(place.target().join("a")).unwrap().mode() & 0o7777, 0o400);
}

#[test]
fn what_is_in_the_way_is_named_and_left_alone() {
    let place = Destination::new(TWO);
    fs::write(place.target(), "a file").unwrap();
    assert!(stderr(&place.import(&[])).contains("is not a directory"));
    assert_eq!(fs::read(place.target()).unwrap(), b"a file");
    fs::remove_file(place.target()).unwrap();
    fs::create_dir_all(place.target().join("sub/folder")).unwrap();
    assert!(stderr(&place.import(&[])).contains("contains 'sub', which is not a regular file"));
    assert!(place.target().join("sub/folder").exists());
    assert!(place.beside().is_empty());
    for path in ["/nonexistent/creds", "/", "./..", "./"] {
        let output = run(agent(&["import", "--into", path, "--from"]).arg(place.source.path()));
        assert_eq!(code(&output), 1, "{path}");
    }
}

#[test]
fn without_permission_nothing_is_written_and_the_error_says_what_to_do() {
    let place = Destination::new(TWO);
    fs::set_permissions(place.folder.path(), PermissionsExt::from_mode(0o555)).unwrap();
    let mut command = agent(&["import", "--from"]);
    command.arg(place.source.path()).arg("--into").arg(place.target());
    if testkit::is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    }
    let output = run(&mut command);
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains(
            ": Permission denied\nsmbios-creds: help: run this as root, or use --into with a path of your own\n"
        ),
        "{}",
        stderr(&output)
    );
    assert!(!place.target().exists());
}

#[test]
fn an_unprivileged_user_can_import_a_recording() {
    let place = Destination::new(TWO);
    fs::set_permissions(place.folder.path(), PermissionsExt::from_mode(0o1777)).unwrap();
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
    let place = Destination::new(strings);
    let output = place.import(&["--strict"]);
    assert_eq!((code(&output), place.target().exists()), (3, false));
    assert!(stderr(&output).contains("--strict is set: nothing was imported"));
    assert_eq!(code(&place.import(&[])), 3, "and without it, what is intact, and still no success");
    assert_eq!(place.files(), BTreeMap::from([("a".into(), b"1".to_vec())]));
}

#[test]
fn a_dry_run_writes_nothing() {
    let place = Destination::new(TWO);
    let output = place.import(&["--dry-run"]);
    assert_eq!((code(&output), place.target().exists()), (0, false));
    assert_eq!(stdout(&output).matches(" missing ").count(), 2);
}

#[test]
fn nothing_to_materialize_makes_no_folder() {
    let place = Destination::new(&[b"io.systemd.credential:e="]);
    assert_eq!((code(&place.import(&[])), place.target().exists()), (3, false));
}

#[test]
fn a_disk_is_warned_of_and_memory_is_not() {
    let place = Destination::new(TWO);
    let memory = |path: &Path| {
        use nix::sys::statfs::{TMPFS_MAGIC, statfs};
        statfs(path).unwrap().filesystem_type() == TMPFS_MAGIC
    };
    let warned = stderr(&place.import(&[])).contains("is on a disk: the values stay there in plain text");
    assert_eq!(warned, !memory(place.folder.path()));
    let shm = tempfile::tempdir_in("/dev/shm").unwrap();
    assert!(memory(shm.path()), "/dev/shm is a tmpfs");
    let credential = testkit::credential("a", b"1");
    let choice = Into::At(Place::Directory(shm.path().join("c"))).choose(&System::running());
    let outcome = choice.fill(&System::running(), &[&credential]);
    assert_eq!(outcome.unwrap(), Outcome::Materialized(Storage::Memory));
}

/// Fills the directories that systemd reads, below the root directory of the test.
#[test]
fn initrd_and_credstore_are_filled_at_once() {
    let root = tempfile::tempdir().unwrap();
    let source = recording(&table(TWO));
    for (sink, folder) in [("initrd", "run/credentials/@initrd"), ("credstore", "run/credstore")] {
        for outcome in ["imported into", "nothing to do"] {
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
fn a_file_that_is_there_already_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("creds");
    // A program that uses the library passes two credentials with one name. The value of the second must not be
    // written into the file of the first.
    let set = [testkit::credential("a", b"first"), testkit::credential("a", b"second")];
    let system = System::running();
    let choice = Into::At(Place::Directory(into.clone())).choose(&system);
    let error = choice.fill(&system, &[&set[0], &set[1]]).unwrap_err();
    assert!(error.to_string().contains("File exists"), "{error}");
    assert!(!into.exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the name is, a file appears in the directory under exactly that name, or nowhere.
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
        let choice = Into::At(Place::Directory(into.clone())).choose(&System::running());
        choice.fill(&System::running(), &set).unwrap();
        let list = |path: &Path| -> Vec<String> {
            fs::read_dir(path).map(|d| d.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()).unwrap_or_default()
        };
        prop_assert_eq!(list(folder.path()), ["in"]);
        let names: Vec<_> = set.iter().map(|c| c.name.as_str().to_owned()).collect();
        prop_assert_eq!(list(&into), names.clone());
        prop_assert_eq!(list(&folder.path().join("in")).len(), names.len());
    }
}
