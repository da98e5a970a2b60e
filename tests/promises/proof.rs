//! What a manifest proves: nothing that it does not list, and nothing that another manifest contradicts.

use smbios_creds::format::manifest::Manifest;
use testkit::{agent, code, credential, recording, run, stderr, stdout, table};

const SENT: &[u8] = b"io.systemd.credential:a=1";

fn manifest(set: &[(&str, &[u8])], salt: u8) -> Vec<u8> {
    let set: Vec<_> = set.iter().map(|(name, value)| credential(name, value)).collect();
    Manifest::new(&set, [salt; 16]).unwrap().encode().into_bytes()
}

/// Returns sets that are not proven, although all credentials that their manifest lists are intact.
fn unproven() -> [(&'static str, Vec<Vec<u8>>); 5] {
    let right = || manifest(&[("a", b"1")], 1);
    let with = |strings: Vec<Vec<u8>>| strings;
    [
        ("unlisted", with(vec![right(), SENT.to_vec(), b"io.systemd.credential:b=2".to_vec()])),
        ("contradicted", with(vec![right(), SENT.to_vec(), manifest(&[("a", b"2")], 1)])),
        ("invalid", with(vec![b"io.smbios-creds.manifest:AAAA".to_vec(), right(), SENT.to_vec()])),
        ("empty", with(vec![manifest(&[], 1), SENT.to_vec()])),
        ("empty first", with(vec![manifest(&[], 1), right(), SENT.to_vec()])),
    ]
}

#[test]
fn program_that_needs_a_manifest_is_not_started_with_an_unproven_set() {
    for (case, strings) in unproven() {
        let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
        let folder = recording(&table(&strings));
        let directory = tempfile::tempdir().unwrap();
        let into = directory.path().join("creds");
        let mut exec = agent(&["exec", "--manifest=require", "--from"]);
        exec.arg(folder.path()).arg("--into").arg(&into).args(["--", "echo", "started"]);
        let output = run(&mut exec);
        assert_eq!((code(&output), stdout(&output).as_str()), (3, ""), "{case}: {}", stderr(&output));
        let check = run(agent(&["check", "--json", "--from"]).arg(folder.path()));
        let json: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
        assert_eq!(json["proven"], false, "{case}");
        let text = stdout(&run(agent(&["check", "--from"]).arg(folder.path())));
        assert!(!text.contains("the manifest proves that the set is complete"), "{case}: {text}");
        assert!(!into.join("b").exists(), "{case}: what is not listed is not imported");
    }
}

#[test]
fn program_that_needs_a_manifest_is_started_with_a_proven_set() {
    let folder = recording(&table(&[&manifest(&[("a", b"1")], 1), SENT]));
    let directory = tempfile::tempdir().unwrap();
    let mut exec = agent(&["exec", "--manifest=require", "--from"]);
    exec.arg(folder.path()).arg("--into").arg(directory.path().join("creds")).args(["--", "echo", "started"]);
    let output = run(&mut exec);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "started\n"), "{}", stderr(&output));
}

/// An unsigned manifest does not protect against these two forgeries, as SECURITY.md says. A signature does.
#[test]
fn a_forged_set_with_its_own_manifest_is_proven() {
    for (case, value, salt) in
        [("another value", b"forged".as_slice(), 1), ("an old value and salt", b"0", 7)]
    {
        let string = [b"io.systemd.credential:a=".as_slice(), value].concat();
        let folder = recording(&table(&[&manifest(&[("a", value)], salt), &string]));
        let check = run(agent(&["check", "--json", "--manifest=require", "--from"]).arg(folder.path()));
        let json: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
        assert_eq!((code(&check), &json["proven"]), (0, &serde_json::Value::Bool(true)), "{case}");
    }
}

#[test]
fn a_changed_value_without_a_manifest_for_it_is_not_proven() {
    for (case, sent) in [
        ("another size", b"io.systemd.credential:a=forged".as_slice()),
        ("same size", b"io.systemd.credential:a=2"),
    ] {
        let folder = recording(&table(&[&manifest(&[("a", b"1")], 1), sent]));
        let check = run(agent(&["check", "--json", "--manifest=require", "--from"]).arg(folder.path()));
        let json: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
        assert_eq!((code(&check), &json["proven"]), (3, &serde_json::Value::Bool(false)), "{case}");
    }
}
