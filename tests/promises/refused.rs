//! What was refused is described by place, length and reason, and never shown: what looks like a name may be a secret.

use std::fmt::Write as _;

use proptest::prelude::*;
use smbios_creds::format::credential::Name;
use smbios_creds::guest::imported::{Imported, NotPlaced};
use smbios_creds::guest::place::outcome::State;
use smbios_creds::guest::record::redact::redact;
use smbios_creds::guest::report::last::Report;
use smbios_creds::guest::report::listing::{Legend, rows, states, table as listing, verdict};
use smbios_creds::guest::verify::delivery::Refusal;
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::set::verify_table;
use testkit::{agent, intact, parse, recording, run, stderr, stdout, table};

/// Shortest part of a refused string that counts as shown.
const PART: usize = 8;

/// Everything that is shown of a table: listing, verdict, findings, report, and a recording without secrets.
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
    let report = Ok(Imported { delivery, placed: Err(NotPlaced::Strict) });
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
        text.push_str(&String::from_utf8_lossy(&std::fs::read(copy.join("DMI")).unwrap()));
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
        // A policy that names it says that it is a name.
        let name = Name::new(value.trim_end_matches('=')).unwrap();
        let policy = Policy { require: [name].into(), ..Policy::default() };
        assert!(verify_table(&parse(&data), &policy).entries[0].name.is_some());
    }
}

proptest! {
    #[test]
    fn no_part_of_a_refused_string_is_shown(
        prefix in prop_oneof![Just("io.systemd.credential:"), Just("io.systemd.credential.binary:")],
        rest in prop_oneof!["[!-~]{8,60}", "[A-Za-z0-9+/]{8,40}={0,2}", "[ -~]{8,30}=[ -~]{0,30}"],
    ) {
        let data = table(&[format!("{prefix}{rest}").as_bytes()]);
        prop_assume!(intact(&verify_table(&parse(&data), &Policy::default())).is_empty());
        let named = verify_table(&parse(&data), &Policy::default()).entries[0].name.is_some();
        // A name with an empty value is a credential, refused and shown, unless it may be a value.
        prop_assume!(!named);
        let text = shown(&data);
        for part in rest.as_bytes().windows(PART) {
            let part = std::str::from_utf8(part).unwrap();
            prop_assert!(!text.contains(part), "{:?} in {}", part, text);
        }
    }
}
