//! Recordings: complete on demand. Otherwise without secrets, but the agent reads them like the original table.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use smbios_creds::format::base64;
use smbios_creds::format::manifest::{Manifest, PREFIX};
use smbios_creds::format::smbios::Table;
use smbios_creds::guest::record::redact::redact;
use smbios_creds::guest::source::{Input, dmi};
use smbios_creds::guest::verify::finding::{Finding, FindingKind};
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::set::verify_table;
use testkit::{
    END, agent, code, codes, entry_point_3, oem, recording, run, stderr, structure, table, testdata,
};

/// Returns everything that verification finds in a table, except the values.
fn seen(table: &Table) -> String {
    let delivery = verify_table(table, &Policy::default());
    let entries: Vec<_> = delivery
        .entries
        .iter()
        .map(|e| (&e.name, e.credential().map(|c| c.value.len()), e.encoding, &e.origin, e.refusal()))
        .collect();
    // Redaction replaces a string that cannot be decoded as a whole, so the details of this finding differ.
    let is_refused = |finding: &&Finding| !matches!(finding.kind, FindingKind::NotACredential { .. });
    let findings: Vec<_> = delivery.findings.iter().filter(is_refused).collect();
    let structures: Vec<_> = table.structures().iter().map(|s| (s.offset, s.end)).collect();
    let strings: Vec<_> = table.oem_structures().map(|oem| oem.structure.strings.clone()).collect();
    format!(
        "{entries:?} {findings:?} {structures:?} {strings:?} {:?} {}",
        table.faults(),
        delivery.proof.is_proven()
    )
}

fn redacted(entry_point: &[u8], data: &[u8]) -> Vec<u8> {
    let table = Table::parse(entry_point, data.to_vec());
    let redacted = redact(&table);
    assert_eq!(redacted.len(), data.len());
    assert_eq!(seen(&Table::parse(entry_point, redacted.clone())), seen(&table), "it reads the same");
    redacted
}

fn assert_gone(data: &[u8], secrets: &[&[u8]]) {
    for secret in secrets {
        assert!(!data.windows(secret.len()).any(|window| window == *secret), "{}", secret.escape_ascii());
    }
}

#[test]
fn every_recorded_table_reads_the_same_without_its_secrets() {
    for folder in testkit::recorded() {
        let read = |name| fs::read(folder.join(name)).unwrap();
        let (entry_point, data) = (read("smbios_entry_point"), read("DMI"));
        let redacted = redacted(&entry_point, &data);
        let table = dmi::read(Input::Recording(&folder)).unwrap().parse();
        for credential in verify_table(&table, &Policy::default()).intact().filter(|c| c.value.len() > 3) {
            assert_gone(&redacted, &[credential.value.expose()]);
        }
        assert_gone(&redacted, &[b"SN1\0", &[0x33, 0x22, 0x11, 0x00, 0x55]]);
    }
}

#[test]
fn whatever_may_be_a_secret_is_replaced_and_reads_the_same() {
    let set = [testkit::credential("t", b"hunter2"), testkit::credential("b", b"hunter3")];
    let manifest = Manifest::new(&set, [9; 16]).unwrap().encode();
    let strings: &[&[u8]] = &[
        b"io.systemd.credential:t=hunter2",
        b"io.systemd.credential.binary:b=aHVudGVyMw==",
        b"io.systemd.credential.binary:spare=aHVudGVyMx==",
        b"io.systemd.credential.binary:pad=aHVudGVyMw=",
        b"io.systemd.credential.binary:more=aHVudGVyMw==aHVudGVyMw==",
        b"io.systemd.credential.binary:bad=aHVud!Gunter",
        b"io.systemd.credential.binary:aHVudGVyMw==",
        b"io.systemd.credential:hunter5",
        b"io.systemd.credential:a/b=hunter6",
        b"io.systemd.credentials:x=hunter7",
        b"io.sytemd.credential:x=hunter8",
        b" IO.SYSTEMD.CREDENTIAL=hunter9",
        b"io.systemd.credentialhunter1",
        b"io.systemd.stub.kernel-cmdline-extra=hunter10",
        b"io.smbios-creds.manifest:hunter11",
        manifest.as_bytes(),
    ];
    let data = table(strings);
    let redacted = redacted(&entry_point_3(data.len()), &data);
    assert_gone(&redacted, &[b"hunter", b"Hunter", b"unter", b"aHVud", b"Gunter"]);
    // Of a string with a mistyped prefix, redaction keeps only the mistyped prefix.
    for kept in [
        "io.systemd.credentials:xxxxxxxxx\0",
        "io.systemd.credentialxxxxxxx\0",
        "io.sytemd.credential:xxxxxxxxx\0",
        " IO.SYSTEMD.CREDENTIAL=xxxxxxx\0",
    ] {
        assert!(redacted.windows(kept.len()).any(|window| window == kept.as_bytes()), "{kept}");
    }
    // Redaction replaces the digest, because with the digest of the real values, a weak value could be guessed.
    let digest = manifest.rsplit_once(':').unwrap().1;
    assert_gone(&redacted, &[digest.as_bytes()]);
}

#[test]
fn no_byte_of_a_refused_name_is_kept_in_a_recording() {
    for string in [
        [&b"io.systemd.credential.binary:"[..], &[b'n'; 255], b"Canary&=AA=="].concat(),
        b"io.systemd.credential:Canary/Canary=1".to_vec(),
        b"io.systemd.credential:..=Canary".to_vec(),
        b"io.systemd.credential:=Canary".to_vec(),
        b"io.systemd.credential.binary:Canary=*".to_vec(),
        b"io.systemd.credential.binary:CanaryCana8=".to_vec(),
    ] {
        let data = table(&[&string]);
        let redacted = redacted(&entry_point_3(data.len()), &data);
        assert_gone(&redacted, &[b"Canar", b"nnnn"]);
    }
}

#[test]
fn name_that_may_be_a_value_is_kept_only_if_manifest_lists_it() {
    let manifest = |name: &str, salt| {
        Manifest::new(&[testkit::credential(name, b"")], [salt; 16]).unwrap().encode().into_bytes()
    };
    for name in ["CanaryCanaryCA0", "Canary Canary CA0", "CA0"] {
        let string = format!("io.systemd.credential.binary:{name}=");
        let is_proven = |strings: &[&[u8]]| {
            let data = table(strings);
            let redacted = redacted(&entry_point_3(data.len()), &data);
            let delivery = verify_table(&testkit::parse(&redacted), &Policy::default());
            let is_kept = redacted.windows(string.len()).any(|window| window == string.as_bytes());
            assert_eq!(
                delivery.entries[0].name.as_ref().map(ToString::to_string).as_deref(),
                is_kept.then_some(name)
            );
            assert_eq!(delivery.proof.is_proven(), is_kept);
            is_kept
        };
        let nameless = string.as_bytes();
        assert!(is_proven(&[nameless, &manifest(name, 1)]));
        assert!(!is_proven(&[nameless]) && !is_proven(&[nameless, nameless]));
        assert!(!is_proven(&[nameless, &manifest("other", 1)]));
        // The first manifest counts. It lists the filler that redaction would write in place of the name, but this
        // filler must not be taken for a name.
        let filler = name.chars().map(|c| if c == ' ' { ' ' } else { 'A' }).collect::<String>();
        assert!(!is_proven(&[nameless, &manifest(&filler, 1), &manifest(name, 2)]));
    }
}

#[test]
fn address_for_a_receipt_is_kept_in_a_recording_and_other_text_is_not() {
    let recorded = |text: &str| {
        let data = table(&[format!("io.smbios-creds.receipt:{text}").as_bytes()]);
        let recorded = redacted(&entry_point_3(data.len()), &data);
        (recorded == data, recorded)
    };
    assert!(recorded("vsock-stream:2:8889").0);
    for text in ["hunter2", "vsock-stream:hunter2", "vsock-stream:2:hunter2", "vsock-stream:2:8889hunter2"] {
        let (is_kept, data) = recorded(text);
        assert!(!is_kept, "{text}");
        assert_gone(&data, &[b"hunter2"]);
    }
}

#[test]
fn manifest_after_an_empty_one_counts_in_a_recording_too() {
    let set = [testkit::credential("a", b"hunter2")];
    let (empty, right) = (Manifest::new([], [1; 16]).unwrap(), Manifest::new(&set, [2; 16]).unwrap());
    let (empty, right) = (empty.encode(), right.encode());
    let data = table(&[empty.as_bytes(), right.as_bytes(), b"io.systemd.credential:a=hunter2"]);
    let codes = |data: &[u8]| codes(&testkit::verdict(data));
    assert_eq!(codes(&redact(&testkit::parse(&data))), codes(&data));
    assert_eq!(codes(&data), ["manifest-invalid"]);
}

#[test]
fn a_proven_set_stays_proven_and_a_refuted_one_refuted() {
    let set = [testkit::credential("a", b"hunter2"), testkit::credential("z", b"")];
    let manifest = Manifest::new(&set, [9; 16]).unwrap().encode();
    for value in ["hunter2", "hunter3", "hunter"] {
        let value = format!("io.systemd.credential:a={value}");
        let data = table(&[manifest.as_bytes(), value.as_bytes(), b"io.systemd.credential:z="]);
        let redacted = redacted(&entry_point_3(data.len()), &data);
        assert_gone(&redacted, &[b"hunter", manifest.as_bytes()]);
    }
}

/// Returns a manifest as older hosts wrote it, without blanks after the JSON object.
fn without_blanks(manifest: &str) -> String {
    let text = manifest.strip_prefix(PREFIX).unwrap();
    let json = base64::decode(text.as_bytes()).unwrap();
    format!("{PREFIX}{}", *base64::encode(json.trim_ascii_end()))
}

#[test]
fn manifest_without_blanks_stays_one_in_a_recording() {
    for name in ["a", "aa", "aaa"] {
        let manifest = Manifest::new(&[testkit::credential(name, b"hunter2")], [9; 16]).unwrap().encode();
        let value = format!("io.systemd.credential:{name}=hunter2");
        let old = without_blanks(&manifest);
        let data = table(&[old.as_bytes(), value.as_bytes()]);
        let delivery =
            verify_table(&Table::parse(&entry_point_3(data.len()), data.clone()), &Policy::default());
        assert!(delivery.proof.is_proven(), "{name}");
        assert_gone(&redacted(&entry_point_3(data.len()), &data), &[b"hunter", old.as_bytes()]);
    }
}

#[test]
fn what_is_sent_again_stays_the_same_or_another() {
    let text = |value: &str| format!("io.systemd.credential:a={value}");
    let binary = |value: &str| format!("io.systemd.credential.binary:a={value}");
    let sets = [
        [text("hunter2"), text("hunter2"), text("hunter3")],
        [text("hunter2"), binary("aHVudGVyMg=="), binary("aHVu dGVy\nMw==")],
        [binary("aHVudGVyMg=="), binary("aHVudGVyMw=="), text("hunter2")],
        [text(""), binary(""), text("hunter2")],
    ];
    for set in sets {
        let data = table(&set.each_ref().map(String::as_bytes));
        let redacted = redacted(&entry_point_3(data.len()), &data);
        assert_gone(&redacted, &[b"hunter", b"aHVu", b"dGVy", b"Mg=="]);
    }
    // Two manifests that differ only in their digests. One of the digests is that of the set in the table.
    let manifest =
        |value: &[u8]| Manifest::new(&[testkit::credential("a", value)], [9; 16]).unwrap().encode();
    let (right, wrong) = (manifest(b"hunter2"), manifest(b"hunter3"));
    let value = text("hunter2");
    for pair in [[&right, &wrong], [&wrong, &right], [&right, &right], [&wrong, &wrong]] {
        let data = table(&[pair[0].as_bytes(), pair[1].as_bytes(), value.as_bytes()]);
        let redacted = redacted(&entry_point_3(data.len()), &data);
        assert_gone(&redacted, &[b"hunter", right.as_bytes(), wrong.as_bytes()]);
    }
}

#[test]
fn text_behind_a_break_is_replaced_and_breaks_the_same() {
    let head: &[&[u8]] = &[b"io.systemd.credential:a=1"];
    let tails: [&[u8]; 10] = [
        b"hun",
        // Type 11 structures that break: too short for a header, too short for the formatted area, and without an end
        // of the strings.
        b"\x0b",
        b"\x0b\x05\0",
        b"\x0b\x05\0\x01",
        b"\x0b\x05\0\x01\x02io.systemd.credential:b=hunter2\0hunter2",
        b"hunter2",
        b"x\xc8hunter2-hunter2",
        b"h\x03nter2-hunter2",
        b"x\x04unter2\0hunter2",
        b"\x80\x05unter2\0hunter2-",
    ];
    for tail in tails {
        let data = [oem(head).as_slice(), tail].concat();
        let redacted = redacted(&entry_point_3(data.len()), &data);
        assert_gone(&redacted[oem(head).len()..], &[b"hun", b"unter", b"nter"]);
    }
    // An empty string ended the set early; what follows is text that happens to read as a structure.
    let mut early = vec![11, 5, 3, 0, 2];
    early.extend_from_slice(b"io.systemd.credential:a=1\0\0");
    let text = [b"hunter2".as_slice(), &[b'y'; 300], b"\0hunter3\0\0"].concat();
    let data = [early.as_slice(), &text, END].concat();
    let redacted_data = redacted(&entry_point_3(data.len()), &data);
    assert_gone(&redacted_data, &[b"hunter", b"yyy"]);
    // The same, with text that begins like a structure of a type that SMBIOS defines.
    let data = [early.as_slice(), &structure(3, b"hunter2\x01\x02", &[b"hunter3", b"hunter4"]), END].concat();
    assert_gone(&redacted(&entry_point_3(data.len()), &data), &[b"hunter"]);
    // Text that reads as an inactive structure (Type 126, '~').
    let inactive = [b"~\x04\x00\xfehunter2\0\0", END].concat();
    assert_gone(
        &redacted(&entry_point_3(early.len() + inactive.len()), &[early, inactive].concat()),
        &[b"hunter"],
    );
    // Text after the end of the table is replaced. Padding there is kept, because the table before it was read to its
    // end.
    let data = [oem(head).as_slice(), END, b"hunter2"].concat();
    assert_gone(&redacted(&entry_point_3(data.len()), &data), &[b"hunter"]);
    for padding in [[0; 16], [u8::MAX; 16]] {
        let data = [END, &padding].concat();
        assert_eq!(redacted(&entry_point_3(data.len()), &data), data);
    }
}

#[test]
fn serial_numbers_asset_tags_and_the_uuid_are_replaced() {
    let at = |positions: &[usize], length: usize| {
        let mut formatted = vec![0; length - 4];
        for (string, position) in positions.iter().enumerate() {
            formatted[position - 4] = u8::try_from(string + 1).unwrap();
        }
        formatted
    };
    let mut system = at(&[0x04, 0x07], 0x1b);
    system[4..20].copy_from_slice(b"UUID-is-16-bytes");
    let structures = [
        structure(1, &system, &[b"maker-kept", b"SERIAL"]),
        structure(2, &at(&[0x04, 0x07, 0x08], 0x0f), &[b"maker-kept", b"SERIAL", b"ASSET"]),
        structure(3, &at(&[0x04, 0x07, 0x08], 0x15), &[b"maker-kept", b"SERIAL", b"ASSET"]),
        structure(4, &at(&[0x07, 0x20, 0x21], 0x30), &[b"maker-kept", b"SERIAL", b"ASSET"]),
        structure(17, &at(&[0x17, 0x18, 0x19], 0x28), &[b"maker-kept", b"SERIAL", b"ASSET"]),
        structure(22, &at(&[0x05, 0x07], 0x1a), &[b"maker-kept", b"SERIAL"]),
        structure(39, &at(&[0x07, 0x08, 0x09], 0x16), &[b"maker-kept", b"SERIAL", b"ASSET"]),
        // A structure whose string numbers refer to no string, so that no field says what its string is. Then a
        // structure that is too short for most fields.
        structure(2, &at(&[0x04], 0x0f).iter().map(|_| 9).collect::<Vec<u8>>(), &[b"UUID"]),
        structure(2, &[1], &[b"maker-kept"]),
        structure(200, b"vendor", &[b"VENDOR"]),
    ];
    let data = [structures.concat().as_slice(), END].concat();
    let redacted = redacted(&entry_point_3(data.len()), &data);
    assert_gone(&redacted, &[b"SERIAL", b"ASSET", b"UUID", b"16-bytes", b"VENDOR", b"vendor"]);
    assert_eq!(redacted.windows(10).filter(|w| *w == b"maker-kept").count(), 8);
}

fn record(from: &Path, to: &Path, more: &[&str]) -> std::process::Output {
    run(agent(&["record"]).arg(to).arg("--from").arg(from).args(more))
}

#[test]
fn a_faithful_copy_is_for_its_owner_alone_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("new");
    assert_eq!(code(&record(&testdata("qemu-7.2-pc"), &to, &["--with-secrets"])), 0);
    for file in ["smbios_entry_point", "DMI"] {
        assert_eq!(fs::read(to.join(file)).unwrap(), fs::read(testdata("qemu-7.2-pc").join(file)).unwrap());
        assert_eq!(fs::metadata(to.join(file)).unwrap().mode() & 0o7777, 0o600);
    }
    assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o700);
    let before = fs::read(to.join("DMI")).unwrap();
    let output = record(&testdata("qemu-7.2-q35"), &to, &["--with-secrets"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("exists, and a recording never overwrites"));
    assert_eq!(fs::read(to.join("DMI")).unwrap(), before);
    // One of the two files already exists: the recording fails, and does not leave the other file.
    fs::remove_file(to.join("smbios_entry_point")).unwrap();
    assert_eq!(code(&record(&testdata("qemu-7.2-q35"), &to, &[])), 1);
    assert!(!to.join("smbios_entry_point").exists());
}

#[test]
fn a_recording_is_redacted_unless_told_otherwise() {
    let source = recording(&table(&[b"io.systemd.credential:db=hunter2"]));
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("new");
    assert_eq!(code(&record(source.path(), &to, &[])), 0);
    assert_gone(&fs::read(to.join("DMI")).unwrap(), &[b"hunter"]);
    let delivery = verify_table(&dmi::read(Input::Recording(&to)).unwrap().parse(), &Policy::default());
    assert_eq!((codes(&delivery).len(), delivery.intact().next().unwrap().value.len()), (0, 7));
}

#[test]
fn recording_that_is_ended_by_a_signal_is_whole_or_absent() {
    let source = recording(&table(&[b"io.systemd.credential:a=one"]));
    let place = tempfile::tempdir().unwrap();
    let (trace, target) = (place.path().join("trace"), place.path().join("recorded"));
    let mut whole = 0;
    for call in ["openat", "write", "fsync"] {
        for n in 1.. {
            let mut command = Command::new("env");
            command.args(["--default-signal", "strace", "-f", "-qq", "-o"]).arg(&trace).arg("-e");
            command.arg(format!("inject={call}:signal=TERM:when={n}"));
            command.arg(env!("CARGO_BIN_EXE_smbios-creds")).args(["record", "--with-secrets", "--from"]);
            let output = run(command.arg(source.path()).arg(&target));
            if !fs::read_to_string(&trace).unwrap().contains("--- SIG") {
                assert!(n > 1, "{call}: {}", stderr(&output));
                break;
            }
            if target.exists() {
                for file in ["smbios_entry_point", "DMI"] {
                    let sent = fs::read(source.path().join(file)).unwrap();
                    assert_eq!(fs::read(target.join(file)).ok(), Some(sent), "{file}: {call} {n}");
                }
                fs::remove_dir_all(&target).unwrap();
                whole += 1;
            }
        }
        _ = fs::remove_dir_all(&target);
    }
    assert!(whole > 3, "{whole}");
}
