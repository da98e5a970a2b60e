//! Listings and verdicts: how they read, what is coloured, and that their JSON is as documented.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::process::Command;

use serde_json::Value;
use smbios_creds::format::manifest::Manifest;
use smbios_creds::guest::imported::{Closing, Imported, NotPlaced, NotReceived, Placed};
use smbios_creds::guest::place::Place;
use smbios_creds::guest::place::choose::Into;
use smbios_creds::guest::place::handover::Handover;
use smbios_creds::guest::place::outcome::{Outcome, Repair, Repaired};
use smbios_creds::guest::report::last::Report;
use smbios_creds::guest::report::remembered::Remembered;
use smbios_creds::guest::source::SourceError;
use smbios_creds::guest::system::System;
use smbios_creds::guest::verify::policy::Policy;
use testkit::host::{directory, host_with, name};
use testkit::{
    agent, code, credential, oem, recording, recording_with, run, run_on, stderr, stdout, table, testdata,
};

/// One string for each reason to refuse a credential, except the reasons of a broken table and of a manifest.
const REFUSED: &[&[u8]] = &[
    b"io.systemd.credential:good=1",
    b"io.systemd.credential:good=2",
    b"io.systemd.credential:e=",
    b"io.systemd.credential:nothing",
    b"io.systemd.credential:a/b=1",
    b"io.systemd.credential.binary:b=x",
];

#[test]
fn list_says_why_something_was_refused() {
    let folder = recording(&table(REFUSED));
    let output = run_on(folder.path(), &["list", "--into", "/nonexistent/x"]);
    let text = "NAME SIZE ENCODING STATE      SOURCE REASON\n\
                good   1B text     missing    11-0:1\n\
                good   1B text     duplicate  11-0:2 the name was sent before, and the first value counts\n\
                e      0B text     empty      11-0:3 its value is empty\n\
                -       - text     no-equals  11-0:4 there is no '=' between name and value\n\
                -       - text     bad-name   11-0:5 systemd does not allow this name\n\
                -       - binary   bad-base64 11-0:6 its value is not base64\n";
    assert_eq!(stdout(&output), text);
    assert_eq!(code(&output), 3, "and does not end as if all were well");
    let import = run(agent(&["import", "--dry-run", "--from"]).arg(folder.path()));
    assert!(stdout(&import).ends_with(text.rsplit_once("e  ").unwrap().1), "import lists the same");
}

#[test]
fn recording_without_a_place_is_listed_as_intact() {
    let states = |output: &std::process::Output| -> Vec<String> {
        stdout(output).lines().map(|line| line.split_whitespace().nth(3).unwrap().to_owned()).collect()
    };
    // Without --into, list does not look at any directory.
    let folder = recording(&table(REFUSED));
    let list = ["list", "--no-legend"];
    let refused = ["duplicate", "empty", "no-equals", "bad-name", "bad-base64"];
    assert_eq!(states(&run_on(folder.path(), &list)), [&["intact"], &refused[..]].concat());
    let recorded = states(&run_on(&testdata("cloud-hypervisor-53-api"), &list));
    assert!(!recorded.is_empty() && recorded.iter().all(|state| state == "intact"), "{recorded:?}");
    let json: Value =
        serde_json::from_slice(&run_on(&testdata("qemu-7.2-pc"), &["list", "--json"]).stdout).unwrap();
    assert_eq!(json[0]["state"], "intact");
    // With --into, list compares with the files in that directory.
    let place = tempfile::tempdir().unwrap();
    let named = |place: &str| states(&run_on(folder.path(), &["list", "--no-legend", "--into", place]));
    assert_eq!(named(&format!("{}/none", place.path().display()))[0], "missing");
    std::fs::write(place.path().join("good"), "2").unwrap();
    assert_eq!(named(place.path().to_str().unwrap())[0], "differs");
}

/// Makes a recording whose manifest says that `a` was sent as `12`. A value of another size or with other bytes
/// contradicts the manifest.
fn manifest_broken(value: &[u8]) -> tempfile::TempDir {
    let manifest = Manifest::new([&credential("a", b"12")], [7; 16]).unwrap().encode();
    recording(&table(&[&[b"io.systemd.credential:a=", value].concat(), manifest.as_bytes()]))
}

#[test]
fn reasons_of_a_broken_table_and_of_a_manifest_are_in_words_too() {
    let mut cut = oem(&[b"io.systemd.credential:a=val"]);
    cut.push(1);
    for (folder, state) in [
        (recording(&cut), "maybe-cut  11-0:1 the table is damaged after it, so its end may be missing"),
        (manifest_broken(b"1"), "size-differs 11-0:1 its size differs from the size that was sent"),
        (manifest_broken(b"21"), "digest-differs 11-0:1 a value of the set changed on the way"),
    ] {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let output = run_on(folder.path(), &["list", "--no-legend"]);
        assert_eq!(words(&stdout(&output))[3..], words(state));
    }
}

#[test]
fn sizes_are_written_as_systemd_writes_them() {
    let value = |size: usize| [b"io.systemd.credential:s=".as_slice(), &vec![b'x'; size]].concat();
    for (size, text) in [
        (44, "44B"),
        (1023, "1023B"),
        (1024, "1K"),
        (1100, "1K"),
        (1700, "1.6K"),
        (4921, "4.8K"),
        (1_048_575, "1023.9K"),
        (1_048_576, "1M"),
    ] {
        let folder = recording(&table(&[&value(size)]));
        let output = stdout(&run_on(folder.path(), &["list", "--no-legend"]));
        assert_eq!(output.split_whitespace().nth(1), Some(text));
    }
}

#[test]
fn check_gives_the_verdict_first_then_findings_then_what_to_do() {
    let output = run_on(&testdata("qemu-10-silent-loss"), &["check"]);
    assert_eq!(code(&output), 3);
    let text = stdout(&output);
    let parts: Vec<&str> = text.split("\n\n").collect();
    let [verdict, findings, advice] = parts.as_slice() else { panic!("{text}") };
    let machine = "machine: QEMU (pc-i440fx-10.0), firmware SeaBIOS 1.16.3-debian-1.16.3-2";
    assert_eq!(*verdict, format!("failed: 0 credentials\n{machine}"));
    let lost = "error: 2 OEM strings are announced, but none arrived: the hypervisor dropped the strings (";
    assert!(findings.starts_with(lost), "{text}");
    // If the hypervisor dropped the strings, no message says that the host sent none.
    assert!(!text.contains("is a credential") && !text.contains("pass credentials"), "{text}");
    assert!(advice.starts_with("What to do\n  QEMU 9.0 and newer does this"), "{text}");
    // The most severe finding comes first, wherever in the table its cause is.
    let output = stdout(&run_on(&testdata("cloud-hypervisor-53-256-strings"), &["check"]));
    assert!(output.find("\nwarning: ").unwrap() < output.find("\nnote: ").unwrap(), "{output}");
    // Without findings, the verdict is the only line.
    let strings: &[&[u8]] = &[b"io.systemd.credential:a=1"];
    assert_eq!(
        stdout(&run_on(recording(&table(strings)).path(), &["check"])),
        "passed: 1 credential, and nothing proves that the set is complete\n"
    );
}

#[test]
fn check_says_once_what_to_do_for_all_that_need_the_same() {
    let folder = recording(&table(&[b"io.systemd.credential:e=", b"io.systemd.credential:f="]));
    let arguments = ["check", "--require", "a1", "a2", "a3", "a4", "a5", "a6"];
    let text = stdout(&run_on(folder.path(), &arguments));
    let advice: Vec<&str> = text.split("What to do\n").nth(1).unwrap().lines().collect();
    assert_eq!(
        advice,
        [
            "  e, f: correct the variable or the file on the host, or allow an empty value with --allow-empty",
            "  a1, a2, a3, a4 and 2 more: check the credential's name, and that the host sends it",
        ]
    );
}

/// Returns what a program prints on a terminal, with these environment variables.
fn on_terminal(command: &mut Command, variables: &[(&str, &str)]) -> String {
    let (ours, theirs) = testkit::terminal();
    command.env_remove("NO_COLOR").env("TERM", "xterm").envs(variables.iter().copied());
    let status = command.stdout(theirs).stderr(std::process::Stdio::null()).status().unwrap();
    assert!(status.code().is_some());
    // Close the command's end of the terminal, which `command` still holds. Reading then ends with an error.
    command.stdout(std::process::Stdio::null());
    let mut bytes = Vec::new();
    _ = std::fs::File::from(ours).read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

#[test]
fn colours_are_for_terminals_alone_and_never_with_no_color_or_a_dumb_terminal() {
    let folder = recording(&table(REFUSED));
    let secrets = directory(&[("db", b"secret")]);
    let verbs: [&dyn Fn() -> Command; 4] = [
        &|| agent(&["list", "--from", folder.path().to_str().unwrap()]),
        &|| agent(&["check", "--from", folder.path().to_str().unwrap()]),
        &|| agent(&["import", "--dry-run", "--from", folder.path().to_str().unwrap()]),
        &|| host_with(secrets.path(), &["plan", "--all", "--hypervisor=qemu", "--", "sh"]),
    ];
    for verb in verbs {
        let plain = stdout(&run(verb().env("TERM", "xterm").env_remove("NO_COLOR")));
        assert!(!plain.contains('\x1b') && plain.len() > 50, "no terminal, no colour: {plain}");
        let coloured = on_terminal(&mut verb(), &[]);
        assert!(coloured.contains("\x1b["), "{coloured:?}");
        // An empty NO_COLOR has no effect.
        assert_eq!(on_terminal(&mut verb(), &[("NO_COLOR", "")]), coloured);
        for variables in [("NO_COLOR", "1"), ("NO_COLOR", "0"), ("TERM", "dumb")] {
            assert_eq!(on_terminal(&mut verb(), &[variables]), plain, "{variables:?}");
        }
        // Without its colours, the coloured text is the plain text.
        let mut rest = coloured.as_str();
        let mut text = String::new();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            text.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(text + rest, plain);
    }
    let json = on_terminal(agent(&["list", "--json", "--from"]).arg(folder.path()), &[]);
    assert!(!json.contains('\x1b') && json.starts_with("[\n"), "JSON is for programs");
    let state = |state: &str| on_terminal(&mut verbs[0](), &[]).contains(state);
    assert!(state("\x1b[31mbad-base64\x1b[0m") && !state("missing"), "nothing was asked to be anywhere");
}

/// What the man page says of a field.
struct Field {
    types: Vec<String>,
    may_be_absent: bool,
    /// Where the page describes the content of the field: a section, and the path in that section.
    described_as: Option<(String, String)>,
}

/// The fields that the man page describes, by section and path.
fn documented() -> BTreeMap<String, BTreeMap<String, Field>> {
    let page = include_str!("../../man/smbios-creds-format.7");
    let json = page.split(".SH JSON\n").nth(1).unwrap().split("\n.SH ").next().unwrap();
    let mut sections = BTreeMap::new();
    for section in json.split(".SS ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        let fields = text.split(".TP\n.B ").skip(1).map(|entry| {
            let (path, rest) = entry.split_once('\n').unwrap();
            let brackets = rest.strip_prefix('(').unwrap().split_once(')').unwrap().0;
            let types = brackets.split([';', ',']).next().unwrap().split(" or ").map(str::to_owned);
            let described = brackets.split(", as ").nth(1).map(|what| {
                let what = what.split(';').next().unwrap();
                let (path, section) = what.split_once(" of ").unwrap_or(("", what));
                (section.to_owned(), path.to_owned())
            });
            let may_be_absent = brackets.contains("absent");
            (path.to_owned(), Field { types: types.collect(), may_be_absent, described_as: described })
        });
        sections.insert(title.to_owned(), fields.collect());
    }
    sections
}

/// Compares JSON with the documented fields, and notes which fields occurred.
struct Reader {
    sections: BTreeMap<String, BTreeMap<String, Field>>,
    seen: BTreeSet<(String, String)>,
}

impl Reader {
    fn read(&mut self, section: &str, path: &str, value: &Value) {
        match value {
            Value::Object(object) => {
                let below =
                    |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                for (name, value) in object {
                    self.field(section, &below(name), value);
                }
                for (documented, field) in &self.sections[section] {
                    let parent = documented.rsplit_once('.').map_or("", |(parent, _)| parent);
                    let name = documented.rsplit('.').next().unwrap();
                    if parent == path && !name.ends_with("[]") && !field.may_be_absent {
                        assert!(object.contains_key(name), "{section}: {documented} is not there: {value}");
                    }
                }
            }
            Value::Array(array) => {
                let path = format!("{path}[]");
                for value in array {
                    if value.is_object() {
                        self.read(section, &path, value);
                    } else {
                        self.field(section, &path, value);
                    }
                }
            }
            _ => {}
        }
    }

    fn field(&mut self, section: &str, path: &str, value: &Value) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let field = self.sections[section].get(path);
        let field = field.unwrap_or_else(|| panic!("{section}: {path} is not documented"));
        assert!(field.types.iter().any(|known| known == kind), "{section}: {path} is {kind}");
        let (section_of, path_of) =
            field.described_as.clone().unwrap_or_else(|| (section.to_owned(), path.to_owned()));
        self.seen.insert((section.to_owned(), path.to_owned()));
        self.read(&section_of, &path_of, value);
    }
}

/// Makes recordings whose findings together have every field of a finding.
fn recordings() -> Vec<tempfile::TempDir> {
    let strings = |strings: &[&[u8]]| recording(&table(strings));
    let many: Vec<Vec<u8>> = (0..257).map(|i| format!("io.systemd.credential:c{i}=1").into_bytes()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    let data = table(&[b"io.systemd.credential:a=1"]);
    let mut cut = oem(&[b"io.systemd.credential:a=val"]);
    cut.push(1);
    let mut long = oem(&[b"io.systemd.credential:a=1"]);
    long.splice(1..5, [6, 0, 0, 1, 0]);
    let by_fw_cfg = tempfile::tempdir().unwrap();
    testkit::fw_cfg::write_credential(by_fw_cfg.path(), 40, "a", b"1");
    let blob = testkit::sealed("tpm2-262");
    let encrypted = [b"io.smbios-creds.encrypted:tls=".as_slice(), &blob].concat();
    let sent_as_plain = [b"io.systemd.credential:tls2=".as_slice(), &blob].concat();
    vec![
        by_fw_cfg,
        strings(&[&encrypted, &sent_as_plain]),
        strings(REFUSED),
        strings(&many),
        strings(&[b"io.systemd.credentials:a=1"]),
        recording(&cut),
        recording_with(&testkit::entry_point_2(31, data.len() + 9, 3), &data),
        recording(&[long.as_slice(), testkit::END].concat()),
        recording_with(&testkit::entry_point_3(data.len()), &[data.as_slice(), b"more"].concat()),
        manifest_broken(b"1"),
        manifest_broken(b"21"),
        recording_with(b"", &data),
    ]
}

#[test]
fn json_has_every_field_that_is_documented_and_no_other() {
    let mut reader = Reader { sections: documented(), seen: BTreeSet::new() };
    let json = |command: &mut Command| -> Value { serde_json::from_slice(&run(command).stdout).unwrap() };

    let made = recordings();
    let recorded = testkit::recorded();
    for folder in
        made.iter().map(tempfile::TempDir::path).chain(recorded.iter().map(std::path::PathBuf::as_path))
    {
        reader.read("list", "", &json(agent(&["list", "--json", "--from"]).arg(folder)));
        let mut check = agent(&["check", "--json", "--require", "required", "--from"]);
        reader.read("check", "", &json(check.arg(folder)));
    }

    for name in [
        "good",
        "old-key",
        "flipped-signature",
        "other-audience",
        "no-audience",
        "lower-serial",
        "past-not-after",
    ] {
        let vector = super::signed::vector(name);
        let mut check = agent(&["check", "--json", "--audience=web01", "--min-serial=7", "--trust"]);
        let check = check.arg(super::signed::key("owner")).arg("--from").arg(vector.path());
        reader.read("check", "", &json(check));
    }

    let secrets =
        directory(&[("db", b"secret"), ("large", &[b'x'; 5000]), ("tls", &testkit::sealed("tpm2-262"))]);
    let existing = "type=11,value=io.systemd.credential:x=1";
    let plan_of = |program: &[&str], arguments: &[&str]| {
        json(&mut host_with(
            secrets.path(),
            &[&["plan", "--json", "--all", "--encrypted", "tls"], program, arguments].concat(),
        ))
    };
    let plan = |arguments: &[&str]| plan_of(&["--hypervisor=qemu", "--", "sh"], arguments);
    // env is a wrapper: the program that it starts is not known before it runs.
    reader.read(
        "plan",
        "",
        &plan_of(&["--hypervisor=cloud-hypervisor", "--", "env"], &["x", "--kernel", "k"]),
    );
    reader.read("plan", "", &plan(&["-smbios", existing]));
    reader.read("plan", "", &plan(&["-smbios", ""]));
    reader.read("plan", "", &plan(&["-M", "none"]));
    let set = testkit::project("testdata/signed/good.strings");
    let packed = ["plan", "--json", "--set", set.to_str().unwrap(), "--hypervisor=qemu", "--", "sh"];
    reader.read("plan", "", &json(&mut host_with(secrets.path(), &packed)));

    let root = tempfile::tempdir().unwrap();
    for folder in ["run", "sys/firmware/dmi/tables"] {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    for file in ["smbios_entry_point", "DMI"] {
        let tables = root.path().join("sys/firmware/dmi/tables");
        std::fs::copy(testdata("qemu-7.2-pc").join(file), tables.join(file)).unwrap();
    }
    let import =
        run(agent(&["import", "--confidential=allow", "--into=credstore", "--root"]).arg(root.path()));
    assert_eq!(code(&import), 0, "{}", stderr(&import));
    let written = std::fs::read(root.path().join("run/smbios-creds/report.json")).unwrap();
    reader.read("report.json", "", &serde_json::from_slice(&written).unwrap());
    for way in super::way::outputs() {
        reader.read("check NAME", "", &way);
    }
    // What list and check print if the table is closed.
    let policy = Policy { require: vec![name("absent")], ..Policy::default() };
    let remembered = Remembered::look(&System::at(root.path()), &Into::At(Place::Credstore), &policy);
    reader.read("list", "", &serde_json::to_value(remembered.rows()).unwrap());
    reader.read("check", "", &serde_json::to_value(remembered.judged()).unwrap());
    // Outcomes that only a systemd in the guest causes, converted to JSON like the agent does.
    let repaired = [None, Some(3)].map(|found| Repaired { name: name("a"), found, size: 5 }).to_vec();
    let placed = Placed {
        place: Place::Credstore,
        directory: "/run/credentials/@system".into(),
        reason: "",
        outcome: Outcome::Repaired(Repair { repaired, foreign: vec![] }),
        sealed: None,
        handed_over: Handover::Nothing,
    };
    let imported = Ok(Imported {
        delivery: testkit::verdict(&table(REFUSED)),
        placed: Ok(placed),
        closing: Closing::Closes,
    });
    reader.read("report.json", "", &serde_json::to_value(Report::new(&imported)).unwrap());
    // A report that omits a part because it would be too large, and findings that are only counted.
    let many: Vec<String> = (0..3000).map(|n| format!("io.systemd.credential:{n}=")).collect();
    let many: Vec<&[u8]> = many.iter().map(String::as_bytes).collect();
    let delivery = testkit::verdict(&table(&many));
    let report =
        Report::new(&Ok(Imported { delivery, placed: Err(NotPlaced::Strict), closing: Closing::NotAsked }))
            .into_json()
            .unwrap();
    reader.read("report.json", "", &serde_json::from_slice(&report).unwrap());
    let nothing =
        Err(NotReceived::Source(SourceError::NoSmbios(std::path::Path::new("/sys/firmware/dmi").into())));
    reader.read("report.json", "", &serde_json::to_value(Report::new(&nothing)).unwrap());

    for (section, fields) in &reader.sections {
        for path in fields.keys() {
            let is_seen = reader.seen.contains(&(section.clone(), path.clone()));
            assert!(is_seen, "{section}: {path} is documented, and no output had it");
        }
    }
}

#[test]
fn every_word_of_a_code_and_a_state_is_documented() {
    let page = include_str!("../../man/smbios-creds-format.7");
    let words_of = |path: &str| {
        let entry = page.split(&format!(".B {path}\n(string)")).nth(1).unwrap().split(".TP").next().unwrap();
        let words = entry
            .split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
            .map(str::to_owned);
        words.collect::<BTreeSet<_>>()
    };
    // Read the variants from the source, because a test cannot iterate over all variants of an enum.
    let variants = |source: &str, name: &str| -> Vec<String> {
        let body =
            source.split(&format!("pub enum {name} {{\n")).nth(1).unwrap().split("\n}").next().unwrap();
        let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
        let lines = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
        lines
            .map(|line| {
                let variant = line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap();
                let kebab = variant.chars().flat_map(|c| {
                    c.is_ascii_uppercase().then_some('-').into_iter().chain([c.to_ascii_lowercase()])
                });
                kebab.collect::<String>().trim_start_matches('-').to_owned()
            })
            .collect()
    };
    let codes = variants(include_str!("../../src/guest/verify/finding.rs"), "FindingKind");
    let nested = [
        ("trust", include_str!("../../src/guest/verify/trust_finding.rs"), "TrustFinding"),
        ("sealed", include_str!("../../src/guest/verify/sealed_finding.rs"), "SealedFinding"),
    ];
    let mut codes: Vec<_> = codes;
    for (group, source, name) in nested {
        codes.retain(|code| code != group);
        codes.extend(variants(source, name));
    }
    let refusals = variants(include_str!("../../src/guest/verify/refusal.rs"), "Refusal");
    assert!(codes.len() >= 30 && refusals.len() >= 9, "{codes:?} {refusals:?}");
    for (path, words) in [("findings[].code", codes), ("[].state", refusals)] {
        let documented = words_of(path);
        for word in words {
            assert!(documented.contains(&word), "{path}: {word}");
        }
    }
}
