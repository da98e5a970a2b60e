//! A refused string is described by place, length and reason, and never shown, since text that looks like a name may
//! be a secret.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use smbios_creds::format::credential::Name;
use smbios_creds::guest::imported::{Closing, Imported, NotPlaced};
use smbios_creds::guest::place::outcome::State;
use smbios_creds::guest::record::redact::redact;
use smbios_creds::guest::report::last::Report;
use smbios_creds::guest::report::listing::{Legend, rows, states, table as listing, verdict};
use smbios_creds::guest::verify::delivery::Refusal;
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::set::verify_table;
use testkit::{agent, parse, recording, run, stderr, stdout, systemd, table};

/// Shortest part of a refused string that counts as shown.
const PART: usize = 8;

/// Returns everything that the agent shows of a table: listing, verdict, findings, report, and a recording without
/// secrets.
fn shown(data: &[u8]) -> String {
    let parsed = parse(data);
    let delivery = verify_table(&parsed, &Policy::default());
    let mut text = listing(&rows(&delivery, states(&delivery, State::Missing)), Legend::Shown).to_string();
    text.push_str(verdict(&delivery).as_str());
    for finding in &delivery.findings {
        _ = writeln!(text, "{finding}: {}", finding.advice(&delivery.machine));
    }
    let redacted = redact(&parsed);
    text.push_str(&String::from_utf8_lossy(&redacted));
    let report = Ok(Imported { delivery, placed: Err(NotPlaced::Strict), closing: Closing::NotAsked });
    text.push_str(&serde_json::to_string(&Report::new(&report)).unwrap());
    text
}

#[test]
fn secrets_that_lost_their_name_are_shown_nowhere() {
    let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIGCanary0Canary1Canary2Canary3oAoGCCqGSM49\n-----END EC PRIVATE KEY-----";
    for (prefix, secret) in [
        ("io.systemd.credential:", key),
        ("io.systemd.credential:", "postgres://app:Canary-password@db/prod?sslmode=require"),
        ("io.systemd.credential:", "Canary=/is=bad\x01name"),
        ("io.systemd.credential.binary:", "Q2FuYXJ5Q2FuYXJ5MDE="),
        ("io.systemd.credential.binary:", "Q2FuYXJ5Q2FuYXJ5MA=="),
        ("io.systemd.credential.binary:", "Canary-password=hunter2"),
    ] {
        let folder = recording(&table(&[format!("{prefix}{secret}").as_bytes()]));
        let directory = tempfile::tempdir().unwrap();
        let (into, copy) = (directory.path().join("in"), directory.path().join("copy"));
        let mut text = String::new();
        for arguments in [&["list"][..], &["list", "--json"], &["check"], &["check", "--json"], &["import"]] {
            let mut command = agent(arguments);
            command.args(["--log-level=trace", "--from"]).arg(folder.path());
            if arguments[0] != "check" {
                command.arg("--into").arg(&into);
            }
            let output = run(&mut command);
            text.push_str(&(stdout(&output) + &stderr(&output)));
        }
        run(agent(&["record", "--from"]).arg(folder.path()).arg(&copy));
        text.push_str(&String::from_utf8_lossy(&fs::read(copy.join("DMI")).unwrap()));
        for part in secret.as_bytes().windows(PART) {
            let part = String::from_utf8_lossy(part);
            assert!(!text.contains(&*part), "{part:?} in {text}");
        }
    }
}

#[test]
fn value_that_lost_its_name_is_not_shown_whatever_it_is_refused_for() {
    let value = "Q2FuYXJ5Q2FuYXJ5MDE=";
    let string = format!("io.systemd.credential.binary:{value}");
    let twice = table(&[string.as_bytes(), string.as_bytes()]);
    // A NUL has split one string into two.
    let mut cut = table(&[string.as_bytes(), b"rest"]);
    cut[4] = 1;
    for (data, refusal) in [(twice, Refusal::Empty), (cut, Refusal::MaybeCut)] {
        let delivery = verify_table(&parse(&data), &Policy::default());
        assert!(delivery.entries.iter().any(|entry| entry.refusal() == Some(refusal)), "{refusal:?}");
        let text = shown(&data);
        for part in value.as_bytes().windows(PART) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!text.contains(part), "{refusal:?}: {part:?} in {text}");
        }
        // If the policy requires this text as a name, it is a name, and may be shown.
        let name = Name::new(value.trim_end_matches('=')).unwrap();
        let policy = Policy { require: [name].into(), ..Policy::default() };
        assert!(verify_table(&parse(&data), &policy).entries[0].name.is_some());
    }
}

/// Returns whether systemd takes no name from the string, or a name that may be base64 of a value. The latter is a
/// name in the binary form, without a value, that is valid base64 with one `=` as padding.
fn has_no_name(string: &str) -> bool {
    systemd::import(string.as_bytes()).is_none_or(|(name, value)| {
        let is_binary = string.starts_with("io.systemd.credential.binary:");
        is_binary && value.is_empty() && systemd::unbase64(&[name, b"="].concat()).is_some()
    })
}

proptest! {
    #[test]
    fn no_part_of_a_refused_string_is_shown(
        prefix in prop_oneof![Just("io.systemd.credential:"), Just("io.systemd.credential.binary:")],
        rest in prop_oneof!["[!-~]{8,60}", "[A-Za-z0-9+/]{8,40}={0,2}", "[ -~]{8,30}=[ -~]{0,30}"],
    ) {
        let string = format!("{prefix}{rest}");
        prop_assume!(has_no_name(&string));
        let data = table(&[string.as_bytes()]);
        let text = shown(&data);
        for part in rest.as_bytes().windows(PART) {
            let part = std::str::from_utf8(part).unwrap();
            prop_assert!(!text.contains(part), "{:?} in {}", part, text);
        }
    }
}

/// Runs every verb at every log level, and returns whatever they write: output, log, report and recording.
fn said_by_every_verb(data: &[u8]) -> String {
    let root = tempfile::tempdir().unwrap();
    let tables = root.path().join("sys/firmware/dmi/tables");
    fs::create_dir_all(&tables).unwrap();
    fs::create_dir(root.path().join("run")).unwrap();
    let source = recording(data);
    for file in ["smbios_entry_point", "DMI"] {
        fs::copy(source.path().join(file), tables.join(file)).unwrap();
    }
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (into, copy) = (path("into"), path("copy"));
    let verbs: [&[&str]; 11] = [
        &["import", "--confidential=allow", "--into=credstore"],
        &["list"],
        &["list", "--json", "--into", &into],
        &["check", "--require=missing"],
        &["check", "--json", "--manifest=require"],
        &["import", "--into", &into],
        &["import", "--into", &into, "--strict"],
        &["exec", "--into", &into, "--", "env"],
        &["cat", "ok"],
        &["cat", "missing"],
        &["record", &copy],
    ];
    let mut said = Vec::new();
    for level in ["trace", "debug", "info", "warn", "error"] {
        for verb in &verbs {
            // What follows "--" is the program that is executed.
            let end = verb.iter().position(|word| *word == "--").unwrap_or(verb.len());
            let mut command = agent(&verb[..end]);
            command.args(["--log-level", level, "--root"]).arg(root.path()).args(&verb[end..]);
            let output = run(&mut command);
            assert!(output.status.code().is_some_and(|code| code < 5), "{verb:?}: {}", stderr(&output));
            said.extend([output.stdout, output.stderr].concat());
        }
        said.extend(fs::read(root.path().join("run/smbios-creds/report.json")).unwrap());
    }
    said.extend(fs::read(Path::new(&copy).join("DMI")).unwrap());
    String::from_utf8_lossy(&said).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Each case has many strings, since each case starts every verb at every log level.
    #[test]
    fn no_verb_shows_a_part_of_a_refused_string_at_any_log_level(
        strings in prop::collection::vec(
            (
                prop_oneof![Just("io.systemd.credential:"), Just("io.systemd.credential.binary:")],
                prop_oneof![
                    "[!-~]{8,60}",
                    "[A-Za-z0-9+/]{8,40}={0,2}",
                    "[ -~]{8,30}=[ -~]{0,30}",
                    // The first text may be a value without a name, and the second is a name before a text that is
                    // not base64.
                    "([A-Za-z0-9_-]{4}){2,9}[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]=",
                    "[A-Za-z0-9._-]{8,40}=[A-Za-z0-9]{4}!",
                    "[A-Za-z0-9/:@]{8,40}[\\x01\\n\\r\\t\\x1b\\x7f]{1,3}[A-Za-z0-9/:@=]{8,40}",
                ],
            ),
            1..30,
        ),
    ) {
        let strings: Vec<_> =
            strings.iter().map(|(prefix, rest)| (format!("{prefix}{rest}"), rest)).collect();
        let refused: Vec<_> = strings.iter().filter(|(string, _)| has_no_name(string)).collect();
        prop_assume!(!refused.is_empty());
        let mut sent: Vec<&[u8]> = refused.iter().map(|(string, _)| string.as_bytes()).collect();
        sent.push(b"io.systemd.credential:ok=1");
        let said = said_by_every_verb(&table(&sent));
        for part in refused.iter().flat_map(|(_, rest)| rest.as_bytes().windows(PART)) {
            let part = std::str::from_utf8(part).unwrap();
            prop_assert!(!said.contains(part), "{:?} in {}", part, said);
        }
    }
}
