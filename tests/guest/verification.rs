//! Policy and manifest: which sets pass, which sets fail, and that the finding names the credential.

use proptest::prelude::*;
use sha2::Digest as _;
use smbios_creds::format::credential::{Credential, Name, Secret};
use smbios_creds::format::manifest::{Manifest, ManifestError, PREFIX};
use smbios_creds::format::oem_string::{Encoding, encode};
use smbios_creds::guest::verify::delivery::{Delivery, Refusal, Tally};
use smbios_creds::guest::verify::finding::{FindingKind, Severity};
use smbios_creds::guest::verify::policy::{ManifestPolicy, Policy};
use smbios_creds::guest::verify::set::verify_table;
use testkit::{codes, credential, intact, parse, table, verdict};

fn require(name: &str) -> Policy {
    Policy { require: vec![Name::new(name).unwrap()], ..Policy::default() }
}

fn manifest_of(set: &[Credential]) -> String {
    Manifest::new(set, [3; 16]).unwrap().encode()
}

/// A table of these strings, under this policy.
fn verified(strings: &[&[u8]], policy: &Policy) -> Delivery {
    verify_table(&parse(&table(strings)), policy)
}

fn texts(delivery: &Delivery) -> Vec<String> {
    delivery.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_required_credential_that_is_missing_is_named() {
    let delivery = verified(&[b"io.systemd.credential:other=1"], &require("db-password"));
    assert!(!delivery.passed());
    assert_eq!(texts(&delivery), ["credential db-password: missing: required, but did not arrive"]);
    assert_eq!(intact(&delivery), [("other", &b"1"[..])], "the others are handed out");
}

#[test]
fn first_address_for_a_receipt_counts_and_another_one_is_found() {
    let set = [credential("a", b"1")];
    let manifest = manifest_of(&set);
    let received = |addresses: &[&str]| {
        let mut strings = vec![b"io.systemd.credential:a=1".to_vec(), manifest.clone().into_bytes()];
        strings.extend(addresses.iter().map(|text| format!("io.smbios-creds.receipt:{text}").into_bytes()));
        verified(&strings.iter().map(Vec::as_slice).collect::<Vec<_>>(), &Policy::default())
    };
    let asked = |delivery: &Delivery| {
        let asked = delivery.asked.as_ref()?;
        Some((asked.address.port(), asked.proof.is_some()))
    };
    let delivery = received(&["vsock-stream:2:1"]);
    assert_eq!((asked(&delivery), codes(&delivery).len()), (Some((1, true)), 0));
    assert_eq!((delivery.tally.expected, delivery.tally.verified), (1, 1));
    let delivery = received(&["vsock-stream:2:1", "vsock-stream:2:1"]);
    assert_eq!((asked(&delivery), codes(&delivery).len()), (Some((1, true)), 0));
    let delivery = received(&["vsock-stream:3:1", "vsock-stream:2:2", "vsock-stream:2:1"]);
    assert_eq!(asked(&delivery), Some((2, true)));
    assert_eq!(codes(&delivery), ["receipt-invalid", "receipt-again"]);
    assert!(delivery.passed(), "every credential is here");
    assert_eq!(asked(&received(&["/run/notify"])), None);
}

#[test]
fn proof_is_sent_only_if_every_value_is_the_one_that_was_sent() {
    let set = [credential("a", b"1"), credential("b", b"2")];
    let manifest = manifest_of(&set);
    let received = |others: &[&str]| {
        let receipt = ["io.smbios-creds.receipt:vsock-stream:2:1", &manifest];
        let strings: Vec<&[u8]> = others.iter().chain(&receipt).map(|text| text.as_bytes()).collect();
        let delivery = verified(&strings, &Policy::default());
        let Tally { expected, verified } = delivery.tally;
        (expected, verified, delivery.asked.unwrap().proof.is_some())
    };
    let [a, b] = ["io.systemd.credential:a=1", "io.systemd.credential:b=2"];
    assert_eq!(received(&[a, b]), (2, 2, true));
    assert_eq!(received(&[a, b, "io.systemd.credential:c=3"]), (2, 2, true), "c is not listed");
    assert_eq!(received(&[a]), (2, 1, false));
    assert_eq!(received(&[a, "io.systemd.credential:b=3"]), (2, 0, false));
    assert_eq!(received(&[a, "io.systemd.credential:b=33"]), (2, 1, false));
}

#[test]
fn a_required_credential_that_is_empty_is_named() {
    let delivery = verified(&[b"io.systemd.credential:db-password="], &require("db-password"));
    assert!(!delivery.passed());
    assert!(texts(&delivery)[0].starts_with("credential db-password: required, but empty (0 bytes)"));
    assert!(intact(&delivery).is_empty());
}

#[test]
fn a_required_credential_that_cannot_be_read_is_named() {
    let delivery = verified(&[b"io.systemd.credential.binary:db-password=*"], &require("db-password"));
    assert_eq!(codes(&delivery), ["not-a-credential", "missing"]);
    assert_eq!(delivery.findings[1].credential.as_ref().map(Name::as_str), Some("db-password"));
}

#[test]
fn an_empty_value_is_an_error_unless_somebody_meant_it() {
    let empty: &[&[u8]] = &[b"io.systemd.credential:e="];
    assert_eq!(codes(&verified(empty, &Policy::default())), ["empty"]);
    let allowed = Policy { allow_empty: vec![Name::new("e").unwrap()], ..require("e") };
    assert_eq!(intact(&verified(empty, &allowed)), [("e", &b""[..])]);
    let manifest = manifest_of(&[credential("e", b"")]);
    let strings: &[&[u8]] = &[b"io.systemd.credential:e=", manifest.as_bytes()];
    assert!(verified(strings, &Policy::default()).passed(), "sent with 0 bytes");
    assert!(!verified(strings, &require("e")).passed(), "and yet required");
}

#[test]
fn a_value_shortened_by_one_byte_fails_with_both_sizes() {
    let manifest = manifest_of(&[credential("db-password", b"0123456789"), credential("tls", b"abc")]);
    let strings: &[&[u8]] = &[
        manifest.as_bytes(),
        b"io.systemd.credential:db-password=012345678",
        b"io.systemd.credential:tls=abc",
    ];
    let delivery = verified(strings, &Policy::default());
    assert!(!delivery.passed() && !delivery.proof.is_proven());
    assert_eq!(codes(&delivery), ["size-differs"]);
    assert!(texts(&delivery)[0].starts_with("credential db-password: 10 bytes were sent, 9 arrived"));
    assert_eq!(intact(&delivery), [("tls", &b"abc"[..])]);
    assert_eq!(delivery.entries[0].refusal(), Some(Refusal::SizeDiffers));
}

/// QEMU before 10 does not end a string that it reads from a file (`path=`). So bytes of QEMU's memory after the
/// file's content become part of the string.
#[test]
fn bytes_added_behind_a_value_are_noticed() {
    let manifest = manifest_of(&[credential("text", b"0123456789"), credential("binary", b"f")]);
    let strings: &[&[u8]] = &[
        manifest.as_bytes(),
        b"io.systemd.credential:text=0123456789\x7fheap",
        b"io.systemd.credential.binary:binary=Zg==\x7fheap",
    ];
    let delivery = verified(strings, &Policy::default());
    assert!(!delivery.passed() && intact(&delivery).is_empty());
    let texts = texts(&delivery);
    assert!(texts.iter().any(|text| text.contains("text: 10 bytes were sent, 15 arrived")), "{texts:?}");
    assert!(
        texts.iter().any(|text| text.contains("byte 4 of its text is not a base64 character")),
        "{texts:?}"
    );
    // Without a manifest, nothing shows that the text that arrived is longer than the text that was sent.
    assert_eq!(intact(&verified(&strings[1..], &Policy::default())), [("text", &b"0123456789\x7fheap"[..])]);
}

#[test]
fn the_founding_incident_is_reported_secret_by_secret() {
    // Three secrets of 44, 44 and 88 bytes arrived with 0 bytes each.
    let sent = [credential("a", &[b'x'; 44]), credential("b", &[b'y'; 44]), credential("c", &[b'z'; 88])];
    let manifest = manifest_of(&sent);
    let empty: &[&[u8]] = &[
        manifest.as_bytes(),
        b"io.systemd.credential:a=",
        b"io.systemd.credential:b=",
        b"io.systemd.credential.binary:c=",
    ];
    let delivery = verified(empty, &Policy::default());
    assert_eq!(codes(&delivery), ["size-differs"; 3]);
    assert!(texts(&delivery)[2].starts_with("credential c: 88 bytes were sent, 0 arrived"));
    // The same without a manifest.
    assert_eq!(codes(&verified(&empty[1..], &Policy::default())), ["empty"; 3]);
}

#[test]
fn a_credential_that_the_manifest_lists_and_the_table_lacks_is_named() {
    let manifest = manifest_of(&[credential("here", b"1"), credential("gone", b"12345")]);
    let strings: &[&[u8]] = &[manifest.as_bytes(), b"io.systemd.credential:here=1"];
    let delivery = verified(strings, &Policy::default());
    assert_eq!(texts(&delivery), ["credential gone: missing: sent with 5 bytes, but did not arrive"]);
    assert_eq!(codes(&verified(strings, &require("gone"))), ["missing"], "said once");
    assert_eq!(intact(&delivery), [("here", &b"1"[..])]);
}

#[test]
fn an_altered_value_of_the_right_size_refuses_the_listed_ones() {
    let manifest = manifest_of(&[credential("a", b"111"), credential("b", b"222")]);
    let strings: &[&[u8]] = &[
        manifest.as_bytes(),
        b"io.systemd.credential:a=111",
        b"io.systemd.credential:b=22X",
        b"io.systemd.credential:unlisted=1",
    ];
    let delivery = verified(strings, &Policy::default());
    assert_eq!(codes(&delivery), ["not-listed", "digest-differs"]);
    assert!(!delivery.passed());
    assert_eq!(intact(&delivery), [("unlisted", &b"1"[..])]);
}

#[test]
fn a_proof_needs_the_same_names_and_the_first_of_equal_names() {
    let manifest = manifest_of(&[credential("a", b"1")]);
    let renamed: &[&[u8]] = &[manifest.as_bytes(), b"io.systemd.credential:b=1"];
    assert!(!verified(renamed, &Policy::default()).proof.is_proven());
    let first_wrong: &[&[u8]] =
        &[manifest.as_bytes(), b"io.systemd.credential:a=2", b"io.systemd.credential:a=1"];
    assert!(!verified(first_wrong, &Policy::default()).proof.is_proven());
    let encodings: &[&[u8]] = &[manifest.as_bytes(), b"io.systemd.credential.binary:a=MQ=="];
    assert!(verified(encodings, &Policy::default()).proof.is_proven(), "the form does not matter");
}

#[test]
fn blank_at_either_end_of_a_name_is_seen_and_warned_of() {
    for (sent, shown) in [("key ", r"key\x20"), (" key", r"\x20key"), ("  ", r"\x20\x20")] {
        let string = format!("io.systemd.credential:{sent}=1");
        let delivery = verified(&[string.as_bytes(), b"io.systemd.credential:my key=1"], &Policy::default());
        assert!(delivery.passed());
        let warning =
            format!("credential {shown}: its name begins or ends with a blank, which belongs to the name");
        assert_eq!(texts(&delivery), [format!("{warning} (structure 11-0, string 1, offset 5)")]);
        let recording = testkit::recording(&table(&[string.as_bytes()]));
        let list = testkit::run_on(recording.path(), &["list", "--no-legend"]);
        assert!(testkit::stdout(&list).starts_with(&format!("{shown} 1B ")), "{}", testkit::stdout(&list));
        // In JSON, the name is unchanged, without quotes or escapes for people.
        let json = testkit::run_on(recording.path(), &["check", "--json"]).stdout;
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            (&json["credentials"][0]["name"], &json["findings"][0]["credential"]),
            (&sent.into(), &sent.into())
        );
    }
    // The credential `key ` is not the credential `key`.
    let strings: &[&[u8]] = &[b"io.systemd.credential:key =1"];
    assert_eq!(codes(&verified(strings, &require("key"))), ["name-blank", "missing"]);
    assert_eq!(codes(&verified(strings, &require("key "))), ["name-blank"]);
}

#[test]
fn a_manifest_can_be_required_used_or_ignored() {
    let with = |manifest| Policy { manifest, ..Policy::default() };
    let plain: &[&[u8]] = &[b"io.systemd.credential:a=1"];
    assert!(verified(plain, &with(ManifestPolicy::Use)).passed());
    assert_eq!(codes(&verified(plain, &with(ManifestPolicy::Require))), ["manifest-missing"]);

    let manifest = manifest_of(&[credential("b", b"1")]);
    let unlisted: &[&[u8]] =
        &[manifest.as_bytes(), b"io.systemd.credential:b=1", b"io.systemd.credential:a=1"];
    let used = verified(unlisted, &with(ManifestPolicy::Use));
    assert_eq!(
        (codes(&used), used.passed(), used.proof.is_proven()),
        (vec!["not-listed".to_owned()], true, false)
    );
    let required = verified(unlisted, &with(ManifestPolicy::Require));
    assert!(!required.passed() && !required.proof.is_proven());
    assert_eq!(intact(&required), [("b", &b"1"[..])], "what is not listed is not imported");

    let wrong: &[&[u8]] = &[b"io.smbios-creds.manifest:AAAA", b"io.systemd.credential:a=1"];
    assert_eq!(codes(&verified(wrong, &with(ManifestPolicy::Use))), ["manifest-invalid"]);
    assert_eq!(codes(&verified(wrong, &with(ManifestPolicy::Require))), ["manifest-invalid"]);
    assert!(verified(wrong, &with(ManifestPolicy::Ignore)).findings.is_empty());
}

#[test]
fn a_second_manifest_is_reported_and_the_first_counts() {
    let (first, second) = (manifest_of(&[credential("a", b"1")]), manifest_of(&[credential("a", b"2")]));
    let strings: &[&[u8]] = &[first.as_bytes(), second.as_bytes(), b"io.systemd.credential:a=1"];
    let delivery = verified(strings, &Policy::default());
    assert_eq!(codes(&delivery), ["manifest-again"]);
    assert!(!delivery.proof.is_proven() && !delivery.passed());
    assert_eq!(intact(&delivery), [("a", &b"1"[..])]);
    let strings: &[&[u8]] = &[first.as_bytes(), first.as_bytes(), b"io.systemd.credential:a=1"];
    assert!(verified(strings, &Policy::default()).passed());
}

#[test]
fn the_first_of_equal_names_counts_as_in_systemd() {
    let delivery = verdict(&table(&[b"io.systemd.credential:a=1", b"io.systemd.credential.binary:a=Mg=="]));
    assert_eq!(delivery.findings[0].kind, FindingKind::Duplicate { identical: false });
    assert!(!delivery.passed());
    assert_eq!(intact(&delivery), [("a", &b"1"[..])]);
    let delivery = verdict(&table(&[b"io.systemd.credential:a=1", b"io.systemd.credential.binary:a=MQ=="]));
    assert_eq!(delivery.findings[0].severity, Severity::Warning);
    assert!(delivery.passed());
}

#[test]
fn mistyped_prefixes_and_broken_strings_fail_the_verdict() {
    let strings: &[&[u8]] = &[
        b"io.systemd.credentials:a=1",
        b"io.systemd.credential:no-equals",
        b"io.systemd.credential:../x=1",
        b"io.systemd.credential.binary:b=Zg",
        b"io.systemd.boot.loglevel=debug",
    ];
    let delivery = verdict(&table(strings));
    let expected = ["near-miss", "not-a-credential", "not-a-credential", "not-a-credential"];
    assert_eq!(codes(&delivery), expected);
    assert!(delivery.findings.iter().all(|finding| finding.severity == Severity::Error));
    assert_eq!(delivery.foreign, 1);
    let refusals: Vec<_> = delivery.entries.iter().map(|entry| entry.refusal().unwrap().as_str()).collect();
    assert_eq!(refusals, ["no-equals", "bad-name", "bad-base64"]);
    let places: Vec<_> = delivery
        .findings
        .iter()
        .map(|finding| finding.origin.as_ref().unwrap().short().to_string())
        .collect();
    assert_eq!(places, ["11-0:1", "11-0:2", "11-0:3", "11-0:4"]);
}

#[test]
fn more_than_systemd_can_hold_is_a_warning() {
    let strings: Vec<String> = (0..257).map(|n| format!("io.systemd.credential:c{n}=1")).collect();
    let strings: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
    let of = |count: usize| codes(&verdict(&table(&strings[..count])));
    assert!(!of(256).contains(&"above-systemd".to_owned()));
    assert!(of(257).contains(&"above-systemd".to_owned()));
    let large = [b"io.systemd.credential:a=".as_slice(), &vec![b'x'; 600_000]].concat();
    let rest = |size| [b"io.systemd.credential:b=".as_slice(), &vec![b'x'; size]].concat();
    assert!(!codes(&verdict(&table(&[&large, &rest(448_576)]))).contains(&"above-systemd".to_owned()));
    let delivery = verdict(&table(&[&large, &rest(448_577)]));
    assert!(codes(&delivery).contains(&"above-systemd".to_owned()));
    assert!(delivery.passed());
}

#[test]
fn the_manifest_on_the_wire_is_what_is_documented() {
    let manifest = Manifest::new(&[credential("b\"\\", b"xy"), credential("a", b"")], [0; 16]).unwrap();
    let string = manifest.encode();
    let json = smbios_creds::format::base64::decode(string.strip_prefix(PREFIX).unwrap().as_bytes()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    // SHA-256 over the salt and, sorted by name, length and bytes of each name and each value.
    let mut bytes = vec![0; 16];
    for part in [&b"a"[..], b"", b"b\"\\", b"xy"] {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    let digest = smbios_creds::format::base64::encode(&sha2::Sha256::digest(&bytes)).to_string();
    let expected = serde_json::json!({
        "version": 1, "credentials": {"a": 0, "b\"\\": 2}, "salt": "AAAAAAAAAAAAAAAAAAAAAA==", "digest": digest,
    });
    assert_eq!(json, expected);
    assert_eq!(Manifest::decode(string.strip_prefix(PREFIX).unwrap().as_bytes()), Ok(manifest));
}

#[test]
fn manifest_of_any_length_has_the_equals_sign_at_its_end_only() {
    let mut lengths = std::collections::BTreeSet::new();
    for name in ["a", "aa", "aaa", "aaaa"] {
        let manifest = Manifest::new(&[credential(name, b"xy")], [0; 16]).unwrap();
        let string = manifest.encode();
        let (key, value) = string.split_once('=').unwrap();
        assert!(key.len() > PREFIX.len() && value == "=", "{string}");
        let json =
            smbios_creds::format::base64::decode(string.strip_prefix(PREFIX).unwrap().as_bytes()).unwrap();
        lengths.insert(json.trim_ascii_end().len() % 3);
        assert!(json.len() - json.trim_ascii_end().len() <= 2);
        // A manifest of an older host, which does not have the blanks at its end, is read as well.
        let old = smbios_creds::format::base64::encode(json.trim_ascii_end());
        assert_eq!(Manifest::decode(old.as_bytes()), Ok(manifest));
    }
    assert_eq!(lengths.len(), 3);
}

#[test]
fn manifests_that_cannot_be_trusted_are_refused() {
    let decode =
        |json: &str| Manifest::decode(smbios_creds::format::base64::encode(json.as_bytes()).as_bytes());
    let (salt, digest) = ("AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let with = |credentials: &str, salt: &str, more: &str| {
        format!(r#"{{"version":1,"credentials":{credentials},"salt":"{salt}","digest":"{digest}"{more}}}"#)
    };
    assert!(decode(&with(r#"{"a":1}"#, salt, "")).is_ok());
    assert!(decode(&with(r#"{"a":1}"#, salt, r#","later":[1]"#)).is_ok(), "later versions may add fields");
    assert_eq!(decode(r#"{"version":2,"credentials":[]}"#), Err(ManifestError::Version(2)));
    let refused = [
        with(r#"{"a":1,"a":1}"#, salt, ""),
        with(r#"{"../a":1}"#, salt, ""),
        with(r#"{"a":-1}"#, salt, ""),
        with(r#"["a"]"#, salt, ""),
        with(r#"{"a":1}"#, "AAAA", ""),
        with(r#"{"a":1}"#, "*", ""),
        with(r#"{"a":1}"#, salt, r#","version":1"#),
        with(r#"{"a":1}"#, salt, "") + "x",
        String::new(),
        "null".to_owned(),
    ];
    for json in refused {
        assert!(matches!(decode(&json), Err(ManifestError::Json { .. })), "{json}");
    }
    assert!(matches!(Manifest::decode(b"?"), Err(ManifestError::Base64(_))));
    let twice = [credential("a", b"1"), credential("a", b"2")];
    assert!(matches!(Manifest::new(&twice, [0; 16]), Err(ManifestError::Duplicate(_))));
}

proptest! {
    #[test]
    fn any_set_is_proven_whole_and_any_change_is_noticed(
        set in proptest::collection::btree_map("[a-z]{1,4}", proptest::collection::vec(any::<u8>(), 1..20), 1..6),
        salt: [u8; 16], pick: proptest::sample::Index, flip in 1..=255_u8,
    ) {
        let set: Vec<Credential> = set.iter().map(|(name, value)| credential(name, value)).collect();
        let manifest = Manifest::new(&set, salt).unwrap().encode();
        let strings: Vec<_> = set.iter().map(|c| encode(c, Encoding::Binary).unwrap()).collect();
        let mut strings: Vec<&[u8]> = strings.iter().map(Secret::expose).collect();
        strings.push(manifest.as_bytes());
        let delivery = verified(&strings, &Policy { manifest: ManifestPolicy::Require, ..Policy::default() });
        prop_assert!(delivery.passed() && delivery.proof.is_proven());
        prop_assert_eq!(delivery.intact().count(), set.len());

        let changed = pick.index(set.len());
        let mut value = set[changed].value.expose().to_vec();
        *value.last_mut().unwrap() ^= flip;
        let string = encode(&credential(set[changed].name.as_str(), &value), Encoding::Binary).unwrap();
        strings[changed] = string.expose();
        let delivery = verified(&strings, &Policy::default());
        prop_assert!(!delivery.passed() && !delivery.proof.is_proven());
        prop_assert_eq!(delivery.intact().count(), 0);
    }
}
