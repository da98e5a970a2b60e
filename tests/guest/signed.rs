//! Signed sets. Every attack is a test vector (a file of OEM strings) in `testdata/signed`, which
//! `testdata/signed/make` made with Debian's minisign.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;
use testkit::{agent, code, run, stderr, stdout};

/// The names and sizes of the credentials in the vectors.
const VALUES: [(&str, usize); 2] = [("db-password", 13), ("tls-key", 256)];

fn file(name: &str) -> String {
    fs::read_to_string(testkit::testdata("signed").join(name)).unwrap()
}

/// A recording of these OEM strings.
fn recording(strings: &str) -> TempDir {
    let strings: Vec<&[u8]> = strings.lines().map(str::as_bytes).collect();
    testkit::recording(&testkit::table(&strings))
}

pub(crate) fn vector(name: &str) -> TempDir {
    recording(&file(&format!("{name}.strings")))
}

/// The line of a public key, for `--trust`.
pub(crate) fn key(name: &str) -> String {
    file(&format!("{name}.pub")).lines().nth(1).unwrap().to_owned()
}

/// Makes a root directory with these trusted keys.
fn root(keys: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let trusted = root.path().join("etc/smbios-creds/trusted");
    fs::create_dir_all(&trusted).unwrap();
    for name in keys {
        fs::write(trusted.join(format!("{name}.pub")), file(&format!("{name}.pub"))).unwrap();
    }
    root
}

/// Imports a vector into a directory of its own, and checks that the directory is complete or absent.
fn import(root: &Path, from: &Path, options: &[&str]) -> Output {
    let into = tempfile::tempdir().unwrap();
    let directory = into.path().join("credentials");
    let mut import = agent(&["import", "--root"]);
    import.arg(root).arg("--from").arg(from).arg("--into").arg(&directory).args(options);
    let output = run(&mut import);
    if code(&output) == 0 {
        for (name, size) in VALUES {
            assert_eq!(fs::read(directory.join(name)).unwrap().len(), size);
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), VALUES.len());
    } else {
        assert!(!directory.exists(), "something of a refused set was placed: {}", stderr(&output));
    }
    output
}

fn check(root: &Path, from: &Path, options: &[&str]) -> Output {
    run(agent(&["check", "--root"]).arg(root).arg("--from").arg(from).args(options))
}

/// The options of a machine that knows its name and the lowest serial that it accepts.
const FULL: [&str; 4] = ["--audience", "web01", "--min-serial", "7"];

#[test]
fn signed_set_for_this_machine_is_imported_whole() {
    let (root, good) = (root(&["owner"]), vector("good"));
    let output = import(root.path(), good.path(), &FULL);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let output = check(root.path(), good.path(), &FULL);
    let key = file("owner.pub").lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let proof = format!("2 credentials, the set is complete and signed by {key} for web01, serial 7");
    assert!(stdout(&output).contains(&proof), "{}", stdout(&output));
    let output = check(root.path(), good.path(), &[&FULL[..], &["--json=short"]].concat());
    let signature = format!(r#""signature":{{"key":"{key}","audience":"web01","serial":7}}"#);
    assert!(stdout(&output).contains(&signature), "{}", stdout(&output));
    let listed = run(agent(&["list", "--root"]).arg(root.path()).arg("--from").arg(good.path()).args(FULL));
    assert!(stderr(&listed).contains(&proof), "{}", stderr(&listed));
}

/// Each attack has the finding that names it, and no part of the set is imported.
#[test]
fn no_attack_on_a_signed_set_is_imported() {
    let root = root(&["owner"]);
    for (name, finding) in [
        ("no-signature", "signature-missing"),
        ("flipped-manifest", "signature-wrong"),
        ("flipped-signature", "signature-wrong"),
        ("flipped-comment", "signature-wrong"),
        ("flipped-comment-signature", "signature-wrong"),
        ("flipped-value", "digest-differs"),
        ("other-key", "not-trusted"),
        ("old-key", "not-trusted"),
        ("legacy", "not-trusted"),
        ("dropped-credential", "missing"),
        ("added-credential", "not-listed"),
        ("notify-socket", "not-listed"),
        ("two-manifests", "manifest-again"),
        ("two-manifests-reversed", "manifest-again"),
        ("signature-of-another-manifest", "signature-wrong"),
        ("nine-signatures", "too-many-signatures"),
        ("other-audience", "audience-differs"),
        ("no-audience", "audience-missing"),
        ("empty-audience", "audience-missing"),
        ("lower-serial", "serial-old"),
        ("no-serial", "serial-old"),
        ("past-not-after", "expired"),
    ] {
        let vector = vector(name);
        let output = check(root.path(), vector.path(), &[&FULL[..], &["--json=short"]].concat());
        assert_eq!(code(&output), 3, "{name}: {}", stdout(&output));
        let code_of_finding = format!(r#""severity":"error","code":"{finding}""#);
        assert!(stdout(&output).contains(&code_of_finding), "{name}: {}", stdout(&output));
        assert!(stdout(&output).contains(r#""proven":false"#), "{name}: {}", stdout(&output));
        assert!(!stdout(&output).contains(r#""intact""#), "{name}: nothing of it is believed");
        assert_eq!(code(&import(root.path(), vector.path(), &FULL)), 3, "{name}");
        let mut cat = agent(&["cat", "db-password", "--root"]);
        let cat = run(cat.arg(root.path()).arg("--from").arg(vector.path()).args(FULL));
        assert_eq!((code(&cat), stdout(&cat).as_str()), (3, ""), "{name}");
    }
}

#[test]
fn one_valid_signature_of_several_is_enough() {
    let root = root(&["owner"]);
    for name in ["two-signatures", "eight-signatures"] {
        assert_eq!(code(&import(root.path(), vector(name).path(), &FULL)), 0, "{name}");
    }
}

#[test]
fn any_of_two_trusted_keys_may_have_signed() {
    let root = root(&["old", "owner"]);
    for name in ["good", "old-key", "two-signatures"] {
        assert_eq!(code(&import(root.path(), vector(name).path(), &FULL)), 0, "{name}");
    }
    assert_eq!(code(&import(root.path(), vector("other-key").path(), &FULL)), 3);
}

#[test]
fn set_without_terms_is_taken_where_none_is_asked_for() {
    let root = root(&["owner"]);
    assert_eq!(code(&import(root.path(), vector("bare").path(), &[])), 0);
    // The set is meant for machines with certain names. This machine does not know its own name, and a message says
    // so.
    let output = import(root.path(), vector("good").path(), &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("is meant for web01, db01, but this machine does not know its own name")
    );
    for (options, finding) in
        [(&["--audience", "web01"][..], "audience-missing"), (&["--min-serial", "1"], "serial-old")]
    {
        let output = check(root.path(), vector("bare").path(), &[options, &["--json=short"]].concat());
        assert!(code(&output) == 3 && stdout(&output).contains(finding), "{}", stdout(&output));
    }
}

#[test]
fn trust_option_is_as_good_as_the_directory() {
    let empty = tempfile::tempdir().unwrap();
    let owner = key("owner");
    assert_eq!(code(&import(empty.path(), vector("good").path(), &["--trust", &owner])), 0);
    assert_eq!(code(&import(empty.path(), vector("no-signature").path(), &["--trust", &owner])), 3);
    assert_eq!(code(&import(empty.path(), vector("other-key").path(), &["--trust", &owner])), 3);
    let damaged = run(&mut agent(&["check", "--trust", &owner[..50]]));
    assert_eq!(code(&damaged), 2, "{}", stderr(&damaged));
}

#[test]
fn manifest_signed_without_a_key_believes_nothing() {
    let empty = tempfile::tempdir().unwrap();
    let output = import(empty.path(), vector("good").path(), &["--manifest=signed"]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("this machine has no trusted key"), "{}", stderr(&output));
}

#[test]
fn no_option_turns_a_trusted_key_off() {
    let root = root(&["owner"]);
    for options in [&["--manifest=ignore"][..], &["--manifest=use"], &["--confidential=allow"]] {
        assert_eq!(code(&import(root.path(), vector("good").path(), options)), 0, "{options:?}");
        assert_eq!(code(&import(root.path(), vector("no-signature").path(), options)), 3, "{options:?}");
        assert_eq!(code(&import(root.path(), vector("added-credential").path(), options)), 3, "{options:?}");
    }
}

/// A machine that trusts no key reads a signed set like an unsigned one.
#[test]
fn signed_set_on_a_machine_without_keys_is_a_set_with_a_manifest() {
    let empty = tempfile::tempdir().unwrap();
    let output = check(empty.path(), vector("good").path(), &["--manifest=require", "--json=short"]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert!(stdout(&output).contains(r#""severity":"note","code":"signature-unused""#));
    assert!(!stdout(&output).contains(r#""signature":"#));
}

#[test]
fn directory_with_anything_but_keys_believes_nothing() {
    let secret = format!("untrusted comment: secret\nRWQAAEIy{}=\n", "A".repeat(203));
    for (name, content, says) in [
        ("b.pub", "", "is not a minisign public key"),
        ("b.pub", "RWQ\n", "is damaged"),
        ("b.pub", secret.as_str(), "SECRET key"),
        ("owner.key", "x", "is not used as a trusted key"),
        ("owner.pub~", "x", "is not used as a trusted key"),
    ] {
        let root = root(&["owner"]);
        fs::write(root.path().join("etc/smbios-creds/trusted").join(name), content).unwrap();
        let output = import(root.path(), vector("good").path(), &[]);
        assert_eq!(code(&output), 1, "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{name}: {}", stderr(&output));
        assert!(!stderr(&output).contains("AAAAAAAA"), "no text of a file is shown");
    }
    let root = root(&[]);
    let output = import(root.path(), vector("bare").path(), &[]);
    assert!(code(&output) == 1 && stderr(&output).contains("has no trusted key"), "{}", stderr(&output));
    fs::create_dir(root.path().join("etc/smbios-creds/trusted/a.pub")).unwrap();
    assert_eq!(code(&import(root.path(), vector("bare").path(), &[])), 1);
}

#[test]
fn directory_that_another_user_can_change_believes_nothing() {
    let root = root(&["owner"]);
    let trusted = root.path().join("etc/smbios-creds/trusted");
    fs::set_permissions(&trusted, fs::Permissions::from_mode(0o777)).unwrap();
    let output = import(root.path(), vector("good").path(), &[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("can be changed by another user"), "{}", stderr(&output));
}

/// An administrator who made the link wanted to trust a key. The link is broken if its target is not in the initrd's
/// image.
#[test]
fn link_to_no_trusted_keys_does_not_turn_signatures_off() {
    for link in ["etc/smbios-creds/trusted", "etc/smbios-creds"] {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/nowhere/trusted", &link).unwrap();
        let output = import(root.path(), vector("no-signature").path(), &["--allow-none"]);
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        assert!(
            stderr(&output).contains("is a symbolic link to a path that does not exist"),
            "{}",
            stderr(&output)
        );
    }
    // A link to a directory in the path above `smbios-creds` is followed.
    let (elsewhere, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(elsewhere.path(), root.path().join("etc")).unwrap();
    assert_eq!(code(&import(root.path(), vector("no-signature").path(), &[])), 0);
}

#[test]
fn key_that_another_user_can_change_believes_nothing() {
    let says = |root: &TempDir| {
        let output = import(root.path(), vector("good").path(), &[]);
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains("can be changed by another user"), "{}", stderr(&output));
    };
    let (writable, linked) = (root(&["owner"]), root(&[]));
    let key = writable.path().join("etc/smbios-creds/trusted/owner.pub");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o666)).unwrap();
    says(&writable);
    let store = linked.path().join("store");
    fs::create_dir(&store).unwrap();
    fs::write(store.join("owner.pub"), file("owner.pub")).unwrap();
    let link = linked.path().join("etc/smbios-creds/trusted/owner.pub");
    std::os::unix::fs::symlink(store.join("owner.pub"), link).unwrap();
    assert_eq!(code(&import(linked.path(), vector("good").path(), &[])), 0);
    fs::set_permissions(&store, fs::Permissions::from_mode(0o777)).unwrap();
    says(&linked);
}

/// On NixOS, configuration files are links.
#[test]
fn key_behind_a_link_is_trusted() {
    let root = root(&[]);
    let store = root.path().join("owner.pub");
    fs::write(&store, file("owner.pub")).unwrap();
    std::os::unix::fs::symlink(&store, root.path().join("etc/smbios-creds/trusted/owner.pub")).unwrap();
    assert_eq!(code(&import(root.path(), vector("good").path(), &[])), 0);
    assert_eq!(code(&import(root.path(), vector("no-signature").path(), &[])), 3);
}

#[test]
fn machine_id_and_uuid_are_names_of_a_machine() {
    let root = root(&["owner"]);
    let options = ["--audience", "@machine-id"];
    let output = import(root.path(), vector("good").path(), &options);
    assert!(
        code(&output) == 3 && stderr(&output).contains("this machine is @machine-id"),
        "{}",
        stderr(&output)
    );
    // The vector is for web01. This is not a valid machine ID, so the file machine-id cannot make it one. A UUID is
    // compared as a text, without case.
    fs::write(root.path().join("etc/machine-id"), "web01\n").unwrap();
    assert_eq!(code(&import(root.path(), vector("good").path(), &options)), 3);
    let id = root.path().join("sys/class/dmi/id");
    fs::create_dir_all(&id).unwrap();
    fs::write(id.join("product_uuid"), "WEB01\n").unwrap();
    assert_eq!(code(&import(root.path(), vector("good").path(), &["--audience", "@uuid"])), 0);
    assert_eq!(code(&run(&mut agent(&["check", "--audience", "@hostname"]))), 2);
}

/// A vector with any one of its strings cut is refused, wherever the cut is. (Every fifth byte, and the last ones.)
#[test]
fn signed_set_with_a_cut_string_is_never_imported() {
    use smbios_creds::format::smbios::Table;
    use smbios_creds::guest::verify::policy::Policy;
    use smbios_creds::guest::verify::set::verify_table;
    use smbios_creds::guest::verify::trust::Trust;

    let trust = Trust { keys: vec![key("owner").parse().unwrap()], ..Trust::default() };
    let policy = Policy { trust, ..Policy::default() };
    let verify = |strings: &[&[u8]]| {
        let table = testkit::table(strings);
        let entry_point = testkit::entry_point_3(table.len());
        verify_table(&Table::parse(&entry_point, table), &policy)
    };
    let text = file("bare.strings");
    let strings: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
    assert!(verify(&strings).proof.signed().is_some());
    for index in 0..strings.len() {
        for end in (1..strings[index].len()).filter(|end| end % 5 == 0 || end + 12 > strings[index].len()) {
            let mut cut = strings.clone();
            cut[index] = &strings[index][..end];
            let delivery = verify(&cut);
            assert!(!delivery.passed() && delivery.intact().next().is_none(), "string {index} cut to {end}");
        }
        let mut without = strings.clone();
        without.remove(index);
        assert!(verify(&without).intact().next().is_none(), "string {index} is missing");
    }
}

/// Makes a root directory whose firmware has this vector, and which trusts the key `owner`.
fn machine(name: &str) -> TempDir {
    let root = root(&["owner"]);
    fs::create_dir_all(root.path().join("run")).unwrap();
    send(root.path(), name);
    root
}

/// Writes this vector into the firmware's table, as if the host had sent it.
fn send(root: &Path, name: &str) {
    let tables = root.join("sys/firmware/dmi/tables");
    fs::create_dir_all(&tables).unwrap();
    let vector = vector(name);
    for file in ["smbios_entry_point", "DMI"] {
        fs::copy(vector.path().join(file), tables.join(file)).unwrap();
    }
}

fn on(root: &Path, arguments: &[&str]) -> Output {
    run(agent(arguments).arg("--root").arg(root))
}

/// Files can imitate a container, but no other platform on which the table is not believed. The result is the same on
/// each of them.
#[test]
fn where_the_table_is_not_believed_only_a_signed_set_for_a_name_of_the_image_is() {
    let import = |root: &Path, options: &[&str]| {
        let output = on(root, &[&["import", "--into=credstore"], options].concat());
        assert_eq!(root.join("run/credstore").exists(), code(&output) == 0, "{}", stderr(&output));
        output
    };
    for (name, options, says) in [
        ("no-signature", &FULL[..], "is not signed"),
        ("other-key", &FULL, "which is not trusted here"),
        ("other-audience", &FULL, "the set is meant for web02"),
        ("no-audience", &FULL, "does not name the machine"),
        ("lower-serial", &FULL, "serial 6 is older than 7"),
        ("past-not-after", &FULL, "the set expired on 2001-09-09"),
        ("good", &[], "--confidential=allow"),
        // The host can set any UUID, so a UUID is not a name of the image.
        ("good", &["--audience", "@uuid"], "--confidential=allow"),
        ("good", &["--audience", "web01", "--confidential=refuse"], "--confidential=allow"),
        ("good", &["--audience", "elsewhere", "@uuid"], "the set is meant for web01"),
    ] {
        let root = machine(name);
        fs::create_dir_all(root.path().join("run/host")).unwrap();
        fs::write(root.path().join("run/host/container-manager"), "made up").unwrap();
        fs::create_dir_all(root.path().join("sys/class/dmi/id")).unwrap();
        fs::write(root.path().join("sys/class/dmi/id/product_uuid"), "web01\n").unwrap();
        for verb in [&["check"][..], &["cat", "db-password"]] {
            let output = on(root.path(), &[verb, options].concat());
            assert_eq!((code(&output), stdout(&output).as_str()), (5, ""), "{name} {options:?}");
        }
        let output = import(root.path(), options);
        assert_eq!(code(&output), 5, "{name} {options:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(says), "{name} {options:?}: {}", stderr(&output));
        // Without a trusted key, no set is believed, signed or not.
        fs::remove_dir_all(root.path().join("etc")).unwrap();
        assert_eq!(code(&import(root.path(), options)), 5, "{name} {options:?}");
    }
    let root = machine("good");
    fs::create_dir_all(root.path().join("run/host")).unwrap();
    fs::write(root.path().join("run/host/container-manager"), "made up").unwrap();
    for options in [&FULL[..], &["--audience", "web01", "--confidential=signed"]] {
        let output = import(root.path(), options);
        assert_eq!(code(&output), 0, "{options:?}: {}", stderr(&output));
    }
    assert_eq!(fs::read(root.path().join("run/credstore/db-password")).unwrap(), b"correct horse");
}

#[test]
fn older_set_than_the_last_is_refused_and_the_serial_is_kept_on_disk() {
    const IMPORT: [&str; 3] = ["import", "--into=credstore", "--confidential=allow"];
    let root = machine("good");
    fs::create_dir_all(root.path().join("var/lib")).unwrap();
    let serial = root.path().join("var/lib/smbios-creds/serial");
    let seen = || fs::read_to_string(&serial).unwrap();
    assert_eq!(code(&on(root.path(), &["check", "--confidential=allow"])), 0);
    assert!(!serial.exists(), "only an import remembers");
    assert_eq!(code(&on(root.path(), &IMPORT)), 0);
    assert_eq!(seen(), "7\n");
    send(root.path(), "lower-serial");
    let output = on(root.path(), &IMPORT);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("an old set was sent again"), "{}", stderr(&output));
    send(root.path(), "no-serial");
    assert_eq!(code(&on(root.path(), &IMPORT)), 3);
    send(root.path(), "higher-serial");
    assert_eq!(code(&on(root.path(), &IMPORT)), 0);
    assert_eq!(seen(), "8\n");
    send(root.path(), "good");
    assert_eq!(code(&on(root.path(), &IMPORT)), 3);
    assert_eq!(seen(), "8\n");
    // In the initrd, the disk is not mounted yet: a file with the path of the serial is a file of the image, and is
    // ignored.
    fs::write(root.path().join("etc/initrd-release"), "").unwrap();
    assert_eq!(code(&on(root.path(), &IMPORT)), 0);
    assert_eq!(seen(), "8\n");
    fs::remove_file(root.path().join("etc/initrd-release")).unwrap();
    fs::write(&serial, "eight\n").unwrap();
    let output = on(root.path(), &IMPORT);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("does not contain a serial"), "{}", stderr(&output));
}

/// The set is verified nevertheless, and the log says that the machine cannot save the serial.
#[test]
fn serial_that_cannot_be_kept_is_said() {
    let root = machine("good");
    let output = on(root.path(), &["import", "--into=credstore", "--confidential=allow"]);
    assert_eq!(code(&output), 0);
    assert!(stderr(&output).contains("cannot save serial 7"), "{}", stderr(&output));
}

#[test]
fn systemd_that_imports_by_itself_is_an_error_that_names_the_kernel_parameter() {
    const PARAMETER: &str = "CREDENTIALS_DIRECTORY=/run/credentials/@system";
    let check = |root: &Path| on(root, &["check", "--confidential=allow"]);
    let root = machine("good");
    fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
    fs::create_dir_all(root.path().join("proc/1")).unwrap();
    let system = root.path().join("run/credentials/@system");
    assert_eq!(code(&check(root.path())), 0, "it has imported nothing");
    fs::create_dir_all(&system).unwrap();
    // systemd has imported the same bytes, but nobody had verified them at that time.
    fs::write(system.join("db-password"), "correct horse").unwrap();
    let (environ, line) = (root.path().join("proc/1/environ"), root.path().join("proc/cmdline"));
    for (environment, command_line) in [
        ("", "quiet\n".to_owned()),
        ("", format!("quiet {PARAMETER}\n")),
        // An initrd whose systemd imported credentials passes this environment to PID 1 of the stage after switch-root.
        (PARAMETER, "quiet\n".to_owned()),
        (PARAMETER, format!("quiet -- {PARAMETER}\n")),
        (PARAMETER, format!("x{PARAMETER}\n")),
        ("CREDENTIALS_DIRECTORY=/other", format!("{PARAMETER}\n")),
    ] {
        fs::write(&environ, format!("HOME=/\0{environment}\0")).unwrap();
        fs::write(&line, &command_line).unwrap();
        let output = check(root.path());
        assert_eq!(code(&output), 3, "{environment:?} {command_line:?}");
        assert!(
            stdout(&output)
                .contains("systemd imported 1 credential before smbios-creds could verify the set")
        );
        assert!(stdout(&output).contains(PARAMETER), "{}", stdout(&output));
        let output = on(root.path(), &["import", "--into=credstore", "--confidential=allow"]);
        assert!(code(&output) == 3 && !root.path().join("run/credstore").exists(), "{}", stderr(&output));
    }
    fs::write(&environ, format!("HOME=/\0{PARAMETER}\0")).unwrap();
    fs::write(&line, format!("quiet {PARAMETER} splash\n")).unwrap();
    assert_eq!(code(&check(root.path())), 0);
    // In the initrd, the systemd of the stage after switch-root has not started yet.
    fs::write(&environ, "").unwrap();
    fs::remove_dir_all(&system).unwrap();
    fs::write(root.path().join("etc/initrd-release"), "").unwrap();
    let output = check(root.path());
    assert!(code(&output) == 3 && stdout(&output).contains("systemd imports credentials before"));
}
