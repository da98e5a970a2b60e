//! A hostile table: whatever the host sends, no verb hangs, each file of the table is opened only once, and no control
//! character reaches a terminal unescaped.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use testkit::{END, agent, code, oem, recording, run, run_on, stderr, table};

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
                // `--from` stands before the arguments of the verb, because options after `--` are those of a
                // program.
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
    // --into takes only valid UTF-8, so this name does not contain other bytes.
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
        stderr(&output).contains(r"contains '\x1b[31m', which is not a regular file"),
        "{}",
        stderr(&output)
    );
    on(&["record", "--from", from], &[&odd.join("recording")]);
    on(&["record", "--from", from], &[&odd.join("recording")]);
    on(&["exec", "--from", from, "--into"], &[&odd.join("creds2"), Path::new("--"), &missing]);
    let output = on(&["import", "--from", from, "--into", "credstore", "--root"], &[&odd]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    // Only root can write the report, but its text is escaped nevertheless.
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
    // The user types ESCAPES as an option or as a name. The error message has several lines, and shows the typed
    // bytes without control characters.
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
            // The log of a boot must be less than 16 times as large as the table, although messages name every
            // string.
            assert!(output.stdout.len() + output.stderr.len() < 16 * data.len(), "{what}: {command:?}");
        }
        assert_eq!(code(&run_on(&place.path().join("recording"), &["check"])), exit, "{what}: the recording");
    }
}

/// If the agent read a file of the table twice, the file could have another content the second time.
#[test]
fn each_file_of_a_table_is_opened_once() {
    let source = recording(&table(&[b"io.systemd.credential:a=one", b"io.systemd.credential.binary:b=AAEC"]));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let verbs: [&[&str]; 6] = [
        &["list"],
        &["check"],
        &["cat", "a"],
        &["import", "--into", &path("creds")],
        &["exec", "--into", &path("creds"), "--", "true"],
        &["record", &path("recorded")],
    ];
    for verb in verbs {
        for file in ["smbios_entry_point", "DMI"] {
            _ = fs::remove_dir_all(path("recorded"));
            let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
            // inotify drops an event that is equal to the last one. So watch reads and closes too, which separate two
            // openings.
            let events = WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::CLOSE_NOWRITE;
            inotify::add_watch(&watch, source.path().join(file), events).unwrap();
            let mut command = agent(&[verb[0], "--from"]);
            assert_eq!(code(&run(command.arg(source.path()).args(&verb[1..]))), 0, "{verb:?}");
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(&watch, &mut buffer);
            let events = std::iter::from_fn(|| reader.next().ok().map(|event| event.events()));
            assert_eq!(events.filter(|event| event.contains(ReadFlags::OPEN)).count(), 1, "{verb:?}: {file}");
        }
    }
}
