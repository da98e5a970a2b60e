//! The agent as its users see it: what the verbs print, and how they end.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use testkit::{agent, code, recording, run, run_on, stderr, stdout, table, testdata};

#[test]
fn list_shows_names_sizes_and_sources_in_table_order() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("credentials");
    let list = |arguments: &[&str]| {
        run(agent(arguments).arg("--from").arg(testdata("qemu-7.2-two-structures")).arg("--into").arg(&into))
    };
    let text = "NAME SIZE ENCODING STATE   SOURCE\n\
                f1     2B text     missing 11-0:1\n\
                f2     2B text     missing 11-0:2\n\
                g1     2B text     missing 11-1:1\n";
    let output = list(&["list"]);
    let machine =
        "smbios-creds: info: the machine is QEMU (pc-i440fx-7.2), firmware SeaBIOS 1.16.2-debian-1.16.2-1\n";
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str(), code(&output)), (text, machine, 0));
    assert_eq!(stdout(&list(&["list", "--no-legend"])).lines().count(), 3);

    assert_eq!(code(&list(&["import"])), 0);
    std::fs::remove_file(into.join("f2")).unwrap();
    std::fs::set_permissions(into.join("g1"), PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(into.join("g1"), "xx").unwrap();
    let json: serde_json::Value = serde_json::from_slice(&list(&["list", "--json=short"]).stdout).unwrap();
    let states: Vec<_> = json.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["imported", "missing", "differs"]);
    let source = serde_json::json!({"structure": 1, "string": 1, "offset": 134});
    let row = serde_json::json!({"name": "g1", "size": 2, "encoding": "text", "state": "differs", "source": source});
    assert_eq!(json[2], row);
    let lines = |form: &str| stdout(&list(&["list", form])).lines().count();
    assert_eq!((lines("--json=short"), lines("--json=off")), (1, 4));
    assert_eq!(lines("--json"), lines("--json=pretty"));
}

#[test]
fn control_characters_from_the_host_reach_no_terminal() {
    // ESC, CR and a right-to-left override in a name that is refused. Foreign and mistyped strings contain control
    // characters as well.
    let hostile = b"io.systemd.credential:\x1b[31m\r\xe2\x80\xae\x07=1";
    let strings: &[&[u8]] = &[hostile, b"io.systemd.credentials:\x1b]0;x\x07=1", b"\x1b[2J"];
    let folder = recording(&table(strings));
    for arguments in
        [&["list"][..], &["list", "--json"], &["check"], &["check", "--json"], &["import", "--dry-run"]]
    {
        for level in ["trace", "error"] {
            let output = run_on(folder.path(), &[arguments, &["--log-level", level]].concat());
            let all = [output.stdout.as_slice(), &output.stderr].concat();
            let harmless = all.iter().all(|&byte| (b' '..=b'~').contains(&byte) || byte == b'\n');
            assert!(harmless, "{arguments:?}: {}", all.escape_ascii());
            assert!(!String::from_utf8(all).unwrap().contains("31m"), "a name that is refused is not shown");
        }
    }
    // Messages also escape the arguments that the user typed.
    let output = run(&mut agent(&["list", "--\x1b[31m"]));
    assert!(code(&output) == 2 && !output.stderr.contains(&0x1b));
    let output = run(&mut agent(&["list", "--from", "/\x1b[31m"]));
    assert!(code(&output) == 1 && !output.stderr.contains(&0x1b));
}

#[test]
fn check_require_exits_3_and_names_what_is_missing_or_empty() {
    let folder = recording(&table(&[b"io.systemd.credential:db-password=", b"io.systemd.credential:a=1"]));
    for name in ["db-password", "tls-key"] {
        let output = run_on(folder.path(), &["check", "--require", "a", name]);
        assert_eq!(code(&output), 3);
        assert!(stdout(&output).contains(&format!("credential {name}: ")), "{}", stdout(&output));
    }
    let arguments = ["check", "--require", "a", "--require", "db-password", "--allow-empty", "db-password"];
    assert_eq!(code(&run_on(folder.path(), &arguments)), 0);
    assert_eq!(code(&run_on(&testdata("qemu-7.2-none"), &["check", "--require", "a"])), 3);
}

#[test]
fn nothing_sent_is_told_from_nothing_there() {
    let none = run_on(&testdata("qemu-7.2-none"), &["check"]);
    assert_eq!(code(&none), 4);
    assert!(stdout(&none).starts_with("nothing-sent: "));
    let foreign = recording(&table(&[b"vendor string"]));
    let output = run_on(foreign.path(), &["check"]);
    assert_eq!(code(&output), 0);
    assert!(stdout(&output).contains("none of the OEM strings is a credential"));
}

#[test]
fn import_that_may_find_none_ends_well_only_if_nothing_is_required_and_no_table_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let import = |from: Option<&Path>, options: &[&str]| {
        let mut command = agent(&["import", "--confidential=allow", "--allow-none", "--root"]);
        command.arg(root.path()).arg("--into").arg(root.path().join("credentials")).args(options);
        if let Some(from) = from {
            command.arg("--from").arg(from);
        }
        let output = run(&mut command);
        (code(&output), stderr(&output))
    };
    let required: [&[&str]; 3] = [&["--require", "a"], &["--manifest=require"], &["--strict"]];
    std::fs::create_dir_all(root.path().join("sys/firmware")).unwrap();

    // A machine without SMBIOS.
    let (exit, text) = import(None, &["--allow-none"]);
    assert_eq!(exit, 0, "{text}");
    assert!(text.starts_with("smbios-creds: warning: no SMBIOS: "), "{text}");
    assert!(
        text.contains("the kernel refused it; no credential is required, so this is not an error\n"),
        "{text}"
    );
    let help = "smbios-creds: help: look for 'DMI' in the kernel's log; if the host sends credentials, list them in \
                --require\n";
    assert!(text.ends_with(help), "{text}");
    for options in required {
        let (exit, text) = import(None, options);
        assert_eq!(exit, 4, "{text}");
        assert!(text.contains("error: no SMBIOS: ") && !text.contains("not an error"), "{text}");
    }

    // A machine that was sent nothing.
    let none = testdata("qemu-7.2-none");
    let (exit, text) = import(Some(&none), &[]);
    assert_eq!(exit, 0, "{text}");
    assert!(
        text.contains(
            "info: the host sent no credentials; no credential is required, so this is not an error\nsmbios-creds: \
             help: if the host sends"
        ),
        "{text}"
    );
    for (options, expected) in required.into_iter().zip([3, 3, 4]) {
        let (exit, text) = import(Some(&none), options);
        assert_eq!(exit, expected, "{options:?}: {text}");
        assert!(!text.contains("not an error"), "{text}");
    }

    // A table that was lost, and a table with an empty value.
    std::fs::create_dir_all(root.path().join("sys/firmware/dmi")).unwrap();
    let (exit, text) = import(None, &[]);
    assert_eq!(exit, 4, "{text}");
    assert!(text.contains("error: no SMBIOS table: "), "{text}");
    let (exit, text) = import(Some(&testdata("qemu-7.2-empty-value")), &[]);
    assert_eq!(exit, 3, "{text}");
}

/// Runs the agent with `--root`, so that it takes this directory for the root of the running system.
fn on_system(root: &Path, arguments: &[&str]) -> std::process::Output {
    run(agent(arguments).arg("--root").arg(root))
}

#[test]
fn the_ways_a_table_can_be_absent_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let expect = |exit: i32, text: &str| {
        let output = on_system(root.path(), &["check", "--confidential=allow"]);
        assert_eq!((code(&output), stdout(&output).as_str()), (exit, ""));
        assert!(stderr(&output).contains(text), "{}", stderr(&output));
    };
    expect(1, "\nsmbios-creds: help: mount sysfs on /sys first\n");
    std::fs::create_dir_all(root.path().join("sys/firmware")).unwrap();
    expect(4, "no SMBIOS: ");
    std::fs::create_dir_all(root.path().join("sys/firmware/dmi")).unwrap();
    expect(4, "no SMBIOS table: ");
    let tables = root.path().join("sys/firmware/dmi/tables");
    std::fs::create_dir_all(&tables).unwrap();
    let source = testdata("qemu-7.2-pc");
    for file in ["smbios_entry_point", "DMI"] {
        std::fs::copy(source.join(file), tables.join(file)).unwrap();
    }
    assert_eq!(code(&on_system(root.path(), &["check", "--confidential=allow"])), 0);

    let recording = tempfile::tempdir().unwrap();
    let output = run_on(recording.path(), &["check"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains(
        "smbios_entry_point is missing\nsmbios-creds: help: use --from with a directory that contains"
    ));
}

#[test]
fn report_of_an_import_that_failed_says_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    for directory in ["run", "sys/firmware/dmi"] {
        std::fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    let output = on_system(root.path(), &["import", "--confidential=allow"]);
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    let report = std::fs::read(root.path().join("run/smbios-creds/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let summary = report["summary"].as_str().unwrap();
    assert!(summary.starts_with("no SMBIOS table: "), "{summary}");
    assert!(summary.ends_with("; send fewer or smaller credentials"), "{summary}");
}

/// Makes a root directory whose table is that of a recording.
fn system_with_table() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let tables = root.path().join("sys/firmware/dmi/tables");
    std::fs::create_dir_all(&tables).unwrap();
    for file in ["smbios_entry_point", "DMI"] {
        std::fs::copy(testdata("qemu-7.2-pc").join(file), tables.join(file)).unwrap();
    }
    root
}

#[test]
fn in_a_container_the_table_of_the_machine_is_refused() {
    let marks: [fn(&Path); 3] = [
        |root| std::fs::write(root.join("run/host/container-manager"), "podman").unwrap(),
        |root| std::fs::write(root.join("proc/1/environ"), "TERM=linux\0container=lxc\0").unwrap(),
        // Another inode than that of the first PID namespace.
        |root| {
            std::fs::remove_file(root.join("proc/self/ns/pid")).unwrap();
            symlink("pid:[4026532165]", root.join("proc/self/ns/pid")).unwrap();
        },
    ];
    for mark in marks {
        let root = system_with_table();
        for folder in ["run/host", "proc/1", "proc/self/ns"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        symlink("pid:[4026531836]", root.path().join("proc/self/ns/pid")).unwrap();
        std::fs::write(root.path().join(".dockerenv"), "").unwrap();
        let into = root.path().join("creds");
        let into = into.to_str().unwrap();
        let verbs: [&[&str]; 4] = [
            &["check"],
            &["cat", "foo"],
            &["import", "--into", into],
            &["exec", "--into", into, "--", "echo", "started"],
        ];
        assert_eq!(code(&on_system(root.path(), verbs[0])), 0, "a stale file makes no container");
        mark(root.path());
        for verb in verbs {
            let output = run(agent(&["--root"]).arg(root.path()).args(verb));
            assert_eq!((code(&output), stdout(&output).as_str()), (5, ""), "{verb:?}");
            assert!(stderr(&output).contains("this is a container"), "{}", stderr(&output));
            assert!(stderr(&output).contains("--confidential=allow"));
        }
        assert!(!Path::new(into).exists());
        assert_eq!(code(&on_system(root.path(), &["check", "--confidential=allow"])), 0);
        assert_eq!(code(&on_system(root.path(), &["cat", "foo", "--confidential=allow"])), 0);
        // The agent believes a recording also in a container.
        assert_eq!(
            code(&on_system(root.path(), &["check", "--from", testdata("qemu-7.2-pc").to_str().unwrap()])),
            0
        );
    }
}

#[test]
fn container_without_a_table_is_said_to_be_one_and_no_hypervisor_is_blamed() {
    let is_blamed = |output: &std::process::Output| stderr(output).contains("ypervisor");
    // Container runtimes hide /sys completely, or mount something empty over /sys/firmware or over /sys/firmware/dmi.
    for firmware in ["", "sys/firmware", "sys/firmware/dmi"] {
        let root = tempfile::tempdir().unwrap();
        for folder in ["run/host", firmware] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let record = root.path().join("recording");
        let verbs: [&[&str]; 4] = [
            &["list"],
            &["record", record.to_str().unwrap()],
            &["check", "--confidential=allow"],
            &["cat", "foo", "--confidential=allow"],
        ];
        for verb in verbs {
            let output = on_system(root.path(), verb);
            assert_eq!(code(&output), if firmware.is_empty() { 1 } else { 4 }, "no container");
        }
        std::fs::write(root.path().join("run/host/container-manager"), "docker").unwrap();
        for verb in verbs {
            let output = on_system(root.path(), verb);
            assert_eq!((code(&output), stdout(&output).as_str()), (5, ""), "{verb:?} {firmware}");
            assert!(
                stderr(&output).contains("this is a container") && !is_blamed(&output),
                "{}",
                stderr(&output)
            );
        }
        let output = on_system(root.path(), &["import"]);
        assert!(code(&output) == 5 && !is_blamed(&output), "{}", stderr(&output));
    }
}

#[test]
fn without_permission_the_error_names_the_file_and_what_to_do() {
    let folder = recording(&table(&[b"io.systemd.credential:a=1"]));
    let file = folder.path().join("DMI");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o000)).unwrap();
    let mut command = agent(&["list", "--from"]);
    command.arg(folder.path());
    if testkit::is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    }
    let output = run(&mut command);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains(&format!("cannot read {}: permission denied", file.display())));
    assert!(stderr(&output).contains("run this as root, or use --from with a recording"));
}

#[test]
fn odd_files_in_place_of_a_table_are_refused() {
    let folder = recording(&table(&[b"x"]));
    let file = folder.path().join("DMI");
    let check = || run_on(folder.path(), &["check"]);
    std::fs::write(&file, vec![0; 1_048_576 + 65_537]).unwrap();
    assert_eq!(code(&check()), 3);
    assert!(stderr(&check()).contains("is larger than 1114112 bytes"));
    std::fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(stderr(&check()).contains("it is not a regular file"), "a FIFO does not hang it");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert_eq!(code(&check()), 1);
}

#[test]
fn cat_prints_values_byte_for_byte() {
    let folder = recording(&table(&[
        b"io.systemd.credential:text=line1\nline2\x80\n",
        b"io.systemd.credential.binary:bin=AAECAwQ=",
        b"io.systemd.credential:e=",
        b"io.systemd.credential.binary:bad=?",
    ]));
    let cat = |arguments: &[&str]| run_on(folder.path(), &[&["cat"], arguments].concat());
    let output = cat(&["text", "bin"]);
    assert_eq!((output.stdout.as_slice(), code(&output)), (&b"line1\nline2\x80\n\0\x01\x02\x03\x04"[..], 0));
    assert_eq!(cat(&["bin", "--newline=yes"]).stdout, b"\0\x01\x02\x03\x04\n");
    assert_eq!(cat(&["bin", "--newline=no"]).stdout, b"\0\x01\x02\x03\x04");
    // A script such as x=$(smbios-creds cat db-password) would take an empty value for the secret.
    let empty = cat(&["e"]);
    assert_eq!((empty.stdout.len(), code(&empty)), (0, 3));
    assert!(stderr(&empty).contains("credential e: required, but empty (0 bytes)"), "{}", stderr(&empty));
    let allowed = cat(&["e", "--allow-empty", "e"]);
    assert_eq!((allowed.stdout.len(), code(&allowed)), (0, 0));
    let another = cat(&["e", "bin", "--newline=no", "--allow-empty", "bin"]);
    assert_eq!((another.stdout.as_slice(), code(&another)), (&b"\0\x01\x02\x03\x04"[..], 3));
    let output = cat(&["nope", "bad", "bin"]);
    assert_eq!(
        (output.stdout.as_slice(), code(&output)),
        (&b"\0\x01\x02\x03\x04"[..], 3),
        "the others are printed"
    );
    assert!(
        stderr(&output).contains("credential nope: missing")
            && stderr(&output).contains("credential bad: missing")
    );
    assert_eq!(code(&cat(&["a/b"])), 2);
    assert_eq!(code(&cat(&[])), 2);
}

#[test]
fn cat_does_not_print_what_may_not_be_the_value() {
    let mut data = testkit::oem(&[b"io.systemd.credential:cut=val"]);
    data.push(1);
    let output = run_on(recording(&data).path(), &["cat", "cut"]);
    assert_eq!((output.stdout.len(), code(&output)), (0, 3));
    assert!(stderr(&output).contains("credential cut: the table is damaged after it"));
}

#[test]
fn exec_hands_the_folder_to_the_program_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("c");
    let script = r#"cat "$CREDENTIALS_DIRECTORY/foo"; echo; ulimit -Sc; umask; echo "$1""#;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#"ulimit -Sc 0; ulimit -Sc 512; umask 0027; exec "$@""#, "sh"]);
    command.arg(env!("CARGO_BIN_EXE_smbios-creds")).args(["exec", "--from"]).arg(testdata("qemu-7.2-pc"));
    command.arg("--into").arg(&into).args(["--", "sh", "-c", script, "sh", "an argument"]);
    let output = run(&mut command);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(stdout(&output), "bar\n512\n0027\nan argument\n");
    assert_eq!(std::fs::read(into.join("blob")).unwrap(), [0, 1, 2, 3, 4]);

    let output = run(agent(&["exec", "--into"])
        .arg(&into)
        .arg("--from")
        .arg(testdata("qemu-7.2-pc"))
        .args(["--", "/nonexistent"]));
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("cannot execute /nonexistent: No such file or directory"));
}

/// Returns the mask of ignored signals in a program that `exec` executes. A shell runs the command `before` first.
fn ignored_in_program(agent: &std::path::Path, before: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!(r#"{before}; exec "$@""#), "sh"]);
    command.arg(agent).args(["exec", "--from"]).arg(testdata("qemu-7.2-pc"));
    command.arg("--into").arg(folder.path().join("c")).args(["--", "grep", "SigIgn", "/proc/self/status"]);
    let output = run(&mut command);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    u64::from_str_radix(stdout(&output).trim_end().strip_prefix("SigIgn:\t").unwrap(), 16).unwrap()
}

const SIGPIPE: u64 = 1 << (nix::libc::SIGPIPE - 1);

#[test]
fn ignored_sigpipe_is_ignored_in_the_program_that_exec_executes() {
    // systemd ignores SIGPIPE in each unit, unless the unit has IgnoreSIGPIPE=no.
    let agent = std::path::Path::new(env!("CARGO_BIN_EXE_smbios-creds"));
    assert_eq!(ignored_in_program(agent, "trap '' PIPE") & SIGPIPE, SIGPIPE);
    // /proc/self/stat shows the ignored signals after the program's name, and the name can look like other fields.
    let directory = tempfile::tempdir().unwrap();
    for name in ["x) S 1 1", "1 2 (3"] {
        let link = directory.path().join(name);
        std::os::unix::fs::symlink(agent, &link).unwrap();
        assert_eq!(ignored_in_program(&link, "trap '' PIPE") & SIGPIPE, SIGPIPE, "{name}");
        assert_eq!(ignored_in_program(&link, ":") & SIGPIPE, 0, "{name}");
    }
}

#[test]
fn sigpipe_that_is_not_ignored_ends_the_program_that_exec_executes() {
    let agent = std::path::Path::new(env!("CARGO_BIN_EXE_smbios-creds"));
    for before in [":", "trap '' USR1 HUP"] {
        assert_eq!(ignored_in_program(agent, before) & SIGPIPE, 0, "{before}");
    }
}

#[test]
fn exec_does_not_start_a_program_without_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("c");
    let start = |source: &Path, policy: &[&str]| {
        run(agent(&["exec", "--from"])
            .arg(source)
            .arg("--into")
            .arg(&into)
            .args(policy)
            .args(["--", "echo", "started"]))
    };
    let empty = recording(&table(&[b"io.systemd.credential:db=", b"io.systemd.credential:a=1"]));
    for policy in [&["--require", "db"][..], &["--require", "other"], &["--manifest=require"], &["--strict"]]
    {
        let output = start(empty.path(), policy);
        assert_eq!((code(&output), stdout(&output).as_str()), (3, ""), "{policy:?}");
        assert!(stderr(&output).contains("the program is not started"));
    }
    assert_eq!(stdout(&start(empty.path(), &["--require", "a"])), "started\n", "what it needs is there");
    // Without credentials, exec has no directory to name in CREDENTIALS_DIRECTORY, and removes the inherited value,
    // which names a directory of another program.
    let mut command = agent(&["exec", "--from"]);
    command.arg(testdata("qemu-7.2-none")).args(["--", "sh", "-c", "echo ${CREDENTIALS_DIRECTORY-unset}"]);
    assert_eq!(stdout(&run(command.env("CREDENTIALS_DIRECTORY", "/stale"))), "unset\n");
}

#[test]
fn finding_is_followed_by_a_line_that_says_what_to_do() {
    let strings = [&b"io.systemd.credential:a=1"[..], b"io.systemd.credential:b="];
    let source = recording(&table(&strings));
    let into = tempfile::tempdir().unwrap();
    let help = "smbios-creds: help: correct the variable or the file on the host, or allow an empty value with \
                --allow-empty\n";
    for (verb, what) in [
        (&["list"][..], "empty"),
        (&["import", "--into", "./creds"], "empty"),
        (&["exec", "--into", "./creds", "--", "true"], "empty"),
        (&["cat", "b"], "required, but empty"),
    ] {
        let mut command = agent(&verb[..1]);
        command.arg("--from").arg(source.path()).args(&verb[1..]).current_dir(into.path());
        let output = run(&mut command);
        let place = "(structure 11-0, string 2, offset 31)";
        let lines = format!("smbios-creds: error: credential b: {what} (0 bytes) {place}\n{help}");
        assert!(stderr(&output).contains(&lines), "{verb:?}\n{}", stderr(&output));
    }
}

#[test]
fn refused_value_of_an_option_is_followed_by_what_to_do() {
    let none = "it is neither auto, system, initrd, credstore nor a path";
    let output = run(&mut agent(&["import", "--into", "sytem"]));
    let text = stderr(&output);
    assert_eq!(code(&output), 2, "{text}");
    let lines = format!(
        "error: invalid value 'sytem' for '--into <SINK>': {none}\n  help: write a path with a '/', for example \
         ./directory\n\n"
    );
    assert!(text.starts_with(&lines), "{text}");
    let secret = smbios_creds::format::base64::encode(&[b"Ed".as_slice(), &[0; 156]].concat());
    let output = run(&mut agent(&["check", "--trust", &secret]));
    let text = stderr(&output);
    assert!(
        text.contains(
            "it is a minisign SECRET key\n  help: remove it from this machine, and use the public key"
        ),
        "{text}"
    );
}

#[test]
fn secret_key_that_is_given_as_a_public_key_is_not_shown() {
    let secret = smbios_creds::format::base64::encode(&[b"Ed".as_slice(), &[7; 156]].concat());
    // An argument that is not a valid public key may be a part of a secret key.
    for given in [&secret[..], &secret[..100], &secret[20..]] {
        for verb in ["check", "import", "list", "cat", "exec"] {
            for arguments in [vec!["--trust", given], vec!["--trust", "x", given]] {
                let output = run(agent(&[verb]).args(arguments).args(["--log-level=trace", "--", "x"]));
                let text = stderr(&output) + &stdout(&output);
                assert_eq!(code(&output), 2, "{text}");
                assert!(!text.contains(given), "{verb}: {text}");
            }
            let output = run(&mut agent(&[verb, &format!("--trust={given}"), "--", "x"]));
            let text = stderr(&output);
            assert!(
                text.contains("invalid value for '--trust") || verb == "check" || verb == "list",
                "{text}"
            );
            assert!(text.contains("minisign") && !text.contains(given), "{verb}: {text}");
        }
    }
}

#[test]
fn log_lines_carry_priorities_where_the_log_reads_them() {
    let lines = |command: &mut std::process::Command| stderr(&run(command));
    let mut command = agent(&["list", "--from"]);
    command.arg(testdata("qemu-10-silent-loss"));
    assert!(lines(&mut command).starts_with("smbios-creds: error: 2 OEM strings"));
    let file = tempfile::tempfile().unwrap();
    let stat = nix::sys::stat::fstat(&file).unwrap();
    command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    assert!(lines(&mut command).starts_with("smbios-creds: "), "stderr is not the journal");
    command.stderr(file.try_clone().unwrap()).status().unwrap();
    let text = std::io::read_to_string({
        std::io::Seek::rewind(&mut &file).unwrap();
        &file
    })
    .unwrap();
    assert!(text.starts_with("<3>2 OEM strings"), "{text}");
    assert!(
        text.lines().nth(1).unwrap().starts_with("<3>help: QEMU 9.0 and newer does this when "),
        "{text}"
    );
    assert!(text.lines().all(|line| line.starts_with('<')), "{text}");
    assert_eq!(lines(agent(&["list", "--log-level=off", "--from"]).arg(testdata("qemu-10-silent-loss"))), "");
}

#[test]
fn usage_errors_exit_2_and_help_exits_0() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["list", "--json=yaml"],
        &["import", "--into", "sytem"],
        &["exec"],
        &["check", "--strict"],
    ] {
        let output = run(&mut agent(arguments));
        assert_eq!((code(&output), stdout(&output).as_str()), (2, ""), "{arguments:?}");
        assert!(!stderr(&output).is_empty());
    }
    // The help of each verb describes an option in words that fit this verb.
    assert!(stdout(&run(&mut agent(&["list", "--help"]))).contains("Compare with the credentials in: auto"));
    assert!(
        stdout(&run(&mut agent(&["import", "--help"]))).contains("Import nothing unless verification passes")
    );
    for arguments in [&["--help"][..], &["--version"], &["import", "--help"], &["help", "cat"]] {
        let output = run(&mut agent(arguments));
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = agent(&["list", "--from"])
        .arg(testdata("qemu-7.2-255-strings"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0);
    // A full disk is an error.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = run(agent(&["list", "--from"]).arg(testdata("qemu-7.2-pc")).stdout(full));
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("cannot write to standard output"));
}
