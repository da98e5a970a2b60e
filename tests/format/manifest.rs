//! The manifest's fields that mean something in a signed set.

use std::collections::BTreeMap;

use smbios_creds::format::base64;
use smbios_creds::format::credential::{Credential, Name};
use smbios_creds::format::manifest::{Ciphertext, Manifest, ManifestError, PREFIX, Terms};

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn manifest() -> Manifest {
    Manifest::new([&Credential::new(name("db"), b"secret".to_vec())], [1; 16]).unwrap()
}

fn terms() -> Terms {
    let ciphertext = Ciphertext { size: 746, sha256: [9; 32] };
    let encrypted = BTreeMap::from([(name("tls-key"), ciphertext)]);
    let audience = vec!["web01".to_owned(), r#"a "b" \c"#.to_owned()];
    Terms { audience, serial: Some(7), not_after: Some(1_893_456_000), encrypted }
}

fn json(manifest: &Manifest) -> String {
    let string = manifest.encode();
    String::from_utf8(base64::decode(string.strip_prefix(PREFIX).unwrap().as_bytes()).unwrap().to_vec())
        .unwrap()
}

fn decode(json: &str) -> Result<Manifest, ManifestError> {
    Manifest::decode(base64::encode(json.as_bytes()).as_bytes())
}

#[test]
fn terms_come_back_as_they_were_written() {
    for change in 0..16 {
        let mut terms = terms();
        if change & 1 != 0 {
            terms.audience.clear();
        }
        terms.serial = terms.serial.filter(|_| change & 2 == 0);
        terms.not_after = terms.not_after.filter(|_| change & 4 == 0);
        if change & 8 != 0 {
            terms.encrypted.clear();
        }
        let written = manifest().with_terms(terms.clone()).unwrap();
        let read = decode(&json(&written)).unwrap();
        assert_eq!((read.terms(), &read), (&terms, &written));
    }
}

#[test]
fn manifest_without_terms_is_what_it_was_before_there_were_any() {
    let json = json(&manifest());
    let json = json.trim_end();
    assert!(json.starts_with(r#"{"version":1,"credentials":{"db":6},"salt":""#), "{json}");
    assert!(json.ends_with(r#""}"#) && json.matches(':').count() == 5, "{json}");
}

#[test]
fn older_reader_finds_its_fields_and_the_same_digest() {
    let json: serde_json::Value =
        serde_json::from_str(&json(&manifest().with_terms(terms()).unwrap())).unwrap();
    let before: serde_json::Value = serde_json::from_str(&self::json(&manifest())).unwrap();
    for field in ["version", "credentials", "salt", "digest"] {
        assert_eq!(json[field], before[field], "{field}");
    }
}

#[test]
fn set_of_encrypted_credentials_only_is_one() {
    let none = Manifest::new([], [1; 16]).unwrap();
    assert_eq!(decode(&json(&none)).unwrap_err(), ManifestError::Empty);
    let encrypted = none.with_terms(terms()).unwrap();
    assert_eq!(decode(&json(&encrypted)).unwrap(), encrypted);
}

#[test]
fn name_that_is_sent_in_both_ways_is_refused() {
    let both = Terms {
        encrypted: BTreeMap::from([(name("db"), Ciphertext { size: 1, sha256: [0; 32] })]),
        ..terms()
    };
    assert_eq!(manifest().with_terms(both).unwrap_err(), ManifestError::Duplicate(name("db")));
    let json = json(&manifest().with_terms(terms()).unwrap()).replace("tls-key", "db");
    assert_eq!(decode(&json).unwrap_err(), ManifestError::Duplicate(name("db")));
}

#[test]
fn damaged_terms_are_refused_and_never_left_out() {
    let whole = json(&manifest().with_terms(terms()).unwrap());
    for (part, other) in [
        (r#""serial":7"#, r#""serial":-7"#),
        (r#""serial":7"#, r#""serial":"7""#),
        (r#""serial":7"#, r#""serial":7,"serial":8"#),
        (r#""not-after":1893456000"#, r#""not-after":1.5"#),
        (r#"["web01","#, r"[7,"),
        (r#""size":746,"#, ""),
        (r#""sha256":""#, r#""sha256":"AA"#),
    ] {
        let damaged = whole.replacen(part, other, 1);
        assert_ne!(damaged, whole, "{part}");
        assert!(matches!(decode(&damaged), Err(ManifestError::Json { .. })), "{other}");
    }
    for bad in ["", "\\u001b[31m", "\\u00e9", &"x".repeat(256)] {
        let bad = whole.replacen("web01", bad, 1);
        assert_eq!(decode(&bad), Err(ManifestError::Audience), "{bad}");
    }
    for bad in ["", "a\nb", "\u{e9}"] {
        let terms = Terms { audience: vec![bad.to_owned()], ..terms() };
        assert_eq!(manifest().with_terms(terms).unwrap_err(), ManifestError::Audience, "{bad:?}");
    }
}
