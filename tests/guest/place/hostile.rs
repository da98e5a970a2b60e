//! A hostile guest and a hostile table: whoever else is in the machine, and whatever the host sends, nothing is written
//! elsewhere, nothing is read by others, nothing hangs, and nothing reaches a terminal as it is.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::stat::Mode;
use testkit::{END, agent, code, oem, recording, run, run_on, stderr, table};

/// Whom nobody trusts.
const NOBODY: u32 = 65_534;

const CANARY: &str = "Canary-of-a-value";

/// A root folder, a table with a value, and a way to import.
struct Guest {
    root: tempfile::TempDir,
    source: tempfile::TempDir,
}

impl Guest {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let strings =
            [format!("io.systemd.credential:a={CANARY}"), format!("io.systemd.credential:b={CANARY}")];
        let strings: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
        Self { root, source: recording(&table(&strings)) }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Makes a folder with this mode that belongs to somebody else, where we may give it away.
    fn folder(&self, path: &str, mode: u32, owner: u32) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        if testkit::is_root() {
            chown(&path, Some(owner), Some(owner)).unwrap();
        }
        path
    }

    /// Runs a verb in a mount namespace of its own, and lists what is mounted below the root behind it. It must come to
    /// an end by itself.
    fn run(&self, arguments: &[&str]) -> Output {
        let script = "\"$@\"; code=$?; grep -F \" $ROOT/\" /proc/self/mounts; exit $code";
        let mut command = Command::new("unshare");
        command.arg(if testkit::is_root() { "-m" } else { "-rm" });
        command.args(["timeout", "60", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_smbios-creds")]);
        command.args(arguments).arg("--from").arg(self.source.path()).arg("--root").arg(self.root.path());
        command.env("ROOT", self.root.path());
        run(command.env_remove("JOURNAL_STREAM"))
    }

    fn import(&self, sink: &str) -> Output {
        self.run(&["import", "--into", sink])
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()));
    let mut names: Vec<String> = entries.map(Iterator::collect).unwrap_or_default();
    names.sort();
    names
}

/// Whether a value is in a file below this folder.
fn holds_value(folder: &Path) -> bool {
    names(folder).iter().map(|name| folder.join(name)).any(|path| {
        let kind = fs::symlink_metadata(&path).map(|metadata| metadata.file_type());
        kind.is_ok_and(|kind| {
            (kind.is_file() && holds_value_in(&path)) || (kind.is_dir() && holds_value(&path))
        })
    })
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

/// Puts something in the place of a file of the state folder, and has it imported and listed. Nothing hangs, and
/// nothing of it is said.
fn with_in_state_folder(name: &str, make: impl Fn(&Path, &Path)) -> (Guest, Output) {
    let guest = Guest::new();
    let state = guest.folder("run/smbios-creds", 0o700, 0);
    let outside = guest.path("outside");
    fs::write(&outside, "{\"version\":\"9\",\"summary\":\"forged\"}").unwrap();
    make(&state.join(name), &outside);
    // It would tell what the last import said, if there were a table.
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
        assert!(metadata.is_file() && metadata.mode() & 0o7777 == 0o600, "{metadata:?}");
        assert!(fs::read_to_string(file).unwrap().contains("\"summary\":\"materialized in "));
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
        assert!(stderr(&output).contains("warning: no report is left: "), "{}", stderr(&output));
    }
    // A second name of somebody's file is given up, and not written to.
    let (guest, _) =
        with_in_state_folder("report.json.part", |path, outside| fs::hard_link(outside, path).unwrap());
    report(&guest);
    // A device that never ends.
    with_in_state_folder("report.json", |path, _| symlink("/dev/zero", path).unwrap());
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

/// Somebody else, who changes a folder for as long as this lives.
struct Racer(Child);

impl Racer {
    fn start(folder: &Path, script: &str) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("while :; do {script}\ndone")).arg("sh").arg(folder);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if testkit::is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Self(command.spawn().unwrap())
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Whatever somebody else does at the folder that is to be filled, all the while and beside it: nothing is written
/// elsewhere, and they read nothing. They have a fifth of a second between the call that makes a folder and the next.
#[test]
fn no_race_leads_a_write_elsewhere_or_lets_others_read_it() {
    let cases = [
        "ln -s ../outside creds; sleep 0.01; rm -f creds; mkdir creds; sleep 0.01; rm -rf creds",
        "cat .smbios-creds-*/* creds/* >>../seen/seen",
    ];
    for script in cases {
        let guest = Guest::new();
        // It is theirs, which is what no system has; what is outside is ours, and open to all.
        let shared = guest.folder("shared", 0o777, NOBODY);
        let outside = guest.folder("outside", 0o755, 0);
        let seen = guest.folder("seen", 0o777, NOBODY);
        let racer = Racer::start(&shared, script);
        for _ in 0..10 {
            // Where it is all there, nothing is made.
            _ = fs::remove_dir_all(shared.join("creds"));
            let mut import = Command::new("strace");
            import.args(["-qq", "-o", "/dev/null", "-e", "inject=mkdirat:delay_exit=200000"]);
            import.arg(env!("CARGO_BIN_EXE_smbios-creds"));
            import.args(["import", "--into"]).arg(shared.join("creds"));
            let output = run(import.arg("--from").arg(guest.source.path()).env_remove("JOURNAL_STREAM"));
            assert!(code(&output) < 2, "{script}: {}", stderr(&output));
            assert!(!stderr(&output).contains(CANARY) && !stderr(&output).contains("internal error"));
            if testkit::is_root() {
                assert_nobody_can_read(&shared);
            }
        }
        drop(racer);
        assert_eq!(names(&outside), [""; 0], "{script}");
        assert!(!testkit::is_root() || !holds_value(&seen), "{script}");
    }
}

/// Every file with a value is for root alone. It may change while it is looked at.
fn assert_nobody_can_read(folder: &Path) {
    for name in names(folder) {
        let path = folder.join(name);
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            assert_nobody_can_read(&path);
        } else if metadata.is_file() && holds_value_in(&path) {
            assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o400), "{}", path.display());
        }
    }
}

fn holds_value_in(file: &Path) -> bool {
    fs::read(file)
        .is_ok_and(|content| content.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()))
}

/// Somebody else mounts and links at `/run/credentials` as fast as they can, in a namespace of their own as everywhere
/// else: it changes nothing for us.
#[test]
fn mounts_and_links_of_somebody_else_at_run_credentials_change_nothing() {
    let guest = Guest::new();
    let credentials = guest.folder("run/credentials", 0o755, 0);
    let seen = guest.folder("seen", 0o777, NOBODY);
    let script = "unshare -rm sh -c 'mkdir -p @system; mount -t tmpfs tmpfs . && mkdir @system && cat @system/*'
                  ln -s ../../seen @system; ln -s ../../seen ../credentials; mv ../credentials ../moved; mkdir @system
                  cat @system/* >>../../seen/seen";
    let racer = if testkit::is_root() { Some(Racer::start(&credentials, script)) } else { None };
    for _ in 0..20 {
        let output = guest.import("system");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let mounts = testkit::stdout(&output);
        assert_eq!(mounts.matches("run/credentials/@system ").count(), 1, "{mounts}");
        assert!(!mounts.contains("staging"), "{mounts}");
    }
    drop(racer);
    assert!(!holds_value(&seen) && names(&credentials).iter().all(|name| name == "@system"));
}

/// Everything that a terminal would act on: escapes, a C1 control byte, a bell, direction marks, a return.
const ESCAPES: &[u8] = b"\x1b]0;x\x07\x1b[2J\x9b31m\xc2\x9b1m\r\n\x08\x7f\xe2\x80\xae\xff";

fn assert_printable(output: &Output, what: &str) {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    let harmless = all.iter().all(|&byte| (b' '..=b'~').contains(&byte) || byte == b'\n');
    assert!(harmless, "{what}: {}", all.escape_ascii());
}

#[test]
fn escapes_in_any_text_of_a_table_reach_no_terminal() {
    let with = |parts: &[&[u8]]| parts.concat();
    let json = |json: &str| {
        let text = smbios_creds::format::base64::encode(json.as_bytes());
        format!("io.smbios-creds.manifest:{}", *text).into_bytes()
    };
    let escape = r"\u001b[31m\u009b\u202e";
    let strings = [
        with(&[b"io.systemd.credential:", ESCAPES, b"=x"]),
        with(&[b"io.systemd.credential:a=", ESCAPES]),
        with(&[b"io.systemd.credential.binary:", ESCAPES, b"=AA=="]),
        with(&[b"io.systemd.credential.binary:b=", ESCAPES]),
        with(&[b"io.systemd.credential", ESCAPES]),
        with(&[b"io.systemd.credentials:", ESCAPES, b"=x"]),
        with(&[b"io.systemd.credential:", ESCAPES]),
        with(&[b"io.smbios-creds.manifest:", ESCAPES]),
        ESCAPES.to_vec(),
        json(&format!(r#"{{"version":1,"credentials":{{"{escape}":1}}}}"#)),
        json(&format!(r#"{{"version":"{escape}"}}"#)),
        json(&format!(r#"{{"version":1,"credentials":{{}},"salt":"{escape}","digest":"{escape}"}}"#)),
        json(&format!(r#"{{"version":1,"{escape}":1,"{escape}":2}}"#)),
    ];
    let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
    let vendor = testkit::structure(0, &[1, 2, 0, 0, 3], &[ESCAPES, ESCAPES, ESCAPES]);
    let unended = [1, 4, 0x1b, b'['];
    let data = [vendor.as_slice(), &oem(&strings), &vendor, &unended].concat();
    let healthy = testkit::entry_point_3(data.len());
    let entry_points = [
        healthy,
        ESCAPES.to_vec(),
        [b"_SM3_", ESCAPES, ESCAPES].concat(),
        [b"_SM_", ESCAPES, ESCAPES].concat(),
    ];
    for entry_point in entry_points {
        let source = testkit::recording_with(&entry_point, &data);
        let place = tempfile::tempdir().unwrap();
        let into = place.path().join("creds");
        let into = into.to_str().unwrap();
        let verbs: [&[&str]; 9] = [
            &["list"],
            &["list", "--json=short"],
            &["check"],
            &["check", "--json"],
            &["check", "--manifest=require", "--require", "x"],
            &["import", "--into", into],
            &["exec", "--strict", "--into", into, "--", "true"],
            &["cat", "x"],
            &["record", "--log-level=trace", place.path().to_str().unwrap()],
        ];
        for verb in verbs {
            for level in ["trace", "error"] {
                // A program's own options come behind `--`.
                let output = run(agent(&["--log-level", level])
                    .args(&verb[..1])
                    .arg("--from")
                    .arg(source.path())
                    .args(&verb[1..])
                    .env("RUST_BACKTRACE", "full"));
                assert!(matches!(code(&output), 0..=3), "{verb:?}: {}", stderr(&output));
                assert_printable(&output, &format!("{verb:?}"));
            }
        }
    }
}

#[test]
fn escapes_in_paths_programs_and_reports_reach_no_terminal() {
    let place = tempfile::tempdir().unwrap();
    // --into takes text.
    let odd = place.path().join("odd\x1b]0;x\x07\u{9b}31m\u{202e}\r\n\x7f");
    fs::create_dir(&odd).unwrap();
    let source = recording(&table(&[b"io.systemd.credential:a=x"]));
    let missing = odd.join(std::ffi::OsStr::from_bytes(ESCAPES));
    let on = |verb: &[&str], last: &[&Path]| {
        let output = run(agent(verb).args(last));
        assert_printable(&output, &format!("{verb:?} {last:?}"));
        output
    };
    let from = source.path().to_str().unwrap();
    for verb in ["list", "check", "import", "record"] {
        on(&[verb, "--from"], &[&odd]);
        on(&[verb, "--from"], &[&missing]);
        on(&[verb, "--confidential=allow", "--root"], &[&odd]);
    }
    on(&["import", "--from", from, "--into"], &[&odd.join("creds")]);
    on(&["list", "--from", from, "--into"], &[&odd.join("creds")]);
    on(&["import", "--from", from, "--into"], &[&missing.join("creds")]);
    fs::write(odd.join("creds").join(std::ffi::OsStr::from_bytes(ESCAPES)), "").unwrap();
    fs::remove_file(odd.join("creds/a")).unwrap();
    on(&["import", "--from", from, "--into"], &[&odd.join("creds")]);
    symlink("x", odd.join("creds").join(std::ffi::OsStr::from_bytes(b"\x1b[31m"))).unwrap();
    fs::remove_file(odd.join("creds/a")).unwrap();
    let output = on(&["import", "--from", from, "--into"], &[&odd.join("creds")]);
    assert!(
        stderr(&output).contains(r"holds '\x1b[31m', which is not a regular file"),
        "{}",
        stderr(&output)
    );
    on(&["record", "--from", from], &[&odd.join("recording")]);
    on(&["record", "--from", from], &[&odd.join("recording")]);
    on(&["exec", "--from", from, "--into"], &[&odd.join("creds2"), Path::new("--"), &missing]);
    let output = on(&["import", "--from", from, "--into", "credstore", "--root"], &[&odd]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    // The report is root's, and yet it may hold what it may.
    let report = odd.join("run/smbios-creds/report.json");
    assert_printable(&Output { stdout: fs::read(&report).unwrap(), ..on(&["--help"], &[]) }, "the report");
    fs::write(&report, r#"{"version":"\u001b[31m\u009b","summary":"\u001b]0;x\u0007\u202e\n"}"#).unwrap();
    let tables = odd.join("sys/firmware/dmi/tables");
    fs::create_dir_all(&tables).unwrap();
    for file in ["smbios_entry_point", "DMI"] {
        fs::copy(source.path().join(file), tables.join(file)).unwrap();
    }
    let output = on(&["list", "--root"], &[&odd]);
    assert!(
        stderr(&output).contains(r"the last import (version \x1b[31m\xc2\x9b): \x1b]0;x\x07"),
        "{}",
        stderr(&output)
    );
    // What is typed, and is no option or no name. A complaint has several lines, and shows in them what is no text.
    for typed in [&[b"--", ESCAPES].concat(), ESCAPES] {
        let typed = Path::new(std::ffi::OsStr::from_bytes(typed));
        for verb in [
            &["list"][..],
            &["cat"],
            &["check", "--require"],
            &["import", "--into"],
            &["list", "--json"],
            &[],
        ] {
            let output = run(agent(verb).arg(typed));
            assert_eq!(code(&output), 2, "{verb:?}");
            let complaint = stderr(&output);
            assert!(
                complaint.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'),
                "{complaint:?}"
            );
        }
    }
}

#[test]
fn sixty_five_thousand_structures_and_a_mebibyte_of_anything_come_to_an_end() {
    let limit = smbios_creds::guest::source::dmi::TABLE_SIZE_MAX - END.len();
    let fill = |part: &[u8]| part.repeat(limit / part.len());
    let hundreds: Vec<u8> = {
        let strings: Vec<Vec<u8>> =
            (0..255).map(|n| format!("io.systemd.credential:c{n}=x").into_bytes()).collect();
        fill(&oem(&strings.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    };
    let near = fill(&oem(&[b"io.systemd.credentials:a=1".as_slice(); 255]));
    let huge = oem(&[&[b"io.systemd.credential:a=".as_slice(), &vec![b'x'; 1_048_576]].concat()]);
    let above = oem(&[&[b"io.systemd.credential:a=".as_slice(), &vec![b'x'; 1_048_577]].concat()]);
    let cases: [(&str, Vec<u8>, i32); 9] = [
        ("65,535 structures", oem(&[]).repeat(65_535), 0),
        ("a mebibyte of them", fill(&oem(&[])), 0),
        ("a mebibyte of inactive ones", fill(&[126, 4, 0, 0, 0, 0]), 4),
        ("hundreds of 255 strings, all of them again and again", hundreds, 0),
        ("near misses", near, 3),
        ("the largest value", huge, 0),
        ("a value that is larger", above, 3),
        ("zeroes", vec![0; limit], 3),
        ("a letter", vec![b'x'; limit], 4),
    ];
    for (what, data, exit) in cases {
        let data = [data.as_slice(), END].concat();
        let source = recording(&data);
        let place = tempfile::tempdir().unwrap();
        let mut import = agent(&["import", "--into"]);
        import.arg(place.path().join("creds")).arg("--from").arg(source.path());
        let mut record = agent(&["record"]);
        record.arg(place.path().join("recording")).arg("--from").arg(source.path());
        for (mut command, exit) in [(agent(&["check", "--from"]), exit), (import, exit), (record, 0)] {
            if command.get_args().count() == 2 {
                command.arg(source.path());
            }
            let output = run(&mut command);
            assert_eq!(code(&output), exit, "{what}: {command:?}");
            // It is not for the log of a boot to be ten times as large as what it is about, but every string is named.
            assert!(output.stdout.len() + output.stderr.len() < 16 * data.len(), "{what}: {command:?}");
        }
        assert_eq!(code(&run_on(&place.path().join("recording"), &["check"])), exit, "{what}: the recording");
    }
}
