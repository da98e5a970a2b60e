//! Encrypted credentials in the guest: verified, listed, written where systemd opens them, and recorded.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use smbios_creds::Name;
use smbios_creds::format::base64;
use smbios_creds::format::manifest::{Ciphertext, Manifest, Terms};
use smbios_creds::guest::record::redact::redact;
use smbios_creds::guest::verify::delivery::{Delivery, Refusal};
use smbios_creds::guest::verify::policy::{ManifestPolicy, Policy};
use smbios_creds::guest::verify::set::verify_table;
use smbios_creds::trust::sealed::{Blob, PREFIX, Sealed};
use testkit::{agent, code, codes, credential, parse, recording, run, stderr, stdout, table, testdata};

const HOST: &str = "host";
const TPM2: &str = "tpm2-262";

fn file(kind: &str) -> Vec<u8> {
    fs::read(testdata("sealed").join(format!("{kind}.cred"))).unwrap()
}

fn sealed(name: &str, kind: &str) -> Sealed {
    Sealed { name: Name::new(name).unwrap(), blob: Blob::new(&file(kind)).unwrap() }
}

fn string(name: &str, kind: &str) -> Vec<u8> {
    [
        PREFIX.as_bytes(),
        name.as_bytes(),
        b"=",
        base64::encode(&base64::decode(&file(kind)).unwrap()).as_bytes(),
    ]
    .concat()
}

/// A manifest of these plain credentials and these encrypted ones.
fn manifest(plain: &[(&str, &[u8])], encrypted: &[(&str, Ciphertext)]) -> Vec<u8> {
    let plain: Vec<_> = plain.iter().map(|(name, value)| credential(name, value)).collect();
    let encrypted: BTreeMap<_, _> =
        encrypted.iter().map(|(name, text)| (Name::new(name).unwrap(), *text)).collect();
    let manifest = Manifest::new(&plain, [7; 16]).unwrap();
    manifest.with_terms(Terms { encrypted, ..Terms::default() }).unwrap().encode().into_bytes()
}

fn verified(strings: &[Vec<u8>], policy: &Policy) -> Delivery {
    let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
    verify_table(&parse(&table(&strings)), policy)
}

fn names(delivery: &Delivery) -> Vec<&str> {
    delivery.intact_sealed().map(|sealed| sealed.name.as_str()).collect()
}

const PLAIN: &[u8] = b"io.systemd.credential:db=hunter2";

#[test]
fn manifest_proves_ciphertexts_whole() {
    let tls = sealed("tls", TPM2).blob.ciphertext();
    let set = [PLAIN.to_vec(), string("tls", TPM2), manifest(&[("db", b"hunter2")], &[("tls", tls)])];
    let policy = Policy { manifest: ManifestPolicy::Require, ..Policy::default() };
    let delivery = verified(&set, &policy);
    assert_eq!((names(&delivery), codes(&delivery)), (vec!["tls"], vec![]));
    assert!(delivery.passed() && delivery.proof.is_proven());
    assert_eq!((delivery.tally.expected, delivery.tally.verified), (2, 2));
    // A set that contains only ciphertexts.
    let delivery = verified(&[string("tls", TPM2), manifest(&[], &[("tls", tls)])], &policy);
    assert!(delivery.passed() && delivery.proof.is_proven(), "{:?}", codes(&delivery));
}

#[test]
fn ciphertext_that_differs_from_the_manifest_is_refused() {
    let right = sealed("tls", TPM2).blob.ciphertext();
    let other_size = Ciphertext { size: right.size + 4, ..right };
    let other_digest = Ciphertext { sha256: [0; 32], ..right };
    for (listed, found, refusal) in [
        (other_size, "size-differs", Refusal::SizeDiffers),
        (other_digest, "ciphertext-differs", Refusal::CiphertextDiffers),
    ] {
        let delivery =
            verified(&[string("tls", TPM2), manifest(&[], &[("tls", listed)])], &Policy::default());
        assert_eq!((codes(&delivery), names(&delivery)), (vec![found.to_owned()], vec![]));
        assert_eq!(delivery.sealed[0].intact().unwrap_err(), refusal);
        assert!(!delivery.passed() && !delivery.proof.is_proven());
    }
    let delivery =
        verified(&[PLAIN.to_vec(), manifest(&[("db", b"hunter2")], &[("tls", right)])], &Policy::default());
    assert_eq!(codes(&delivery), ["missing"]);
    assert!(!delivery.passed() && !delivery.proof.is_proven());
    assert_eq!((delivery.tally.expected, delivery.tally.verified), (2, 1));
}

#[test]
fn ciphertext_that_the_manifest_does_not_list_proves_nothing() {
    let set = [PLAIN.to_vec(), string("tls", TPM2), manifest(&[("db", b"hunter2")], &[])];
    let delivery = verified(&set, &Policy::default());
    assert_eq!((codes(&delivery), delivery.proof.is_proven()), (vec!["not-listed".to_owned()], false));
    let policy = Policy { manifest: ManifestPolicy::Require, ..Policy::default() };
    let delivery = verified(&set, &policy);
    assert!(!delivery.passed() && names(&delivery).is_empty());
}

#[test]
fn ciphertext_sent_as_plain_is_never_given_to_a_service() {
    let raw = base64::decode(&file(TPM2)).unwrap();
    let plain =
        |value: &[u8]| [b"io.systemd.credential.binary:db=", base64::encode(value).as_bytes()].concat();
    let text = [b"io.systemd.credential:db=".as_slice(), base64::encode(&raw).as_bytes()].concat();
    for string in [plain(&raw), plain(&file(TPM2)), text, plain(&base64::decode(&file("null")).unwrap())] {
        let delivery = verified(&[string], &Policy::default());
        assert_eq!(codes(&delivery), ["sent-as-plain"]);
        assert_eq!(delivery.entries[0].refusal(), Some(Refusal::SentAsPlain));
        assert!(!delivery.passed() && delivery.intact().next().is_none());
    }
}

#[test]
fn name_sent_plain_and_encrypted_is_refused_in_both_forms() {
    let delivery = verified(&[string("db", HOST), PLAIN.to_vec()], &Policy::default());
    assert_eq!(codes(&delivery), ["also-plain"]);
    assert!(!delivery.passed() && names(&delivery).is_empty() && delivery.intact().next().is_none());
}

#[test]
fn first_of_several_ciphertexts_of_a_name_counts() {
    let again = verified(&[string("db", HOST), string("db", HOST)], &Policy::default());
    assert_eq!(
        (codes(&again), again.passed(), names(&again)),
        (vec!["duplicate".to_owned()], true, vec!["db"])
    );
    let other = verified(&[string("db", HOST), string("db", TPM2)], &Policy::default());
    assert!(!other.passed());
    assert_eq!(other.intact_sealed().next().unwrap().blob.key().as_str(), "host");
}

#[test]
fn null_key_is_refused_by_name() {
    let root = system(&[string("db", "null")]);
    let import = import(&root, &[]);
    assert_eq!(code(&import), 3);
    assert!(stderr(&import).contains("credential db: encrypted with the null key"), "{}", stderr(&import));
    assert!(!root.path().join("run/credstore.encrypted").exists());
    let list = run(agent(&["list", "--root"]).arg(root.path()));
    assert!(stdout(&list).contains("null-key"), "{}", stdout(&list));
}

#[test]
fn string_without_a_blob_shows_neither_name_nor_value() {
    let root =
        system(&[[PREFIX.as_bytes(), b"aHVudGVyMg=="].concat(), [PREFIX.as_bytes(), b"db=hunter2"].concat()]);
    let import = import(&root, &["--log-level=trace"]);
    assert_eq!(code(&import), 3);
    let shown = stderr(&import) + &stdout(&import);
    assert!(!shown.contains("aHV") && !shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("not-a-blob"), "{shown}");
}

/// Makes a system whose PID 1 is systemd, with a table of these strings.
fn system(strings: &[Vec<u8>]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let tables = root.path().join("sys/firmware/dmi/tables");
    fs::create_dir_all(&tables).unwrap();
    fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
    let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
    let recorded = recording(&table(&strings));
    for file in ["smbios_entry_point", "DMI"] {
        fs::copy(recorded.path().join(file), tables.join(file)).unwrap();
    }
    root
}

fn import(root: &tempfile::TempDir, arguments: &[&str]) -> Output {
    run(agent(&["import", "--confidential=allow"]).args(arguments).arg("--root").arg(root.path()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn ciphertext_goes_to_the_encrypted_credstore_and_nowhere_else() {
    let root = system(&[PLAIN.to_vec(), string("tls", TPM2)]);
    let store = root.path().join("run/credstore.encrypted");
    fs::create_dir(&store).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(store.join("other"), "of another program").unwrap();
    let first = import(&root, &["--require", "tls"]);
    assert_eq!(code(&first), 0, "{}", stderr(&first));
    let shown = stdout(&first);
    assert!(shown.contains("encrypted:tpm2-pinned") && shown.contains("imported"), "{shown}");
    assert_eq!(fs::read_to_string(store.join("tls")).unwrap(), sealed("tls", TPM2).blob.text());
    assert_eq!((mode(&store), mode(&store.join("tls"))), (0o700, 0o400));
    assert_eq!(fs::read(store.join("other")).unwrap(), b"of another program");
    // In this made-up system, systemd has imported nothing, so plain credentials are written to credstore.
    assert!(root.path().join("run/credstore/db").exists());
    let blob = sealed("tls", TPM2).blob;
    let found =
        Command::new("grep").args(["-rlaF", &blob.text()[..60]]).arg(root.path().join("run")).output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    assert_eq!(found.trim_end(), store.join("tls").to_str().unwrap());

    let second = import(&root, &[]);
    assert_eq!(code(&second), 0);
    assert!(stderr(&second).contains("already contains 1 encrypted (tpm2-pinned)"), "{}", stderr(&second));
    let check = run(agent(&["check", "--json=short", "--root"]).arg(root.path()).env("PATH", "/nowhere"));
    assert!(stdout(&check).contains(r#""encoding":"encrypted""#), "{}", stdout(&check));
    assert!(stdout(&check).contains(r#""key":"tpm2-pinned""#), "{}", stdout(&check));
}

#[test]
fn check_names_what_systemd_cannot_open() {
    if !testkit::is_root() {
        eprintln!("SKIPPED: only root may use the key of a machine");
        return;
    }
    let root = system(&[string("tls", TPM2), string("web", HOST)]);
    let path = tempfile::tempdir().unwrap();
    // A script in place of systemd-creds. It can decrypt only the credential `web`.
    let asked = path.path().join("asked");
    let script =
        format!("#!/bin/sh\ncat >>{0}\necho value\n[ \"$*\" = 'decrypt --name=web - -' ]\n", asked.display());
    testkit::write_program(&path.path().join("systemd-creds"), script, 0o755);
    let check = |path: &str| {
        run(agent(&["check", "--confidential=allow", "--root"]).arg(root.path()).env("PATH", path))
    };
    let checked = check(&format!("{}:/usr/bin:/bin", path.path().display()));
    assert_eq!(code(&checked), 3);
    let shown = stdout(&checked);
    assert!(shown.contains("credential tls: systemd-creds cannot decrypt it on this machine"), "{shown}");
    assert!(!shown.contains("web: systemd-creds cannot decrypt") && !shown.contains("value\n"), "{shown}");
    let both = [sealed("tls", TPM2).blob.text(), sealed("web", HOST).blob.text()].concat();
    assert_eq!(fs::read_to_string(asked).unwrap(), both);
    // Without systemd-creds, check does not know whether the credentials can be decrypted, and passes.
    assert_eq!(code(&check("/nowhere")), 0);
}

#[test]
fn new_encrypted_credstore_is_for_its_owner_only() {
    let root = system(&[string("tls", TPM2)]);
    assert_eq!(code(&import(&root, &[])), 0);
    assert_eq!(mode(&root.path().join("run/credstore.encrypted")), 0o700);
}

#[test]
fn ciphertext_without_systemd_fails_the_import_and_is_not_written() {
    let root = system(&[PLAIN.to_vec(), string("tls", TPM2)]);
    fs::remove_dir(root.path().join("run/systemd/system")).unwrap();
    let import = import(&root, &["--into=credstore"]);
    assert_eq!(code(&import), 3, "{}", stderr(&import));
    assert!(stderr(&import).contains("only systemd as PID 1 can decrypt it"), "{}", stderr(&import));
    assert!(!root.path().join("run/credstore.encrypted").exists());
    assert!(root.path().join("run/credstore/db").exists());
}

#[test]
fn required_ciphertext_that_is_not_written_keeps_a_program_from_starting() {
    let root = system(&[PLAIN.to_vec(), string("tls", TPM2)]);
    let into = format!("--into={}", root.path().join("own").display());
    let exec = |require| {
        run(agent(&["exec", "--confidential=allow", "--require", require, &into, "--root"])
            .arg(root.path())
            .args(["--", "true"]))
    };
    assert_eq!(code(&exec("db")), 0);
    assert_eq!(code(&exec("tls")), 3);
    assert!(!root.path().join("own/tls").exists() && root.path().join("own/db").exists());
}

#[test]
fn ciphertext_is_not_printed_and_the_message_says_who_can() {
    let root = system(&[string("tls", TPM2)]);
    let cat = run(agent(&["cat", "tls", "--confidential=allow", "--root"]).arg(root.path()));
    assert_eq!((code(&cat), stdout(&cat).as_str()), (3, ""));
    assert!(stderr(&cat).contains("systemd-creds decrypt --name=tls"), "{}", stderr(&cat));
}

#[test]
fn recording_reads_the_same_without_its_ciphertexts() {
    let tls = sealed("tls", TPM2).blob.ciphertext();
    let wrong = Ciphertext { sha256: [9; 32], ..sealed("host", HOST).blob.ciphertext() };
    let listed = manifest(&[("db", b"hunter2")], &[("tls", tls), ("host", wrong)]);
    let set = [
        PLAIN.to_vec(),
        string("tls", TPM2),
        string("host", HOST),
        string("nobody", "null"),
        string("tls", TPM2),
        string("host", TPM2),
        [b"io.systemd.credential:plain=".as_slice(), &file("tpm2-254")].concat(),
        [b"io.systemd.credential.binary:raw=".as_slice(), &string("", TPM2)[PREFIX.len() + 1..]].concat(),
        [PREFIX.as_bytes(), b"aHVudGVyMg=="].concat(),
        [PREFIX.as_bytes(), b"no=hunter2hunter2"].concat(),
        listed,
    ];
    let strings: Vec<&[u8]> = set.iter().map(Vec::as_slice).collect();
    let whole = parse(&table(&strings));
    let redacted = redact(&whole);
    for kind in [TPM2, HOST, "null"] {
        let text = base64::encode(&base64::decode(&file(kind)).unwrap());
        let after_header = &text.as_bytes()[48..72];
        assert!(!redacted.windows(24).any(|window| window == after_header), "{kind}");
    }
    assert!(!redacted.windows(7).any(|window| window == b"hunter2"));
    let seen = |table| {
        let delivery = verify_table(&table, &Policy::default());
        let row = |entry: &smbios_creds::guest::verify::sealed_entry::SealedEntry| {
            let size = entry.sealed().map(|sealed| (sealed.blob.text().len(), sealed.blob.key().as_str()));
            (entry.name.clone(), size, entry.origin.clone(), entry.intact().err())
        };
        let rows: Vec<_> = delivery.sealed.iter().map(row).collect();
        (rows, codes(&delivery), delivery.passed())
    };
    assert_eq!(seen(parse(&redacted)), seen(whole));
}
