//! Credentials that come by `fw_cfg`, with SMBIOS and without it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Output;

use smbios_creds::format::credential::Credential;
use smbios_creds::format::fw_cfg::MANIFEST;
use smbios_creds::format::manifest::{Manifest, PREFIX};
use smbios_creds::guest::source::{ALL, Input, SourceError, receive};
use smbios_creds::guest::verify::delivery::{Delivery, Entry, Refusal};
use smbios_creds::guest::verify::finding::{FindingKind, Severity};
use smbios_creds::guest::verify::policy::{ManifestPolicy, Policy};
use smbios_creds::guest::verify::set::verify;
use tempfile::TempDir;
use testkit::fw_cfg::{item, write_credential, write_item};
use testkit::{agent, code, codes, credential, intact, recording, run, run_on, stderr, stdout, table};

fn received(at: &Path) -> Result<Delivery, SourceError> {
    let policy = Policy { manifest: ManifestPolicy::Require, ..Policy::default() };
    receive(ALL, Input::Recording(at)).map(|received| verify(received, &policy))
}

fn delivery(at: &Path) -> Delivery {
    received(at).unwrap()
}

/// The text of a manifest, as an OEM string has it.
fn manifest(set: &[Credential]) -> String {
    Manifest::new(set, [3; 16]).unwrap().encode()
}

fn write_manifest(at: &Path, key: u16, manifest: &str) {
    write_item(at, key, MANIFEST.as_bytes(), manifest.strip_prefix(PREFIX).unwrap().as_bytes());
}

#[test]
fn values_arrive_byte_for_byte_and_the_manifest_proves_them() {
    let folder = TempDir::new().unwrap();
    let every: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = every.iter().copied().cycle().take(300_000).collect();
    let values: [(&str, &[u8]); 4] =
        [("every", &every), ("large", &large), (".dot", b"1"), ("28-characters-are-the-most-x", b"\n")];
    for (key, (name, value)) in (32..).zip(values) {
        write_credential(folder.path(), key, name, value);
    }
    write_item(folder.path(), 50, b"etc/smbios/smbios-tables", b"io.systemd.credential:not=read");
    write_item(folder.path(), 51, b"opt/io.systemd.credential/no", b"not ours");
    write_manifest(folder.path(), 31, &manifest(&values.map(|(name, value)| credential(name, value))));
    let delivery = delivery(folder.path());
    assert_eq!(intact(&delivery), values);
    assert!(delivery.passed() && delivery.proof.is_proven() && delivery.findings.is_empty());

    let output = run_on(folder.path(), &["check", "--manifest=require"]);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{}", stdout(&output));
    let output = run_on(folder.path(), &["cat", "every"]);
    assert_eq!((code(&output), output.stdout), (0, every));
    let list = stdout(&run_on(folder.path(), &["list"]));
    let line = list.lines().find(|line| line.starts_with("every")).unwrap();
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(cells, ["every", "256B", "raw", "intact", "qemu_fw_cfg/by_key/32"]);
    let json: serde_json::Value =
        serde_json::from_slice(&run_on(folder.path(), &["list", "--json"]).stdout).unwrap();
    assert_eq!(json[0]["source"], serde_json::json!({"file": "qemu_fw_cfg/by_key/32"}));
    assert_eq!(json[0]["encoding"], "raw");
}

#[test]
fn manifest_of_either_channel_covers_the_whole_set() {
    let all = manifest(&[credential("a", b"from fw_cfg"), credential("b", b"from SMBIOS")]);
    let string: &[u8] = b"io.systemd.credential:b=from SMBIOS";
    for by_fw_cfg in [true, false] {
        let strings = if by_fw_cfg { vec![string] } else { vec![string, all.as_bytes()] };
        let folder = recording(&table(&strings));
        write_credential(folder.path(), 40, "a", b"from fw_cfg");
        if by_fw_cfg {
            write_manifest(folder.path(), 41, &all);
        }
        let proven = delivery(folder.path());
        assert!(proven.proof.is_proven() && proven.findings.is_empty(), "{:?}", proven.findings);
        // A value that fw_cfg changes or loses is found.
        fs::write(item(folder.path(), 40).join("raw"), b"FROM fw_cfg").unwrap();
        assert_eq!(codes(&delivery(folder.path())), ["digest-differs"]);
        fs::remove_dir_all(item(folder.path(), 40)).unwrap();
        let lost = delivery(folder.path());
        assert_eq!(codes(&lost), ["missing"]);
        assert!(!lost.proof.is_proven());
    }
}

#[test]
fn same_value_in_both_channels_is_a_note_and_another_one_an_error() {
    let all = manifest(&[credential("db", b"hunter2")]);
    let folder = recording(&table(&[b"io.systemd.credential:db=hunter2", all.as_bytes()]));
    write_credential(folder.path(), 40, "db", b"hunter2");
    write_manifest(folder.path(), 41, &all);
    let copied = delivery(folder.path());
    assert_eq!(codes(&copied), ["manifest-again", "duplicate"]);
    assert!(copied.findings.iter().all(|finding| finding.severity == Severity::Note));
    assert!(copied.proof.is_proven());
    assert_eq!(copied.entries[1].refusal(), Some(Refusal::Copy));
    let output = run_on(folder.path(), &["check", "--manifest=require"]);
    assert_eq!(code(&output), 0);
    assert!(
        stdout(&output).starts_with("passed: 1 credential, the manifest proves that the set is complete\n")
    );
    assert!(stdout(&output).contains("nothing: the host also sends it by fw_cfg"), "{}", stdout(&output));

    write_credential(folder.path(), 40, "db", b"hunter3");
    let contradicted = delivery(folder.path());
    let kinds: Vec<_> =
        contradicted.findings.iter().map(|finding| (&finding.kind, finding.severity)).collect();
    assert!(kinds.contains(&(&FindingKind::Duplicate { identical: false }, Severity::Error)), "{kinds:?}");
    assert_eq!(contradicted.entries[1].refusal(), Some(Refusal::Duplicate));
    assert_eq!(code(&run_on(folder.path(), &["check"])), 3);
    // The first of two credentials with the same name counts, as in systemd.
    let policy = Policy { manifest: ManifestPolicy::Ignore, ..Policy::default() };
    let unproven = verify(receive(ALL, Input::Recording(folder.path())).unwrap(), &policy);
    assert_eq!(intact(&unproven), [("db", &b"hunter3"[..])]);

    // A credential that comes twice by the same channel is still a warning.
    let twice = recording(&table(&[b"io.systemd.credential:db=1", b"io.systemd.credential:db=1"]));
    let delivery = delivery(twice.path());
    let is_again = |kind: &FindingKind| matches!(kind, FindingKind::Duplicate { identical: true });
    let finding = delivery.findings.iter().find(|finding| is_again(&finding.kind)).unwrap();
    assert_eq!(finding.severity, Severity::Warning);
}

#[test]
fn table_without_oem_strings_is_no_loss_if_fw_cfg_has_credentials() {
    let folder = recording(testkit::END);
    assert!(codes(&delivery(folder.path())).contains(&"no-oem-strings".to_owned()));
    write_credential(folder.path(), 40, "db", b"hunter2");
    assert_eq!(codes(&delivery(folder.path())), ["manifest-missing"]);
    assert_eq!(code(&run_on(folder.path(), &["check", "--require", "db"])), 0);
    assert_eq!(code(&run_on(folder.path(), &["check", "--require", "other"])), 3);
}

#[test]
fn item_that_is_no_credential_is_refused_and_its_name_not_shown() {
    let folder = TempDir::new().unwrap();
    write_credential(folder.path(), 40, "hunter2/hunter3", b"hunter4");
    write_credential(folder.path(), 41, "\x1b[31mhunter5\n", b"hunter6");
    write_credential(folder.path(), 42, "", b"hunter7");
    write_credential(folder.path(), 43, "large", b"");
    fs::write(item(folder.path(), 43).join("size"), "1048577\n").unwrap();
    write_credential(folder.path(), 44, "kept", b"1");
    write_item(folder.path(), 45, MANIFEST.as_bytes(), b"hunter8");
    let delivery = delivery(folder.path());
    let refused = "item-not-a-credential";
    assert_eq!(codes(&delivery), [refused, refused, refused, refused, "manifest-invalid"]);
    assert_eq!(intact(&delivery), [("kept", &b"1"[..])]);
    let refusals: Vec<_> = delivery.entries.iter().filter_map(Entry::refusal).collect();
    assert_eq!(refusals, [Refusal::BadName, Refusal::BadName, Refusal::BadName, Refusal::TooLarge]);
    let text = "the fw_cfg item of 1048577 bytes has a value of 1048577 bytes, at most 1048576 are allowed \
                (qemu_fw_cfg/by_key/43)";
    assert_eq!(delivery.findings[3].to_string(), text);
    for verb in [&["list"][..], &["list", "--json"], &["check"], &["check", "--json"]] {
        let Output { stdout, stderr, .. } = run_on(folder.path(), verb);
        let all = [stdout, stderr].concat();
        assert!(!all.windows(6).any(|window| window == b"hunter"), "{}", all.escape_ascii());
        assert!(all.iter().all(|&byte| (b' '..=b'~').contains(&byte) || byte == b'\n'));
    }
}

#[test]
fn item_of_another_size_than_announced_fails() {
    for content in [&b"hunter"[..], b"hunter22", b""] {
        let folder = TempDir::new().unwrap();
        write_credential(folder.path(), 40, "db", b"hunter2");
        fs::write(item(folder.path(), 40).join("raw"), content).unwrap();
        assert!(matches!(received(folder.path()), Err(SourceError::OtherSize { size: 7, .. })));
    }
    for size in ["", "-1", "7 7", "4294967296", "0x7", "seven"] {
        let folder = TempDir::new().unwrap();
        write_credential(folder.path(), 40, "db", b"hunter2");
        fs::write(item(folder.path(), 40).join("size"), size).unwrap();
        assert!(matches!(received(folder.path()), Err(SourceError::NotASize(_))), "{size}");
    }
}

#[test]
fn link_in_a_recording_is_not_followed() {
    let folder = TempDir::new().unwrap();
    let elsewhere = TempDir::new().unwrap();
    write_credential(elsewhere.path(), 40, "db", b"hunter2");
    write_credential(folder.path(), 40, "db", b"hunter2");
    for file in ["raw", "name", "size"] {
        let path = item(folder.path(), 40).join(file);
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(item(elsewhere.path(), 40).join(file), &path).unwrap();
        assert!(matches!(received(folder.path()), Err(SourceError::NotAFile(_))), "{file}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(received(folder.path()), Err(SourceError::NotAFile(_))), "{file}");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, content).unwrap();
    }
    assert_eq!(delivery(folder.path()).entries.len(), 1);
    symlink(item(elsewhere.path(), 40), item(folder.path(), 41)).unwrap();
    assert!(received(folder.path()).is_err());
}

#[test]
fn directory_that_the_kernel_would_not_name_is_not_read() {
    let folder = TempDir::new().unwrap();
    write_credential(folder.path(), 40, "db", b"hunter2");
    for name in ["040", "+40", "65536", "x", "40 "] {
        let directory = folder.path().join("qemu_fw_cfg/by_key").join(name);
        fs::create_dir(&directory).unwrap();
        fs::copy(item(folder.path(), 40).join("name"), directory.join("name")).unwrap();
    }
    assert_eq!(delivery(folder.path()).entries.len(), 1);
}

#[test]
fn more_than_a_host_sends_is_not_read() {
    let folder = TempDir::new().unwrap();
    write_credential(folder.path(), 40, "a", &vec![b'a'; 1_048_576]);
    write_credential(folder.path(), 41, "b", &vec![b'b'; 65_536]);
    assert_eq!(delivery(folder.path()).entries.len(), 2);
    write_credential(folder.path(), 42, "c", b"c");
    assert!(matches!(received(folder.path()), Err(SourceError::TooMuch { .. })));
    let output = run_on(folder.path(), &["check"]);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("has more than 1114112 bytes of credentials"));
}

/// Runs the agent on a system below a root directory.
fn on_system(root: &Path, arguments: &[&str]) -> Output {
    run(agent(arguments).arg("--root").arg(root))
}

#[test]
fn running_system_without_smbios_imports_what_fw_cfg_has() {
    let root = TempDir::new().unwrap();
    let firmware = root.path().join("sys/firmware");
    fs::create_dir_all(&firmware).unwrap();
    write_credential(&firmware, 40, "db", b"hunter2");
    write_manifest(&firmware, 41, &manifest(&[credential("db", b"hunter2")]));
    let check = ["check", "--confidential=allow", "--manifest=require"];
    let output = on_system(root.path(), &check);
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    let into = root.path().join("into");
    let arguments =
        ["import", "--confidential=allow", "--manifest=require", "--into", into.to_str().unwrap()];
    assert_eq!(code(&on_system(root.path(), &arguments)), 0);
    assert_eq!(fs::read(into.join("db")).unwrap(), b"hunter2");
    assert_eq!(fs::read_dir(&into).unwrap().count(), 1, "a manifest is no credential");

    // A container sees the fw_cfg items of the machine in which it runs.
    fs::create_dir_all(root.path().join("run/host")).unwrap();
    fs::write(root.path().join("run/host/container-manager"), "x").unwrap();
    assert_eq!(code(&on_system(root.path(), &["check"])), 5);
    assert_eq!(code(&on_system(root.path(), &check)), 0);
}

#[test]
fn machine_of_qemu_without_the_driver_is_told_to_load_it() {
    for device in ["sys/bus/acpi/devices/QEMU0002:00", "sys/firmware/devicetree/base/fw-cfg@9020000"] {
        let root = TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("sys/firmware")).unwrap();
        let check = || on_system(root.path(), &["check", "--confidential=allow"]);
        let without = check();
        assert_eq!(code(&without), 4);
        assert!(stderr(&without).contains("error: no SMBIOS: "), "{}", stderr(&without));
        fs::create_dir_all(root.path().join(device)).unwrap();
        let output = check();
        assert_eq!(code(&output), 4);
        assert!(stderr(&output).contains("'modprobe qemu_fw_cfg'"), "{}", stderr(&output));
        // The driver is loaded, and the host sent nothing.
        write_item(&root.path().join("sys/firmware"), 32, b"etc/e820", b"");
        assert_eq!((code(&check()), stderr(&check())), (4, stderr(&without)));
        // If the kernel shows no table in /sys/firmware/dmi, and the driver is missing too, the error is about the table.
        fs::remove_dir_all(root.path().join("sys/firmware/qemu_fw_cfg")).unwrap();
        fs::create_dir_all(root.path().join("sys/firmware/dmi")).unwrap();
        assert!(stderr(&check()).contains("no SMBIOS table: "), "{}", stderr(&check()));
    }
}

#[test]
fn half_a_table_is_an_error_whatever_fw_cfg_has() {
    for missing in ["DMI", "smbios_entry_point"] {
        let folder = recording(testkit::END);
        write_credential(folder.path(), 40, "db", b"hunter2");
        fs::remove_file(folder.path().join(missing)).unwrap();
        let output = run_on(folder.path(), &["check"]);
        assert_eq!(code(&output), 1);
        assert!(stderr(&output).contains(missing), "{}", stderr(&output));
    }
}

fn record(from: &Path, to: &Path, more: &[&str]) -> Output {
    run(agent(&["record"]).arg(to).arg("--from").arg(from).args(more))
}

/// Makes a recording of both channels. Each value contains "hunter".
fn of_both(has_second_manifest: bool) -> TempDir {
    let values = [("db", &b"hunter2"[..]), ("copy", b"hunter3"), ("other", b"hunter4"), ("one", b"hunter6")];
    let all = manifest(&values.map(|(name, value)| credential(name, value)));
    let strings: [&[u8]; 4] = [
        b"io.systemd.credential:copy=hunter3",
        b"io.systemd.credential.binary:other=aHVudGVyNQ==",
        b"io.systemd.credential:one=hunter6",
        all.as_bytes(),
    ];
    let folder = recording(&table(if has_second_manifest { &strings } else { &strings[..3] }));
    for (key, (name, value)) in (40..).zip(&values[..3]) {
        write_credential(folder.path(), key, name, value);
    }
    write_manifest(folder.path(), 50, &all);
    write_item(folder.path(), 51, b"etc/smbios/smbios-tables", b"hunter7");
    folder
}

#[test]
fn recording_of_both_channels_reads_the_same_without_its_secrets() {
    for has_second_manifest in [true, false] {
        assert_redacted_alike(&of_both(has_second_manifest));
    }
}

fn assert_redacted_alike(source: &TempDir) {
    let to = TempDir::new().unwrap();
    let to = to.path().join("new");
    let output = record(source.path(), &to, &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let (before, after) = (delivery(source.path()), delivery(&to));
    let seen = |delivery: &Delivery| {
        let entries: Vec<_> = delivery
            .entries
            .iter()
            .map(|entry| (&entry.name, entry.size(), entry.encoding, &entry.origin, entry.refusal()))
            .collect();
        format!("{entries:?} {:?} {:?}", delivery.findings, delivery.proof)
    };
    assert_eq!(seen(&after), seen(&before));
    assert!(before.proof.is_proven(), "the digest is that of the filler");
    assert!(!item(&to, 51).exists(), "what another program reads is not recorded");
    for file in walk(&to) {
        let content = fs::read(&file).unwrap();
        assert!(!content.windows(6).any(|window| window == b"hunter"), "{}", file.display());
        assert!(!content.windows(4).any(|window| window == b"aHVu"), "{}", file.display());
    }
}

fn walk(at: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn faithful_recording_is_for_its_owner_only_and_leaves_nothing_if_it_fails() {
    let source = TempDir::new().unwrap();
    write_credential(source.path(), 40, "db", b"hunter2");
    write_credential(source.path(), 41, "b", b"hunter3");
    let parent = TempDir::new().unwrap();
    let to = parent.path().join("new");
    assert_eq!(code(&record(source.path(), &to, &["--with-secrets"])), 0);
    assert!(!to.join("DMI").exists(), "there is no table");
    for file in walk(&to) {
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o7777, 0o700);
        let same = source.path().join(file.strip_prefix(&to).unwrap());
        assert_eq!(fs::read(&file).unwrap(), fs::read(same).unwrap());
    }
    assert_eq!(walk(&to).len(), 6);
    let before: Vec<_> = walk(&to).iter().map(|file| fs::read(file).unwrap()).collect();
    let output = record(source.path(), &to, &[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("exists, and a recording never overwrites"));
    assert_eq!(walk(&to).iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>(), before);
    // One file of the second item already exists: the recording fails, and leaves nothing of the first item.
    fs::remove_dir_all(&to).unwrap();
    fs::create_dir_all(item(&to, 41)).unwrap();
    fs::write(item(&to, 41).join("size"), "mine").unwrap();
    assert_eq!(code(&record(source.path(), &to, &[])), 1);
    assert_eq!(walk(&to), [item(&to, 41).join("size")]);
    assert!(!item(&to, 40).exists());
}

#[test]
fn running_system_is_asked_for_items_only_where_a_person_added_one() {
    let root = TempDir::new().unwrap();
    let firmware = root.path().join("sys/firmware");
    let tables = firmware.join("dmi/tables");
    fs::create_dir_all(&tables).unwrap();
    let source = recording(&table(&[b"io.systemd.credential:db=hunter2"]));
    for file in ["smbios_entry_point", "DMI"] {
        fs::copy(source.path().join(file), tables.join(file)).unwrap();
    }
    write_item(&firmware, 32, b"etc/e820", b"");
    // An item without a name would be an error if the agent read it.
    fs::remove_file(item(&firmware, 32).join("name")).unwrap();
    let check = ["check", "--confidential=allow"];
    assert_eq!(code(&on_system(root.path(), &check)), 0);
    fs::create_dir_all(firmware.join("qemu_fw_cfg/by_name/opt")).unwrap();
    assert_eq!(code(&on_system(root.path(), &check)), 1);
    fs::write(item(&firmware, 32).join("name"), "opt/org.example/other\n").unwrap();
    assert_eq!(code(&on_system(root.path(), &check)), 0);
}
