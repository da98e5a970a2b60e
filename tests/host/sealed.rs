//! Encrypted credentials from the host's directory to the guest's verification.

use std::path::Path;

use smbios_creds::host::strings::{Existing, OemStrings, Origin};
use smbios_creds::trust::sealed::PREFIX;
use testkit::host::{delivered, directory, host_with};
use testkit::{code, run, stderr, stdout, testdata};

fn file(kind: &str) -> Vec<u8> {
    std::fs::read(testdata("sealed").join(format!("{kind}.cred"))).unwrap()
}

fn emit(directory: &Path, arguments: &[&str]) -> std::process::Output {
    run(&mut host_with(directory, &[&["emit", "--format=structures"], arguments].concat()))
}

fn plan(directory: &Path, arguments: &[&str]) -> std::process::Output {
    let program = ["--hypervisor=qemu", "--", "true"];
    run(&mut host_with(directory, &[&["plan", "--json=short"], arguments, &program].concat()))
}

#[test]
fn blob_arrives_on_one_line_and_proven_by_the_manifest() {
    let tpm2 = file("tpm2-262");
    let folder = directory(&[("db", b"hunter2"), ("tls.cred", &tpm2)]);
    let emitted = emit(folder.path(), &["--all", "--encrypted", "tls=tls.cred"]);
    assert_eq!(code(&emitted), 0, "{}", stderr(&emitted));
    let delivery = delivered(&[emitted.stdout]);
    assert!(delivery.passed() && delivery.proof.is_proven(), "{:?}", testkit::codes(&delivery));
    assert_eq!(testkit::intact(&delivery), [("db", b"hunter2".as_slice())]);
    let sealed: Vec<_> = delivery.intact_sealed().collect();
    assert_eq!((sealed.len(), sealed[0].name.as_str()), (1, "tls"));
    let unwrapped: Vec<u8> = tpm2.into_iter().filter(|byte| *byte != b'\n').collect();
    assert_eq!(sealed[0].blob.text().as_bytes(), unwrapped);
}

#[test]
fn nothing_but_ciphertexts_can_be_sent() {
    let folder = directory(&[("tls", &file("tpm2-254")), ("other", b"not selected")]);
    let emitted = emit(folder.path(), &["--encrypted", "tls", "--expect", "tls"]);
    assert_eq!(code(&emitted), 0, "{}", stderr(&emitted));
    let delivery = delivered(&[emitted.stdout]);
    assert!(delivery.passed() && delivery.proof.is_proven(), "{:?}", testkit::codes(&delivery));
    assert_eq!(delivery.intact().count(), 0);
}

#[test]
fn packed_set_carries_ciphertexts() {
    let folder = directory(&[("db", b"hunter2"), ("tls", &file("tpm2-254"))]);
    let set = folder.path().join("set");
    let pack = ["pack", "--force", "--credential", "db", "--encrypted", "tls", "--serial=7", "--output"];
    let packed = run(host_with(folder.path(), &pack).arg(&set));
    assert_eq!(code(&packed), 0, "{}", stderr(&packed));
    let emitted = run(host_with(folder.path(), &["emit", "--format=structures", "--set"]).arg(&set));
    assert_eq!(code(&emitted), 0, "{}", stderr(&emitted));
    let delivery = delivered(&[emitted.stdout]);
    assert!(delivery.passed() && delivery.proof.is_proven(), "{:?}", testkit::codes(&delivery));
    assert_eq!(delivery.intact_sealed().count(), 1);
    let plan = ["plan", "--json=short", "--hypervisor=qemu", "--set", set.to_str().unwrap(), "--", "true"];
    let planned = run(&mut host_with(folder.path(), &plan));
    let json: serde_json::Value = serde_json::from_slice(&planned.stdout).unwrap();
    assert_eq!(
        (&json["encrypted"][0]["name"], &json["encrypted"][0]["key"]),
        (&"tls".into(), &"tpm2".into())
    );
    // `--encrypted` with `--set` is refused, since no credential can be added to a packed set.
    let both =
        run(host_with(folder.path(), &["emit", "--format=structures", "--encrypted", "tls", "--set"])
            .arg(&set));
    assert_eq!(code(&both), 2, "{}", stderr(&both));
}

#[test]
fn plan_shows_ciphertexts_and_the_kind_of_their_key() {
    let folder = directory(&[("db", b"hunter2"), ("tls", &file("tpm2-262"))]);
    let planned = plan(folder.path(), &["--credential", "db", "--encrypted", "tls"]);
    assert_eq!(code(&planned), 0, "{}{}", stdout(&planned), stderr(&planned));
    let json: serde_json::Value = serde_json::from_slice(&planned.stdout).unwrap();
    let row = serde_json::json!([{"name": "tls", "size": 736, "key": "tpm2-pinned", "existing": false}]);
    assert_eq!(json["encrypted"], row);
    assert_eq!((json["credentials"].as_array().unwrap().len(), &json["strings"]), (1, &3.into()));
    let text = run(&mut host_with(
        folder.path(),
        &["plan", "--credential", "db", "--encrypted", "tls", "--hypervisor=qemu", "--", "true"],
    ));
    assert!(stdout(&text).contains("SMBIOS, encrypted (tpm2-pinned)"), "{}", stdout(&text));
    assert!(stdout(&text).contains("1 credential and 1 encrypted"), "{}", stdout(&text));
}

#[test]
fn blob_sent_as_plain_is_refused_with_the_option_that_sends_it() {
    let raw = smbios_creds::format::base64::decode(&file("host")).unwrap();
    for value in [file("tpm2-262"), file("null"), raw.to_vec()] {
        let folder = directory(&[("tls", &value)]);
        for refused in [emit(folder.path(), &["--all"]), plan(folder.path(), &["--credential", "tls"])] {
            assert_eq!(code(&refused), 3);
            let shown = stdout(&refused) + &stderr(&refused);
            assert!(shown.contains("a service would get the ciphertext"), "{shown}");
            assert!(shown.contains("send it with --encrypted tls"), "{shown}");
        }
    }
}

#[test]
fn file_that_no_guest_should_take_encrypted_is_refused() {
    let folder = directory(&[
        ("null", &file("null")),
        ("plain", b"hunter2"),
        ("base64", b"aHVudGVyMmh1bnRlcjI="),
        ("empty", b""),
    ]);
    for (name, reason) in [
        ("null", "null key, which everybody has"),
        ("plain", "is not base64"),
        ("base64", "does not begin like the output of 'systemd-creds encrypt'"),
        ("empty", "does not begin like the output of 'systemd-creds encrypt'"),
        ("absent", "is missing"),
    ] {
        let refused = emit(folder.path(), &["--encrypted", name]);
        assert_eq!((code(&refused), refused.stdout.as_slice()), (3, b"".as_slice()), "{name}");
        assert!(stderr(&refused).contains(reason), "{name}: {}", stderr(&refused));
        assert!(!stderr(&refused).contains("hunter2") && !stderr(&refused).contains("aHV"));
    }
}

#[test]
fn name_in_both_forms_is_refused() {
    let folder = directory(&[("db", b"hunter2"), ("tls", &file("host"))]);
    let both = emit(folder.path(), &["--credential", "db", "--encrypted", "db=tls"]);
    assert_eq!(code(&both), 3);
    assert!(
        stderr(&both).contains("an encrypted and a plain credential have this name"),
        "{}",
        stderr(&both)
    );
    let twice = emit(folder.path(), &["--encrypted", "db=tls", "db=tls"]);
    assert_eq!(code(&twice), 3);
    assert!(stderr(&twice).contains("two encrypted credentials"), "{}", stderr(&twice));
}

#[test]
fn machine_without_smbios_does_not_lose_ciphertexts_silently() {
    let folder = directory(&[("tls", &file("tpm2-262"))]);
    let program = ["--encrypted", "tls", "--hypervisor=qemu", "--", "true", "-M", "microvm"];
    let refused = run(&mut host_with(folder.path(), &[&["plan"], &program[..]].concat()));
    assert_eq!(code(&refused), 3);
    assert!(stdout(&refused).contains("credential tls: it is encrypted"), "{}", stdout(&refused));
}

#[test]
fn ciphertext_of_the_command_line_enters_the_manifest() {
    let text =
        smbios_creds::format::base64::encode(&smbios_creds::format::base64::decode(&file("host")).unwrap());
    let existing = |text: &str| Existing {
        kept: vec![(format!("{PREFIX}db={text}").into_bytes().into(), Origin::CommandLine)],
        ..Existing::default()
    };
    let strings = OemStrings::beside(existing(&text), &[testkit::credential("other", b"x")]).unwrap();
    let structures: Vec<_> =
        strings.structures().unwrap().iter().map(|structure| structure.expose().to_vec()).collect();
    let delivery = delivered(&structures);
    assert!(delivery.passed() && delivery.proof.is_proven(), "{:?}", testkit::codes(&delivery));
    let refused = OemStrings::beside(existing("hunter2"), &[]).unwrap_err().to_string();
    assert!(
        refused.starts_with("OEM string 1 of the command line has a value that") && !refused.contains("db")
    );
}
