//! The keys and values of Incus.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use smbios_creds::format::base64;
use smbios_creds::format::manifest::PREFIX;
use testkit::host::{delivered, directory, host_with, one_structure};
use testkit::{code, run, stderr, stdout};

const EMIT: [&str; 3] = ["emit", "--all", "--format=incus"];

fn emit(directory: &Path, options: &[&str]) -> Output {
    run(&mut host_with(directory, &[&EMIT, options].concat()))
}

/// Reads the one form of YAML that `emit` writes: quoted keys and values, each on a line of its own.
fn pairs(yaml: &str) -> Vec<(String, String)> {
    let mut lines = yaml.lines();
    assert_eq!(lines.next(), Some("config:"));
    let mut scalar = |mark: &str| {
        let text = lines.next()?.strip_prefix(mark).unwrap().strip_suffix('"').unwrap();
        assert!(!text.replace("\\\\", "").replace("\\\"", "").contains(['"', '\\']), "{text}");
        Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
    };
    let mut pairs = Vec::new();
    while let Some(key) = scalar("  ? \"") {
        pairs.push((key, scalar("  : \"").unwrap()));
    }
    pairs
}

/// Returns the OEM string that Incus 7.3 makes of a key and its value (`driver_qemu.go`). Incus makes no string of a
/// key without a value.
fn assembled((key, value): &(String, String)) -> Option<String> {
    if value.is_empty() {
        None
    } else if let Some(name) = key.strip_prefix("systemd.credential-binary.") {
        let value = base64::encode(&base64::decode(value.as_bytes()).unwrap());
        Some(format!("io.systemd.credential.binary:{name}={}", *value))
    } else {
        Some(format!("{}={value}", key.strip_prefix("smbios11.").unwrap()))
    }
}

/// Returns the strings in a pseudorandom order, which depends on the seed.
fn shuffled(mut strings: Vec<String>, seed: u64) -> Vec<String> {
    let mut state = seed;
    for end in (1..strings.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        strings.swap(end, usize::try_from(state >> 33).unwrap() % (end + 1));
    }
    strings
}

#[test]
fn incus_pairs_of_any_length_and_order_are_verified() {
    let every: Vec<u8> = (0..=255).collect();
    let mut lengths = BTreeSet::new();
    let mut orders = BTreeSet::new();
    for name in ["a", "aa", "aaa"] {
        let files =
            [(name, &every[..]), ("b\"\\ ,#-", b"x"), ("c", b"yes"), ("d.e", b"null"), ("f", &[0; 9000])];
        let folder = directory(&files);
        let output = emit(folder.path(), &[]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let pairs = pairs(&stdout(&output));
        let (manifest, _) = pairs.iter().find(|(key, _)| key.contains(PREFIX)).unwrap();
        let text = format!("{}==", manifest.split_once(PREFIX).unwrap().1);
        let json = base64::decode(text.as_bytes()).unwrap();
        lengths.insert(json.trim_ascii_end().len() % 3);
        for seed in 0..20 {
            let strings = shuffled(pairs.iter().filter_map(assembled).collect(), seed);
            let delivery = delivered(&[one_structure(&strings)]);
            assert!(delivery.passed() && delivery.proof.is_proven(), "{strings:?}");
            let mut intact = testkit::intact(&delivery);
            intact.sort_unstable();
            assert_eq!(intact, files);
            orders.insert(strings.iter().map(String::len).collect::<Vec<_>>());
        }
    }
    assert_eq!(lengths.len(), 3, "every length modulo 3");
    assert!(orders.len() > 30, "{}", orders.len());
}

#[test]
fn incus_key_of_a_large_manifest_is_marked_as_one() {
    let names: Vec<String> = (0..40).map(|n| format!("credential-with-a-long-name-{n}")).collect();
    let folder = directory(&names.iter().map(|name| (name.as_str(), &b"x"[..])).collect::<Vec<_>>());
    let yaml = stdout(&emit(folder.path(), &[]));
    let manifest = yaml.lines().find(|line| line.contains(PREFIX)).unwrap();
    assert!(manifest.len() > 1024 && manifest.starts_with("  ? \"smbios11.io.smbios-creds.manifest:"));
    assert_eq!(pairs(&yaml).len(), 41);
}

#[test]
fn incus_credential_without_a_value_is_refused_by_name() {
    let folder = directory(&[("empty", b""), ("db", b"x")]);
    let output = emit(folder.path(), &["--allow-empty", "empty"]);
    assert_eq!((code(&output), output.stdout.len()), (3, 0));
    assert!(
        stderr(&output).contains("credential empty: it is empty, and Incus drops"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn incus_says_who_can_read_its_database() {
    let folder = directory(&[("db", b"secret")]);
    let output = emit(folder.path(), &[]);
    assert!(
        stderr(&output).contains("Incus keeps the secrets in its database: everyone"),
        "{}",
        stderr(&output)
    );
    // 255 strings are the most that QEMU counts: 254 credentials and the manifest.
    let names: Vec<String> = (0..255).map(|n| n.to_string()).collect();
    let folder = directory(&names.iter().map(|name| (name.as_str(), &b"x"[..])).collect::<Vec<_>>());
    let output = emit(folder.path(), &[]);
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("Incus: number of strings: 256 strings, 1 more"), "{}", stderr(&output));
}
