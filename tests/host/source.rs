//! A credentials directory: read byte for byte, or refused with one clear line.

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::Mode;
use smbios_creds::format::credential::{Credential, VALUE_MAX};
use smbios_creds::host::source::{DirectoryError, Mapping, Selection, Which, read};
use smbios_creds::text::help::Help as _;
use testkit::host::{QEMU_WORD, directory, host, host_with, name, shell_with};
use testkit::{code, run, stderr};

fn selection(which: Which) -> Selection {
    Selection { which, ..Selection::all() }
}

fn named(mappings: &[&str]) -> Selection {
    selection(Which::Named(mappings.iter().map(|mapping| mapping.parse().unwrap()).collect()))
}

fn pairs(credentials: &[Credential]) -> Vec<(&str, &[u8])> {
    credentials.iter().map(|c| (c.name.as_str(), c.value.expose())).collect()
}

fn refusal(folder: &Path, selection: &Selection) -> String {
    let error = read(folder, selection).unwrap_err().on_one_line();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn files_are_read_byte_for_byte() {
    let all: Vec<u8> = (0..=255).collect();
    let largest = vec![b'x'; VALUE_MAX];
    let folder = directory(&[("b", b"line\n"), ("a", b"\n"), ("bytes", &all), ("largest", &largest)]);
    let credentials = read(folder.path(), &Selection::all()).unwrap();
    let expected: [(&str, &[u8]); 4] =
        [("a", b"\n"), ("b", b"line\n"), ("bytes", &all), ("largest", &largest)];
    assert_eq!(pairs(&credentials), expected);
}

#[test]
fn what_is_selected_is_taken_and_nothing_else() {
    let folder = directory(&[("vm1.a", b"1"), ("vm1.b", b"2"), ("other", b"3")]);
    let prefix = read(folder.path(), &selection(Which::Prefix("vm1.".into()))).unwrap();
    assert_eq!(pairs(&prefix), [("vm1.a", &b"1"[..]), ("vm1.b", b"2")]);
    let renamed = read(folder.path(), &named(&["key=vm1.b", "other"])).unwrap();
    assert_eq!(pairs(&renamed), [("key", &b"2"[..]), ("other", b"3")], "in the order they were named in");
    // Files that are not selected may be of any kind.
    symlink("/nonexistent", folder.path().join("link")).unwrap();
    assert!(read(folder.path(), &selection(Which::Prefix("vm1.".into()))).is_ok());
    assert!(refusal(folder.path(), &Selection::all()).contains("link is a symbolic link"));
    let none = refusal(folder.path(), &selection(Which::Prefix("\x1b[2J".into())));
    assert!(none.contains(r"begins with '\x1b[2J', so nothing would be sent"), "{none}");
}

#[test]
fn a_mapping_has_two_names_that_are_names() {
    assert_eq!("a=b".parse(), Ok(Mapping { guest: name("a"), host: name("b") }));
    assert_eq!("a".parse(), Ok(Mapping { guest: name("a"), host: name("a") }));
    for bad in ["", "=", "a=", "=b", "../a", "a=../b", "a:b", "a=b/c", "a\n"] {
        assert!(bad.parse::<Mapping>().is_err(), "{bad:?}");
    }
}

/// The incident that this project starts from: three secrets became empty, and nobody was told.
#[test]
fn the_founding_incident_is_refused_before_anything_starts() {
    let folder = directory(&[("db", b"secret"), ("empty", b"")]);
    let marker = folder.path().join("started");
    let script = format!("touch '{}'", marker.display());
    let (_programs, shell) = shell_with(QEMU_WORD);
    let program = ["--hypervisor", "qemu", "--", shell.to_str().unwrap(), "-c", &script];
    let cases: [(&[&str], &str); 6] = [
        (
            &["--all", "--credentials", "/nonexistent"],
            "cannot read the credentials directory /nonexistent: No such",
        ),
        (&["--credential", "db", "tls"], "credential tls: "),
        (&["--credential", "empty"], "credential empty: "),
        (&["--prefix", "e"], "help: if it may be empty, use --allow-empty empty\n"),
        (&["--prefix", "d", "--expect", "db", "tls"], "credential tls: it is expected (--expect)"),
        (&["--prefix", "zzz"], "so nothing would be sent"),
    ];
    for (select, message) in cases {
        for verb in ["run", "plan", "emit"] {
            let rest: &[&str] = if verb == "emit" { &["--format", "strings"] } else { &program };
            let output = run(&mut host_with(folder.path(), &[&[verb], select, rest].concat()));
            assert_eq!(code(&output), 3, "{verb} {select:?}");
            let said = if verb == "plan" { testkit::stdout(&output) } else { stderr(&output) };
            assert!(said.contains(message), "{verb} {select:?}: {said}");
            assert!(verb == "plan" || output.stdout.is_empty(), "{said}");
            let outcome = if verb == "emit" { "; nothing is written" } else { "; nothing is started" };
            let lines: Vec<&str> = said.lines().collect();
            assert!(verb == "plan" || lines[0].ends_with(outcome), "{said}");
            let is_help = |line: &&str| line.starts_with("smbios-creds-host: help: ");
            assert!(verb == "plan" || (lines.len() <= 2 && lines[1..].iter().all(is_help)), "{said}");
        }
    }
    for unset in [None, Some("")] {
        let mut command = host(&["run", "--all"]);
        if let Some(value) = unset {
            command.env("CREDENTIALS_DIRECTORY", value);
        }
        let output = run(command.args(program));
        assert_eq!((code(&output), stderr(&output).lines().count()), (3, 2));
        assert!(
            stderr(&output).contains("\nsmbios-creds-host: help: add LoadCredential= or"),
            "{}",
            stderr(&output)
        );
        assert!(stderr(&output).contains("$CREDENTIALS_DIRECTORY is not set"), "{}", stderr(&output));
    }
    assert!(!marker.exists(), "nothing was started");

    let output = run(host_with(folder.path(), &["run", "--all", "--allow-empty", "empty"]).args(program));
    assert!(code(&output) == 0 && marker.exists(), "what is meant to be empty is sent: {}", stderr(&output));
}

#[test]
fn mistyped_name_is_answered_with_the_file_that_is_there() {
    let folder = directory(&[("db-password", b"secret"), ("token-1", b"1")]);
    let (_programs, shell) = shell_with(QEMU_WORD);
    let program = ["--hypervisor", "qemu", "--", shell.to_str().unwrap(), "-c", "exit 9"];
    let missing = "db-pasword is missing (did you mean db-password?)";
    let expected = "but it was not selected (did you mean db-password?)";
    let cases: [(&[&str], &str); 3] = [
        (&["--credential", "db-pasword"], missing),
        (&["--credential", "guest=db-pasword"], missing),
        (&["--all", "--expect", "DB-PASSWORD"], expected),
    ];
    for (select, message) in cases {
        for verb in ["run", "plan"] {
            let output = run(&mut host_with(folder.path(), &[&[verb], select, &program].concat()));
            let said = testkit::stdout(&output) + &stderr(&output);
            assert!(code(&output) == 3 && said.contains(message), "{verb} {select:?}: {said}");
        }
    }
    // Neither a file that is itself requested nor a file with a quite different name is suggested.
    for select in [&["--credential", "token-1", "token-2"][..], &["--all", "--expect", "backup-key"]] {
        let output = run(&mut host_with(folder.path(), &[&["plan"], select, &program].concat()));
        let said = testkit::stdout(&output);
        assert!(code(&output) == 3 && !said.contains("did you mean"), "{select:?}: {said}");
    }
}

#[test]
fn an_empty_directory_is_no_credentials() {
    let folder = directory(&[]);
    assert!(refusal(folder.path(), &Selection::all()).contains("is empty, so nothing would be sent"));
}

#[test]
fn no_link_is_followed_whatever_it_leads_to() {
    let folder = directory(&[("real", b"secret")]);
    let outside = directory(&[("outside", b"not ours")]);
    symlink(outside.path().join("outside"), folder.path().join("out")).unwrap();
    symlink("real", folder.path().join("in")).unwrap();
    symlink("/dev/null", folder.path().join("device")).unwrap();
    for link in ["out", "in", "device"] {
        assert!(refusal(folder.path(), &named(&[link])).contains("is a symbolic link, not a regular file"));
    }
    // The credentials directory itself may be a symbolic link, since the caller names the directory.
    let link = outside.path().join("directory");
    symlink(folder.path(), &link).unwrap();
    assert_eq!(pairs(&read(&link, &named(&["real"])).unwrap()), [("real", &b"secret"[..])]);
}

#[test]
fn fifos_folders_sockets_and_devices_are_refused_and_hang_nothing() {
    let folder = directory(&[]);
    let path = |name: &str| folder.path().join(name);
    nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    let mut kinds = vec![("fifo", "a FIFO"), ("folder", "a directory"), ("socket", "a socket")];
    let device = nix::sys::stat::makedev(1, 5);
    // Only root may make a device.
    if nix::sys::stat::mknod(&path("zero"), nix::sys::stat::SFlag::S_IFCHR, Mode::S_IRWXU, device).is_ok() {
        kinds.push(("zero", "a device"));
    }
    for (name, kind) in kinds {
        let error = refusal(folder.path(), &named(&[name]));
        assert!(error.contains(&format!("{name} is {kind}")), "{error}");
    }
}

#[test]
fn names_that_no_credential_can_have_are_refused_and_escaped() {
    for bad in ["a:b", "esc\x1b[31m", "line\nbreak", "\u{202e}"] {
        let folder = directory(&[(bad, b"secret")]);
        let error = refusal(folder.path(), &Selection::all());
        assert!(error.contains("cannot be the name of a credential"), "{error}");
        assert!(error.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{error:?}");
    }
    // `a=b` can be a name on the host, but not in an OEM string.
    let folder = directory(&[("a=b", b"secret")]);
    let output = run(&mut host_with(folder.path(), &["emit", "--all", "--format", "strings"]));
    assert_eq!((code(&output), output.stdout.len()), (3, 0));
    assert!(stderr(&output).contains("credential a=b: its name contains '='"), "{}", stderr(&output));
}

#[test]
fn a_value_above_a_mebibyte_is_refused_unread() {
    let folder = directory(&[("large", &vec![0; VALUE_MAX + 1])]);
    assert!(matches!(read(folder.path(), &Selection::all()), Err(DirectoryError::TooLarge { .. })));
    assert!(refusal(folder.path(), &Selection::all()).contains("has more than 1048576 bytes"));
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let folder = directory(&[("db", b"secret")]);
    let file = folder.path().join("db");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = host_with(folder.path(), &["emit", "--all", "--format", "strings"]);
    if testkit::is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    }
    let output = run(&mut command);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains(&format!("cannot read {}: Permission denied", file.display())));
}

#[test]
fn the_same_name_twice_is_refused() {
    let folder = directory(&[("a", b"1"), ("b", b"2")]);
    let output =
        run(&mut host_with(folder.path(), &["emit", "--format", "strings", "--credential", "x=a", "x=b"]));
    assert_eq!((code(&output), output.stdout.len()), (3, 0));
    let said = stderr(&output);
    assert!(
        said.contains("credential x: it would be sent twice") && said.contains("two files are"),
        "{said}"
    );
}

#[test]
fn no_race_leads_a_read_out_of_the_directory() {
    let folder = directory(&[("db", b"ours")]);
    let outside = directory(&[("outside", b"not ours")]);
    let path = |name: &str| folder.path().join(name);
    symlink(outside.path().join("outside"), path("link")).unwrap();
    let emit = ["emit", "--credential", "db", "--format", "strings"];
    let emit = host_with(folder.path(), &emit);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // This thread exchanges the file and the link until all runs of `emit` have ended.
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, path("db"), rustix::fs::CWD, path("link"), flags)
                    .unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let outputs: Vec<_> = (0..60)
            .map(|_| {
                // strace delays each openat2(2) by 5 milliseconds, so that an exchange can fall between the check of
                // a file and its opening.
                let mut command = std::process::Command::new("strace");
                command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=openat2:delay_enter=5000"]);
                run(command
                    .arg(emit.get_program())
                    .args(emit.get_args())
                    .envs(emit.get_envs().filter_map(|(name, value)| Some((name, value?)))))
            })
            .collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let (read, refused): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| code(output) == 0);
        assert!(!read.is_empty() && !refused.is_empty(), "{} are read", read.len());
        for output in read {
            assert!(output.stdout.starts_with(b"io.systemd.credential.binary:db=b3Vycw==\n"));
        }
    });
}
