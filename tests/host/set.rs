//! A packed set is read whole and as its manifest says, or refused. Vectors are in testdata/signed.

use std::fs;
use std::path::{Path, PathBuf};

use smbios_creds::format::manifest::Terms;
use smbios_creds::format::oem_string::ENCRYPTED_PREFIX;
use smbios_creds::host::set::{Set, SetError, write};
use smbios_creds::host::strings::{EmitError, Existing, OemStrings, Origin};
use smbios_creds::host::supply::Sent;
use smbios_creds::trust::signature::{KeyId, Signature, TrustedKey};
use testkit::fw_cfg::write_item;
use testkit::host::{QEMU, name, order, render};
use testkit::{code, credential, run, stderr, testdata};

fn vector(file: &str) -> PathBuf {
    testdata("signed").join(file)
}

fn read(case: &str) -> Result<Set, SetError> {
    Set::read(&fs::read(vector(&format!("{case}.strings"))).unwrap())
}

fn key(file: &str) -> TrustedKey {
    TrustedKey::read(&fs::read(vector(file)).unwrap()).unwrap()
}

fn strings(set: Set) -> OemStrings {
    Sent::Set(set).beside(Existing::default()).unwrap()
}

/// Returns a packed set of two credentials.
fn packed() -> Vec<u8> {
    let credentials = [credential("db", b"secret"), credential("tls", &[0, 10, 255])];
    let terms = Terms { audience: vec!["web01".into()], serial: Some(7), ..Terms::default() };
    write(&OemStrings::set(&credentials, &[], terms).unwrap()).expose().to_vec()
}

#[test]
fn set_is_sent_byte_for_byte() {
    let packed = packed();
    let strings = strings(Set::read(&packed).unwrap());
    assert_eq!(write(&strings).expose(), packed);
    let sent: Vec<_> =
        strings.credentials().map(|(name, size, origin)| (name.as_str(), size, origin)).collect();
    assert_eq!(sent, [("db", 6, Origin::Set), ("tls", 3, Origin::Set)]);
}

#[test]
fn set_cut_at_any_byte_is_refused() {
    let packed = packed();
    for length in 0..packed.len() {
        assert!(Set::read(&packed[..length]).is_err(), "{length} bytes of {}", packed.len());
    }
}

#[test]
fn set_with_any_changed_byte_is_refused() {
    let packed = packed();
    for at in 0..packed.len() {
        let mut changed = packed.clone();
        changed[at] ^= 1;
        // Only a signature proves what the manifest says beside names, sizes and digest, so a change there is not
        // refused.
        if let Ok(set) = Set::read(&changed) {
            let intact = Set::read(&packed).unwrap();
            assert_ne!(set.manifest(), intact.manifest(), "byte {at}");
        }
    }
}

#[test]
fn vectors_of_damaged_sets_are_refused_before_they_are_sent() {
    for (case, expected) in [
        ("added-credential", "line 3 is not a string of a set"),
        ("dropped-credential", "credential tls-key: the manifest lists it"),
        ("flipped-value", "the digest in its manifest does not match its values"),
        ("nine-signatures", "it has more than 8 signatures"),
        ("legacy", "minisign's legacy format"),
        ("two-manifests", "a second manifest"),
        ("two-manifests-reversed", "a second manifest"),
    ] {
        match read(case) {
            Err(error) => assert!(error.to_string().contains(expected), "{case}: {error}"),
            Ok(_) => panic!("{case} is not refused"),
        }
    }
}

#[test]
fn signature_that_a_guest_would_refuse_is_refused_with_its_key_at_hand() {
    let owner = key("owner.pub");
    for (case, keys, verdict) in [
        ("good", vec!["owner.pub"], None),
        ("good", vec!["old.pub", "owner.pub"], None),
        ("old-key", vec!["owner.pub", "old.pub"], None),
        ("two-signatures", vec!["owner.pub"], None),
        ("eight-signatures", vec!["owner.pub"], None),
        ("other-key", vec!["owner.pub", "old.pub"], Some("which --trust does not name")),
        ("no-signature", vec!["owner.pub"], Some("it is not signed")),
        ("flipped-signature", vec!["owner.pub"], Some("is not of this set's manifest")),
        ("flipped-comment", vec!["owner.pub"], Some("is not of this set's manifest")),
        ("signature-of-another-manifest", vec!["owner.pub"], Some("is not of this set's manifest")),
    ] {
        let keys: Vec<_> = keys.into_iter().map(key).collect();
        let set = match read(case) {
            Ok(set) => set,
            // The manifest of each case fits the values, so reading must not fail.
            Err(error) => panic!("{case}: {error}"),
        };
        match (set.verify(&keys), verdict) {
            (Ok(()), None) => {}
            (Err(error), Some(verdict)) => assert!(error.to_string().contains(verdict), "{case}: {error}"),
            (result, _) => panic!("{case}: {result:?}"),
        }
    }
    let error = read("other-key").unwrap().verify(&[owner]).unwrap_err();
    let id: KeyId = key("other.pub").id();
    assert!(error.to_string().contains(&id.to_string()), "{error}");
}

#[test]
fn signature_follows_the_manifest_and_is_the_file_that_minisign_wrote() {
    let file = fs::read(vector("manifest.minisig")).unwrap();
    let mut set = read("no-signature").unwrap();
    for _ in 0..2 {
        set.sign(Signature::read(&file).unwrap()).unwrap();
    }
    assert!(set.verify(&[key("owner.pub")]).is_ok(), "the vector's signature is of it");
    let strings = strings(set);
    let last = strings.texts().last().unwrap();
    let text = last.strip_prefix(b"io.smbios-creds.signature:").unwrap();
    assert_eq!(Signature::decode(text).unwrap(), Signature::read(&file).unwrap());
    assert_eq!(strings.signatures().count(), 1, "the same signature is sent once");
}

/// Incus drops a key without a value, so each string needs a `=`. base64 has a `=` only at its end, or not at all.
#[test]
fn signature_of_any_length_passes_incus() {
    use smbios_creds::host::hypervisor::incus;

    let file = fs::read_to_string(vector("manifest.minisig")).unwrap();
    for more in ["", "x", "xx"] {
        let (comment, rest) = file.split_once('\n').unwrap();
        let text = format!("{comment}{more}\n{rest}");
        let signature = Signature::read(text.as_bytes()).unwrap();
        let manifest = fs::read(vector("manifest")).unwrap();
        assert!(key("owner.pub").has_signed(&manifest, &signature), "this comment is not signed");
        let mut set = Set::read(&packed()).unwrap();
        set.sign(signature).unwrap();
        let yaml = incus::yaml(&strings(set)).unwrap();
        let yaml = std::str::from_utf8(yaml.expose()).unwrap();
        assert!(yaml.contains("smbios11.io.smbios-creds.signature:"), "{yaml}");
    }
}

#[test]
fn credential_beside_a_set_is_refused_and_a_foreign_string_is_kept() {
    let existing = |text: &str| Existing {
        kept: vec![(text.as_bytes().to_vec().into(), Origin::CommandLine)],
        ..Existing::default()
    };
    let beside = |text: &str| Sent::Set(read("good").unwrap()).beside(existing(text));
    let refused = beside("io.systemd.credential:vmm.notify_socket=vsock-stream:2:1").unwrap_err();
    assert!(
        matches!(&refused, EmitError::BesideSet(name) if name.as_str() == "vmm.notify_socket"),
        "{refused}"
    );
    // Even a credential that is in the set, with the same value, is refused beside the set.
    assert!(beside("io.systemd.credential:db-password=correct horse").is_err());
    assert!(beside("io.smbios-creds.signature:AAAA").is_err());
    let strings = beside("vendor string").unwrap();
    assert_eq!(strings.texts().next().unwrap(), b"vendor string");
    assert_eq!(strings.texts().len(), 5);
    let elsewhere =
        Existing { elsewhere: vec![b"io.systemd.credential:x=1".to_vec().into()], ..Existing::default() };
    assert!(Sent::Set(read("good").unwrap()).beside(elsewhere).is_err());
    let items = Existing { items: vec![(credential("x", b"1"), Origin::File)], ..Existing::default() };
    assert!(Sent::Set(read("good").unwrap()).beside(items).is_err());
}

#[test]
fn signature_beside_a_manifest_of_ours_is_refused() {
    let existing = Existing {
        kept: vec![(b"io.smbios-creds.signature:AAAA".to_vec().into(), Origin::CommandLine)],
        ..Existing::default()
    };
    let error = OemStrings::beside(existing, &[credential("db", b"x")]).unwrap_err();
    assert!(matches!(error, EmitError::OtherSignature { string: 1 }), "{error}");
}

#[test]
fn line_that_is_no_string_of_a_set_is_refused_and_not_shown() {
    let packed = packed();
    for line in
        ["hunter2", "", "io.systemd.credentials:x=hunter2", "io.smbios-creds.receipt:vsock-stream:2:1"]
    {
        let with = [line.as_bytes(), b"\n", &packed].concat();
        let error = Set::read(&with).unwrap_err();
        assert!(matches!(error, SetError::Foreign { line: 1 }), "{line}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    for line in ["io.systemd.credential.binary:hunter2", "io.systemd.credential.binary:aHVudGVyMg=="] {
        let with = [line.as_bytes(), b"\n", &packed].concat();
        let error = Set::read(&with).unwrap_err();
        assert!(matches!(error, SetError::Undecodable { line: 1, .. }), "{line}: {error}");
    }
    // A line that another program wrote is refused, since not every command line may be able to carry it.
    for line in [
        "io.systemd.credential:db=secret",
        "io.systemd.credential.binary:db=c2Vj cmV0",
        "io.systemd.credential:db=a\0b",
    ] {
        let with = [line.as_bytes(), b"\n", &packed].concat();
        let error = Set::read(&with).unwrap_err();
        assert!(matches!(error, SetError::Foreign { line: 1 }), "{line}: {error}");
    }
    let with = [&b"io.systemd.credential.binary:evil=YQ==\n"[..], &packed].concat();
    assert!(matches!(Set::read(&with), Err(SetError::Unlisted { line: 1 })));
    // This line may be a value that has lost its name, so the error has only the line's number.
    let with = [&b"io.systemd.credential.binary:aHVudGVyMgI=\n"[..], &packed].concat();
    let error = Set::read(&with).unwrap_err();
    assert!(matches!(error, SetError::Unlisted { line: 1 }), "{error}");
    assert!(matches!(Set::read(b"\n"), Err(SetError::NoManifest)));
}

#[test]
fn encrypted_credential_is_sent_if_it_is_the_one_that_the_manifest_lists() {
    use sha2::Digest as _;
    use smbios_creds::format::manifest::{Ciphertext, Manifest};
    use smbios_creds::trust::sealed::Blob;

    let [sealed, other, null] =
        ["host", "tpm2-254", "null"].map(|kind| String::from_utf8(testkit::sealed(kind)).unwrap());
    let text = &sealed;
    let plain = "io.systemd.credential.binary:db=eA==";
    let manifest = |listed: Ciphertext| {
        let terms = Terms { encrypted: [(name("tls"), listed)].into(), ..Terms::default() };
        Manifest::new([&credential("db", b"x")], [7; 16]).unwrap().with_terms(terms).unwrap().encode()
    };
    let listed = Blob::new(text.as_bytes()).unwrap().ciphertext();
    let of = |line: &str, manifest: &str| {
        Set::read(format!("{plain}\n{ENCRYPTED_PREFIX}{line}\n{manifest}\n").as_bytes())
    };
    let sha256 = sha2::Sha256::digest(&null).into();
    let manifest_of_null = manifest(Ciphertext { size: null.len() as u64, sha256 });
    let null = of(&format!("tls={null}"), &manifest_of_null);
    assert!(matches!(null, Err(SetError::Ciphertext { line: 2 })), "everybody can open it");
    let manifest = manifest(listed);
    let set = |line: &str| of(line, &manifest);
    assert!(set(&format!("tls={text}")).unwrap().expect(&[name("tls"), name("db")]).is_ok());
    for line in [
        format!("tls={other}"),
        format!("tls={} {}", &text[..4], &text[4..]),
        format!("tls={}", &text[..text.len() - 4]),
        format!("db={text}"),
        "tls=c29t".to_owned(),
        "tls".to_owned(),
        "x=".to_owned(),
        String::new(),
    ] {
        assert!(matches!(set(&line), Err(SetError::Ciphertext { line: 2 })), "{line}");
    }
    let twice = format!("tls={text}\n{ENCRYPTED_PREFIX}tls={text}");
    assert!(matches!(set(&twice), Err(SetError::Twice(_))));
    let without = Set::read(format!("{plain}\n{manifest}\n").as_bytes());
    assert!(matches!(without, Err(SetError::Missing(missing)) if missing.as_str() == "tls"));
}

#[test]
fn fw_cfg_carries_one_signature_and_refuses_two() {
    use smbios_creds::host::plan::Plan;
    let plan = |case: &str| {
        let sends = Sent::Set(read(case).unwrap());
        Plan::new(smbios_creds::host::plan::Order { sends, ..order(QEMU, &["-M", "microvm"], Vec::new()) })
    };
    let planned = plan("good").unwrap();
    let items =
        planned.visible().iter().filter(|argument| argument.contains("io.smbios-creds/signature")).count();
    assert_eq!(items, 1);
    // The guest puts the prefix before the content of each item, and accepts the signature.
    let (arguments, files) = render(&planned.arguments);
    let from = tempfile::tempdir().unwrap();
    let paths = arguments.iter().filter_map(|argument| argument.strip_prefix("name=")?.split_once(",file="));
    for (index, ((path, _), content)) in paths.zip(&files).enumerate() {
        write_item(from.path(), u16::try_from(index).unwrap() + 32, path.as_bytes(), content);
    }
    let owner = fs::read_to_string(vector("owner.pub")).unwrap();
    let trust = ["check", "--trust", owner.lines().last().unwrap(), "--audience", "web01", "--from"];
    let check = || run(testkit::agent(&trust).arg(from.path()));
    assert_eq!(code(&check()), 0, "{}", stderr(&check()));
    let signature = testkit::fw_cfg::item(from.path(), 32 + 3);
    assert!(fs::read_to_string(signature.join("name")).unwrap().ends_with("signature\n"));
    fs::remove_dir_all(signature).unwrap();
    assert_eq!(code(&check()), 3, "without the item it is not signed");
    let error = plan("two-signatures").unwrap_err().to_string();
    assert!(error.contains("opt/io.smbios-creds/signature") && error.contains("carries only one"), "{error}");
    assert!(Path::new(&vector("two-signatures.strings")).is_file());
}
