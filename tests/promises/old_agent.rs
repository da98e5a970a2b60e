//! An old agent, from before sets could be signed, reads the sets that are sent today as it read the sets of its
//! time.
//!
//! The old agent's rules are implemented here again. `testdata/old-agent/verdicts` has the verdicts of the old agent
//! itself. The rules must give the same verdicts, so that they can stand for the old agent.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use smbios_creds::format::manifest::Terms;
use smbios_creds::host::set::Set;
use smbios_creds::host::strings::{Existing, OemStrings};
use smbios_creds::host::supply::Sent;
use smbios_creds::trust::sealed::{Blob, Sealed};
use smbios_creds::trust::signature::Signature;
use testkit::host::name;
use testkit::systemd::{import, unbase64};
use testkit::{credential, testdata};

const MANIFEST: &[u8] = b"io.smbios-creds.manifest:";

/// Words before a colon that the old agent knew. It took a word that differs from one of these in two characters or
/// fewer for an error.
const KNOWN: [&str; 3] =
    ["io.systemd.credential", "io.systemd.credential.binary", "io.smbios-creds.manifest"];

/// Returns how many credentials the old agent would have proved complete by their manifest; `None` if it would have
/// proved none.
fn proven(strings: &[&[u8]]) -> Option<usize> {
    let mut values = BTreeMap::new();
    let mut manifests = Vec::new();
    for string in strings {
        if let Some(text) = string.strip_prefix(MANIFEST) {
            manifests.push(text);
        } else if let Some((name, value)) = import(string) {
            if values.insert(name, value).is_some() {
                return None;
            }
        } else if is_near_miss(string) {
            return None;
        }
    }
    let [manifest] = manifests.as_slice() else { return None };
    let json: Value = serde_json::from_slice(&unbase64(manifest)?).ok()?;
    let listed = json["credentials"].as_object().filter(|listed| !listed.is_empty())?;
    let bytes = |field: &str| unbase64(json[field].as_str()?.as_bytes());
    let (salt, digest) = (bytes("salt")?, bytes("digest")?);
    let mut hash = Sha256::new_with_prefix(&salt);
    for (name, value) in &values {
        let listed = listed.get(str::from_utf8(name).ok()?)?.as_u64()?;
        if listed != value.len() as u64 {
            return None;
        }
        for part in [*name, value] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let is_whole = json["version"] == 1 && listed.len() == values.len() && salt.len() == 16;
    (is_whole && *hash.finalize() == *digest).then_some(values.len())
}

fn is_near_miss(string: &[u8]) -> bool {
    let word = string.split(|&byte| byte == b':').next().unwrap().to_ascii_lowercase();
    KNOWN.iter().any(|known| word.starts_with(known.as_bytes()) || distance(&word, known.as_bytes()) <= 2)
}

/// The Levenshtein distance.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            next.push((row[j] + usize::from(x != y)).min(row[j + 1] + 1).min(next[j] + 1));
        }
        row = next;
    }
    row[b.len()]
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect()
}

/// Returns the file of a test vector.
fn vector(case: &str) -> PathBuf {
    let file = format!("{case}.strings");
    let own = testdata("old-agent").join(&file);
    if own.exists() { own } else { testdata("signed").join(file) }
}

#[test]
fn old_agent_said_of_each_vector_what_its_rules_say() {
    let verdicts = fs::read_to_string(testdata("old-agent").join("verdicts")).unwrap();
    let mut count = 0;
    for line in verdicts.lines().filter(|line| !line.starts_with('#')) {
        let (case, verdict) = line.split_once(": ").unwrap();
        let strings = fs::read(vector(case)).unwrap();
        let expected = match proven(&lines(&strings)) {
            Some(count) => format!("0 passed: {count} credentials, the manifest proves the set whole"),
            None => "3 failed: ".to_owned(),
        };
        assert!(verdict.starts_with(&expected), "{case}: {verdict}, not {expected}");
        count += 1;
    }
    assert!(count >= 30, "{count} vectors");
}

/// Sends everything that a set can have today, beside a string of another program.
#[test]
fn old_agent_proves_whatever_is_sent_today() {
    let blob = Blob::new(&testkit::sealed("host")).unwrap();
    let sealed = Sealed { name: name("tls"), blob };
    let terms = Terms {
        audience: vec!["web01".into(), "\"quoted\\".into()],
        serial: Some(u64::MAX),
        not_after: Some(u64::MAX),
        ..Terms::default()
    };
    let credentials = [
        credential("db", b"secret"),
        credential("empty!", b""),
        credential("all", &(0..=255).collect::<Vec<_>>()),
    ];
    let packed = OemStrings::set(&credentials, &[sealed], terms).unwrap();
    let packed = smbios_creds::host::set::write(&packed);
    let mut set = Set::read(packed.expose()).unwrap();
    set.sign(Signature::read(&fs::read(testdata("signed").join("manifest.minisig")).unwrap()).unwrap())
        .unwrap();
    let kept = [&b"vendor"[..], b"io.smbios-creds.receipt:vsock-stream:2:8889"]
        .map(|text| (text.to_vec().into(), smbios_creds::host::strings::Origin::CommandLine));
    let existing = Existing { kept: kept.into(), ..Existing::default() };
    let strings = Sent::Set(set).beside(existing).unwrap();
    let texts: Vec<&[u8]> = strings.texts().collect();
    assert_eq!(texts.len(), 2 + 4 + 2);
    assert_eq!(proven(&texts), Some(3));
    // Without one of its credentials, the rules must not prove the set, which shows that they check the manifest.
    for lost in 2..5 {
        let fewer: Vec<&[u8]> =
            texts.iter().enumerate().filter(|(at, _)| *at != lost).map(|(_, text)| *text).collect();
        assert_eq!(proven(&fewer), None, "without string {lost}");
    }
}
