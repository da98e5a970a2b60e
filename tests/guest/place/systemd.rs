//! The import alongside systemd, which has a credentials directory of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use testkit::{agent, code, recording, run, stderr, table};

use super::TWO;

/// Imports alongside systemd. systemd's directory is a separate, read-only mount, as systemd leaves it.
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

/// Makes the system below `root` an initrd.
fn make_initrd(root: &Path) {
    fs::create_dir(root.join("etc")).unwrap();
    fs::write(root.join("etc/initrd-release"), "").unwrap();
}

#[test]
fn beside_a_systemd_that_imported_nothing_its_folder_is_not_made() {
    let root = testkit::systemd_root(&[]);
    let output = import_below(root.path(), "system");
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("nothing was written"), "{}", stderr(&output));
    for outcome in ["imported into", "nothing to do"] {
        let output = import_below(root.path(), "auto");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(
            stderr(&output).contains("/run/credstore: PID 1 is systemd, and has imported no credentials")
        );
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
        assert!(stderr(&output).contains("does not pass on credentials from"), "{}", stderr(&output));
        let output = import_beside(root.path(), "auto", mounts);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stderr(&output).contains("another program filled @system"), "{}", stderr(&output));
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
    assert!(message.contains("repaired before that: a (it had 2 bytes; now it has 3 bytes)"), "{message}");
    assert_eq!(fs::read(root.path().join("run/credentials/@system/a")).unwrap(), b"one");
}

#[test]
fn in_the_initrd_everything_is_handed_over_and_in_the_host_stage_duplicates_are_removed() {
    let root = testkit::systemd_root(&[]);
    make_initrd(root.path());
    assert_eq!(code(&import_below(root.path(), "auto")), 0);
    let drop = root.path().join("run/credentials/@initrd");
    let report = fs::read_to_string(drop.join("smbios-creds.report")).unwrap();
    assert!(report.contains("\"summary\":\"imported into ") && !report.contains("one"), "{report}");
    assert_eq!(fs::read(drop.join("b")).unwrap(), [0, 1, 2]);
    assert_eq!(fs::read(root.path().join("run/credstore/b")).unwrap(), [0, 1, 2]);

    // After switch-root, systemd has imported the whole set. @initrd also contains a file of another program.
    fs::remove_file(root.path().join("etc/initrd-release")).unwrap();
    fs::create_dir(root.path().join("run/credentials/@system")).unwrap();
    for (name, value) in [("a", &b"one"[..]), ("b", &[0, 1, 2])] {
        let path = root.path().join("run/credentials/@system").join(name);
        fs::write(&path, value).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o400)).unwrap();
    }
    fs::write(drop.join("other"), "of another program").unwrap();
    fs::remove_file(drop.join("smbios-creds.report")).unwrap();
    let output = import_below(root.path(), "auto");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("2 duplicates that systemd did not need were removed"));
    let left: Vec<_> = fs::read_dir(&drop).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["other"]);
}

#[test]
fn later_import_in_the_initrd_replaces_the_report_in_initrd() {
    let root = testkit::systemd_root(&[]);
    make_initrd(root.path());
    assert_eq!(code(&import_below(root.path(), "auto")), 0);
    let handed_over = root.path().join("run/credentials/@initrd/smbios-creds.report");
    assert_eq!(fs::metadata(&handed_over).unwrap().permissions().mode() & 0o7777, 0o400);
    fs::remove_file(&handed_over).unwrap();
    fs::write(&handed_over, "old").unwrap();
    // The import must write this credential again, so it leaves a new report.
    fs::remove_file(root.path().join("run/credstore/a")).unwrap();
    let output = import_below(root.path(), "auto");
    assert_eq!((code(&output), stderr(&output).contains("no report")), (0, false), "{}", stderr(&output));
    let report = fs::read_to_string(&handed_over).unwrap();
    assert_eq!(report, fs::read_to_string(root.path().join("run/smbios-creds/report.json")).unwrap());
    assert!(report.contains("\"summary\":\"imported into "), "{report}");
}

#[test]
fn report_is_not_handed_over_in_a_directory_of_another_user() {
    let root = testkit::systemd_root(&[("a", b"one"), ("b", &[0, 1, 2])]);
    make_initrd(root.path());
    let initrd = root.path().join("run/credentials/@initrd");
    fs::create_dir(&initrd).unwrap();
    fs::set_permissions(&initrd, PermissionsExt::from_mode(0o777)).unwrap();
    let output = import_below(root.path(), "auto");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let warning = "warning: no report of the import was written: ";
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
    assert_eq!(fs::read_dir(&initrd).unwrap().count(), 0);
}

#[test]
fn a_report_that_cannot_be_left_fails_no_import() {
    let root = testkit::systemd_root(&[]);
    fs::create_dir_all(root.path().join("run/smbios-creds/report.json")).unwrap();
    fs::set_permissions(root.path().join("run/smbios-creds"), PermissionsExt::from_mode(0o700)).unwrap();
    let output = import_below(root.path(), "auto");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("warning: no report of the import was written: cannot write the report to")
    );
    assert_eq!(fs::read(root.path().join("run/credstore/a")).unwrap(), b"one");
}

#[test]
fn what_systemd_cut_or_lost_is_repaired_and_reported_with_both_sizes() {
    let root = testkit::systemd_root(&[("a", b"on"), ("other", b"kept")]);
    let system = root.path().join("run/credentials/@system");
    fs::write(system.join(":smbios-creds-1"), "left by a killed import").unwrap();
    let output = import_below(root.path(), "auto");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("repaired credential a (it had 2 bytes; now it has 3 bytes)"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("repaired credential b (it was missing; now it has 3 bytes)"));
    let read = |name| fs::read(system.join(name)).unwrap();
    assert_eq!((read("a"), read("b"), read("other")), (b"one".to_vec(), vec![0, 1, 2], b"kept".to_vec()));
    assert_eq!(fs::metadata(system.join("a")).unwrap().mode() & 0o7777, 0o400);
    assert_eq!(fs::read_dir(&system).unwrap().count(), 3);
}

/// A credential may have any name that systemd allows.
#[test]
fn credential_named_like_a_leftover_survives_a_repair() {
    let strings: &[&[u8]] = &[b"io.systemd.credential:.smbios-creds-key=one", b"io.systemd.credential:b=two"];
    for imported in
        [&[(".smbios-creds-key", &b"one"[..])][..], &[(".smbios-creds-key", b"on"), ("b", b"two")]]
    {
        let root = testkit::systemd_root(imported);
        let system = root.path().join("run/credentials/@system");
        // A file that another program keeps there is not removed either.
        fs::write(system.join(".smbios-creds-1"), "kept").unwrap();
        let source = recording(&table(strings));
        let script = "mount --bind $1 $1 && mount -o remount,bind,ro $1 && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .arg(if testkit::is_root() { "-m" } else { "-rm" })
            .args(["sh", "-c", script, "sh"])
            .arg(&system);
        command.arg(env!("CARGO_BIN_EXE_smbios-creds")).args(["import", "--root"]).arg(root.path());
        let output = run(command.arg("--from").arg(source.path()).env_remove("JOURNAL_STREAM"));
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let read = |name| fs::read(system.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((read(".smbios-creds-key"), read("b")), (b"one".to_vec(), b"two".to_vec()));
        assert_eq!(read(".smbios-creds-1"), b"kept");
    }
}

#[test]
fn repair_that_leaves_nothing_is_not_called_imported() {
    let root = testkit::systemd_root(&[("a", b"on"), ("b", &[0, 1, 2])]);
    let mounts = "mount --bind $1 $1 && mount -o remount,bind,ro $1 && \
                  STRACE='strace -qq -o /dev/null -e inject=renameat:retval=0:when=1'";
    let output = import_beside(root.path(), "auto", mounts);
    assert_eq!(code(&output), 1);
    let message = stderr(&output);
    assert!(message.contains("credential a is not complete in "), "{message}");
    assert!(!testkit::stdout(&output).contains("imported"), "{message}");
}

#[test]
fn repair_ended_by_a_signal_leaves_nothing_staged_and_no_view() {
    for (signal, call) in [("TERM", "write"), ("INT", "renameat"), ("HUP", "mount"), ("TERM", "umount2")] {
        let root = testkit::systemd_root(&[("a", b"on")]);
        let mounts = format!(
            "mount --bind $1 $1 && mount -o remount,bind,ro $1 && \
             STRACE='env --default-signal strace -qq -o /dev/null -e inject={call}:signal={signal}:when=2'"
        );
        let output = import_beside(root.path(), "auto", &mounts);
        assert_ne!(output.status.code(), Some(0), "{signal} at {call}: {}", stderr(&output));
        let system = root.path().join("run/credentials/@system");
        assert!(super::names(&system).iter().all(|name| name == "a" || name == "b"), "{signal} at {call}");
        assert_eq!(fs::read(system.join("a")).unwrap(), b"one", "{signal} at {call}: it was complete");
        assert!(!root.path().join("run/smbios-creds/staging").exists(), "{signal} at {call}");
    }
}

#[test]
fn view_that_cannot_be_unmounted_is_an_error() {
    let strace = "STRACE='strace -qq -o /dev/null -e inject=umount2:error=EPERM'";
    // The import repairs systemd's directory through a second mount, and cannot unmount it.
    let root = testkit::systemd_root(&[("a", b"on")]);
    let mounts = format!("mount --bind $1 $1 && mount -o remount,bind,ro $1 && {strace}");
    let output = import_beside(root.path(), "auto", &mounts);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("cannot unmount "), "{}", stderr(&output));
    assert!(stderr(&output).contains("run/smbios-creds/staging"), "{}", stderr(&output));
    // The import mounts a new file system for the set, and cannot unmount its staging place.
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("run/credentials/@system")).unwrap();
    let output = import_beside(root.path(), "system", strace);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("cannot unmount "), "{}", stderr(&output));
}

#[test]
fn a_value_that_systemd_has_from_elsewhere_is_left_alone_and_named() {
    for other in ["two", "one more"] {
        let root = testkit::systemd_root(&[("a", other.as_bytes())]);
        let output = import_below(root.path(), "auto");
        assert_eq!(code(&output), 1);
        assert!(stderr(&output).contains("credential a: "), "{}", stderr(&output));
        assert!(stderr(&output).contains("it was not changed"));
        let read = |name| fs::read(root.path().join("run/credentials/@system").join(name)).unwrap();
        assert_eq!(
            (read("a"), read("b")),
            (other.as_bytes().to_vec(), vec![0, 1, 2]),
            "what is missing is mended"
        );
    }
}

/// Imports these strings on a system whose systemd has imported nothing, and then lists them.
fn import_and_list(root: &Path, strings: &[&[u8]]) -> (Output, Output) {
    let source = recording(&table(strings));
    let tables = root.join("sys/firmware/dmi/tables");
    fs::create_dir_all(&tables).unwrap();
    for file in ["smbios_entry_point", "DMI"] {
        fs::copy(source.path().join(file), tables.join(file)).unwrap();
    }
    let mut import = agent(&["import", "--from"]);
    let import = run(import.arg(source.path()).arg("--root").arg(root));
    // List the table of the system: a recording would not be compared with the system's directories.
    (import, run(agent(&["list", "--root"]).arg(root)))
}

#[test]
fn credential_that_only_pid_1_reads_is_not_called_imported_in_credstore() {
    for name in ["system.machine_id", "fstab.extra", "systemd.unit-dropin.sshd.service", "vmm.notify_socket"]
    {
        let root = testkit::systemd_root(&[]);
        let string = format!("io.systemd.credential:{name}=value");
        let (import, list) =
            import_and_list(root.path(), &[string.as_bytes(), b"io.systemd.credential:db=one"]);
        for output in [&import, &list] {
            assert_eq!(code(output), 0, "{}", stderr(output));
            let text = testkit::stdout(output);
            let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
            assert!(line(name).contains(" ineffective "), "{text}");
            assert!(line("db ").contains(" imported "), "{text}");
        }
        let message = format!("warning: credential {name}: no effect in this boot");
        assert!(stderr(&import).contains(&message), "{}", stderr(&import));
    }
}

/// The codes of the findings about a credential, from the JSON of `check` or of the report.
fn codes(judged: &serde_json::Value, name: &str) -> Vec<String> {
    let about = |finding: &&serde_json::Value| finding["credential"] == name;
    let findings = judged["findings"].as_array().unwrap().iter();
    findings.filter(about).map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_has_no_effect_is_a_finding_by_name_in_check_and_report() {
    let strings: &[&[u8]] = &[
        b"io.systemd.credential:getty.auto=no",
        b"io.systemd.credential:systemd.extra-unit.a.service=[Unit]",
        b"io.systemd.credential:passwd.hashed-password.root=x",
    ];
    let root = testkit::systemd_root(&[]);
    fs::create_dir_all(root.path().join("sys/firmware/dmi/tables")).unwrap();
    let source = recording(&table(strings));
    for file in ["DMI", "smbios_entry_point"] {
        fs::copy(source.path().join(file), root.path().join("sys/firmware/dmi/tables").join(file)).unwrap();
    }
    let check = || {
        let mut command = agent(&["check", "--json=short", "--confidential=allow", "--root"]);
        serde_json::from_slice(&run(command.arg(root.path())).stdout).unwrap()
    };
    let assert_named = |judged: &serde_json::Value| {
        assert_eq!(judged["verdict"], "passed");
        for name in ["getty.auto", "systemd.extra-unit.a.service"] {
            assert_eq!(codes(judged, name), ["ineffective"], "{judged}");
        }
        // systemd-firstboot.service and systemd-sysusers.service import this credential, so it has an effect.
        assert_eq!(codes(judged, "passwd.hashed-password.root"), [""; 0], "{judged}");
    };
    assert_named(&check());
    let import = |root: &Path| {
        let mut command = agent(&["import", "--confidential=allow", "--root"]);
        run(command.arg(root))
    };
    let output = import(root.path());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let report = fs::read(root.path().join("run/smbios-creds/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_named(&report["delivery"]);
    let advice = report["delivery"]["findings"][0]["advice"].as_str().unwrap();
    assert!(advice.contains("smbios-creds-initrd.service") && advice.contains("dmi-sysfs"), "{advice}");
    // In the initrd, there is no such finding, because the stage after switch-root gets these credentials.
    make_initrd(root.path());
    assert_eq!(codes(&check(), "getty.auto"), [""; 0]);
}

#[test]
fn copy_in_credstore_of_what_pid_1_has_is_not_called_ineffective() {
    let root = testkit::systemd_root(&[("ssh.listen", b"vsock::22"), ("import.pull", b"another")]);
    let source = recording(&table(&[
        b"io.systemd.credential:ssh.listen=vsock::22",
        b"io.systemd.credential:import.pull=raw:a",
    ]));
    let mut command = agent(&["import", "--into", "credstore", "--from"]);
    let output = run(command.arg(source.path()).arg("--root").arg(root.path()));
    let text = testkit::stdout(&output);
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("ssh.listen").contains(" imported "), "{text}");
    assert!(line("import.pull").contains(" ineffective "), "{text}");
}

#[test]
fn credential_that_pid_1_gets_is_called_imported() {
    // In the initrd, the import writes the credential to @initrd, from which PID 1 of the stage after switch-root
    // imports it.
    let root = testkit::systemd_root(&[]);
    make_initrd(root.path());
    let (import, list) = import_and_list(root.path(), &[b"io.systemd.credential:fstab.extra=value"]);
    for output in [&import, &list] {
        assert!(testkit::stdout(output).contains(" imported "), "{}", stderr(output));
        assert!(!stderr(output).contains("no effect"), "{}", stderr(output));
    }
    // A service imports this credential from credstore.
    let root = testkit::systemd_root(&[]);
    let (import, _) = import_and_list(root.path(), &[b"io.systemd.credential:systemd.unit-dropins=value"]);
    assert!(testkit::stdout(&import).contains(" imported "), "{}", stderr(&import));
}

#[test]
fn name_with_a_dot_is_never_left_in_initrd() {
    let strings: &[&[u8]] = &[b"io.systemd.credential:.hidden=secret", b"io.systemd.credential:db=one"];
    // The import chooses @initrd automatically, or --into names it.
    for into in ["auto", "initrd"] {
        let root = testkit::systemd_root(&[]);
        make_initrd(root.path());
        let source = recording(&table(strings));
        let mut command = agent(&["import", "--into", into, "--from"]);
        let output = run(command.arg(source.path()).arg("--root").arg(root.path()));
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let initrd = root.path().join("run/credentials/@initrd");
        assert!(!initrd.join(".hidden").exists(), "{into}");
        assert_eq!(fs::read(initrd.join("db")).unwrap(), b"one", "{into}");
        assert!(
            stderr(&output).contains("warning: credential .hidden: not written to "),
            "{}",
            stderr(&output)
        );
        let text = testkit::stdout(&output);
        let hidden = text.lines().find(|line| line.starts_with(".hidden ")).unwrap();
        assert_eq!(hidden.contains(" imported "), into == "auto", "credstore has it then: {text}");
    }
}

#[test]
fn name_with_a_dot_that_is_not_handed_over_is_a_finding() {
    let strings: &[&[u8]] = &[b"io.systemd.credential:.hidden=secret", b"io.systemd.credential:db=one"];
    let root = testkit::systemd_root(&[]);
    make_initrd(root.path());
    let (import, list) = import_and_list(root.path(), strings);
    assert_eq!((code(&import), code(&list)), (0, 0), "{}", stderr(&import));
    let report = fs::read(root.path().join("run/smbios-creds/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(codes(&report["delivery"], ".hidden"), ["not-handed-over"]);
    assert_eq!(codes(&report["delivery"], "db"), [""; 0]);
    assert!(stderr(&list).contains("warning: credential .hidden: not written to "), "{}", stderr(&list));
    // After switch-root, .hidden is imported, and no message says that it was not written.
    fs::remove_file(root.path().join("etc/initrd-release")).unwrap();
    let (import, list) = import_and_list(root.path(), strings);
    for output in [&import, &list] {
        assert!(!stderr(output).contains(".hidden: not written"), "{}", stderr(output));
        assert!(testkit::stdout(output).contains(".hidden "), "{}", stderr(output));
    }
}

/// With `CREDENTIALS_DIRECTORY=/run/credentials/@system` on the kernel's command line, systemd imports nothing, and
/// passes on what it finds in that directory.
#[test]
fn systemd_that_is_told_to_import_nothing_finds_the_set_in_its_directory() {
    for (stage, is_made) in [("initrd", false), ("initrd", true), ("host", false), ("host", true)] {
        let root = testkit::systemd_root(&[]);
        fs::create_dir_all(root.path().join("proc/1")).unwrap();
        fs::write(root.path().join("proc/1/environ"), "CREDENTIALS_DIRECTORY=/run/credentials/@system\0")
            .unwrap();
        if stage == "initrd" {
            make_initrd(root.path());
        }
        if is_made {
            fs::create_dir_all(root.path().join("run/credentials/@system")).unwrap();
        }
        let output = import_beside(root.path(), "auto", ":");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let says = "/run/credentials/@system: PID 1 is systemd, which imports nothing itself";
        assert!(stderr(&output).contains(says), "{stage}: {}", stderr(&output));
        assert!(stderr(&output).contains("imported into"), "{}", stderr(&output));
        for other in ["run/credstore", "run/credentials/@initrd"] {
            assert!(!root.path().join(other).exists(), "{stage}: {other}");
        }
    }
}
