//! Links, FIFOs and devices in our paths: nothing is written or read through them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::stat::Mode;
use testkit::{agent, code, recording, run, stderr, stdout, table};

use super::{Destination, Guest, TWO, holds_value, import_behind, names};

fn read_only(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn no_link_is_followed_out_of_the_folder() {
    let place = Destination::new(TWO);
    let outside = place.folder.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    fs::create_dir(place.target()).unwrap();
    symlink(&outside, place.target().join("a")).unwrap();
    let output = place.import(&[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("contains 'a', which is not a regular file"), "{}", stderr(&output));
    assert_eq!(fs::read(&outside).unwrap(), b"untouched");
    assert_eq!(place.beside(), ["outside"]);

    // The destination itself must not be a link either.
    let place = Destination::new(TWO);
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), place.target()).unwrap();
    let output = place.import(&[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("is not a directory (a link to one is not followed)"));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
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
    // The directory is a read-only mount, like systemd's own directory.
    let folder = elsewhere.path().display();
    let mounts = format!("mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}");
    let output = import_behind(root.path(), "system", &mounts);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    assert_eq!(fs::read(elsewhere.path().join("a")).unwrap(), b"on");
    assert!(!elsewhere.path().join("b").exists());
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
    assert!(stderr(&output).contains("contains 'a', which is not a regular file"), "{}", stderr(&output));
}

#[test]
fn a_state_folder_that_is_a_link_or_a_file_is_not_used() {
    let guest = Guest::new();
    fs::create_dir(guest.path("run")).unwrap();
    let elsewhere = guest.folder("elsewhere", 0o700, 0);
    symlink(&elsewhere, guest.path("run/smbios-creds")).unwrap();
    let output = guest.import("system");
    assert_eq!((code(&output), names(&elsewhere).len()), (1, 0), "{}", stderr(&output));
    assert!(stderr(&output).contains("run/smbios-creds: Not a directory"), "{}", stderr(&output));
    assert!(!holds_value(guest.root.path()));

    fs::remove_file(guest.path("run/smbios-creds")).unwrap();
    fs::write(guest.path("run/smbios-creds"), "a file").unwrap();
    let output = guest.import("system");
    assert_eq!(code(&output), 1);
    assert_eq!(fs::read(guest.path("run/smbios-creds")).unwrap(), b"a file");
}

/// Puts something in place of a file of the state directory with `make`, and runs list and import. Neither hangs, and
/// no message shows the content.
fn with_in_state_folder(name: &str, make: impl Fn(&Path, &Path)) -> (Guest, Output) {
    let guest = Guest::new();
    let state = guest.folder("run/smbios-creds", 0o700, 0);
    let outside = guest.path("outside");
    fs::write(&outside, "{\"version\":\"9\",\"summary\":\"forged\"}").unwrap();
    make(&state.join(name), &outside);
    // If there is a table, list shows what the report of the last import says.
    let tables = guest.path("sys/firmware/dmi/tables");
    fs::create_dir_all(&tables).unwrap();
    for file in ["smbios_entry_point", "DMI"] {
        fs::copy(guest.source.path().join(file), tables.join(file)).unwrap();
    }
    let mut list = Command::new("timeout");
    list.arg("60").arg(env!("CARGO_BIN_EXE_smbios-creds")).args(["list", "--root"]).arg(guest.root.path());
    let list = run(&mut list);
    assert_eq!(code(&list), 0, "{}", stderr(&list));
    assert!(!stderr(&list).contains("forged"), "{}", stderr(&list));
    let output = guest.import("credstore");
    assert_eq!(code(&output), 0, "an import does not fail for it: {}", stderr(&output));
    assert_eq!(fs::read(&outside).unwrap().len(), 34, "what a link leads to is left as it is");
    (guest, output)
}

#[test]
fn no_link_fifo_or_folder_in_place_of_the_report_is_read_or_written() {
    let report = |guest: &Guest| {
        let file = guest.path("run/smbios-creds/report.json");
        let metadata = fs::symlink_metadata(&file).unwrap();
        assert!(metadata.is_file() && metadata.mode() & 0o7777 == 0o400, "{metadata:?}");
        assert!(fs::read_to_string(file).unwrap().contains("\"summary\":\"imported into "));
    };
    for name in ["report.json", "report.json.part"] {
        let (guest, _) = with_in_state_folder(name, |path, outside| symlink(outside, path).unwrap());
        report(&guest);
        let (guest, _) =
            with_in_state_folder(name, |path, _| nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap());
        report(&guest);
        let (guest, _) =
            with_in_state_folder(name, |path, _| fs::write(path, vec![b' '; 5_000_000]).unwrap());
        report(&guest);
        let (_, output) = with_in_state_folder(name, |path, _| fs::create_dir(path).unwrap());
        assert!(
            stderr(&output).contains("warning: no report of the import was written: "),
            "{}",
            stderr(&output)
        );
    }
    // A hard link to another file is removed, and the file is not written.
    let (guest, _) =
        with_in_state_folder("report.json.part", |path, outside| fs::hard_link(outside, path).unwrap());
    report(&guest);
    // A device without an end.
    with_in_state_folder("report.json", |path, _| symlink("/dev/zero", path).unwrap());
}
