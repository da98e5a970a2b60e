//! The second promise, in the memory of a program that uses the library under the standard allocator: no value is
//! left in the memory when everything is dropped.

use std::path::Path;

use smbios_creds::format::credential::Secret;
use smbios_creds::format::manifest::Manifest;
use smbios_creds::format::oem_string::{Encoding, encode};
use smbios_creds::format::smbios::machine::Machine;
use smbios_creds::format::smbios::{Table, entry_point};
use smbios_creds::guest::record::redact::redact;
use smbios_creds::guest::source::{Input, dmi};
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::set::verify_table;
use smbios_creds::host::strings::{Existing, OemStrings, Origin};
use testkit::memory::{Stop, assert_wiped, count, memory_at};
use testkit::{END, canary, example, oem};
use zeroize::Zeroizing;

/// Names the file with the value to a child process of a test.
const VALUE: &str = "LIBRARY_MEMORY_VALUE";

/// A file with a value, and the value. The value is long, so that code that overwrites an end of it leaves the
/// middle.
fn value() -> (tempfile::NamedTempFile, Vec<u8>) {
    let canary = canary();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), canary.repeat(3)).unwrap();
    (file, canary)
}

/// Asserts that neither the value nor a part of it is in the memory: the standard allocator overwrites only the
/// beginning of a block that it takes back.
fn assert_no_part(memory: &[u8], canary: &[u8], known: &str) {
    assert_wiped(memory, canary, known);
    let twice = canary.repeat(2);
    for part in twice.windows(16).take(canary.len()) {
        assert_eq!(count(memory, part), 0, "{known}: a part of a value is still there");
    }
}

#[test]
fn harness_example_leaves_no_value_in_memory() {
    let (file, canary) = value();
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().join("credentials").to_str().unwrap().to_owned();
    // The first import goes into a new directory, and the second into a directory that has the same credentials.
    for _ in 0..2 {
        let arguments = [&into, file.path().to_str().unwrap()];
        let (memory, status) = memory_at(Stop::Exit, &[], &example("harness"), &arguments);
        assert_eq!(status.code(), Some(0));
        assert_no_part(&memory, &canary, "db-password");
    }
    assert_eq!(std::fs::read(Path::new(&into).join("db-password")).unwrap(), canary.repeat(3));
}

#[test]
fn vmm_example_leaves_no_value_in_memory() {
    let (_, canary) = value();
    let (credentials, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(credentials.path().join("db-password"), canary.repeat(3)).unwrap();
    let arguments = [credentials.path().to_str().unwrap(), out.path().to_str().unwrap()];
    let (memory, status) = memory_at(Stop::Exit, &[], &example("vmm"), &arguments);
    assert_eq!(status.code(), Some(0));
    assert_no_part(&memory, &canary, "db-password");
    assert!(testkit::holds(&std::fs::read(out.path().join("DMI")).unwrap(), &canary));
}

#[test]
fn hostile_table_leaves_no_value_in_memory() {
    if let Some(file) = std::env::var_os(VALUE) {
        return read_and_write(&Zeroizing::new(std::fs::read(file).unwrap()));
    }
    let (file, canary) = value();
    let this = std::env::current_exe().unwrap();
    let variable = format!("{VALUE}={}", file.path().display());
    let name = "library_memory::hostile_table_leaves_no_value_in_memory";
    let (memory, status) =
        memory_at(Stop::Exit, &["env", &variable], &this, &["--exact", name, "--test-threads=1"]);
    assert_eq!(status.code(), Some(0));
    assert_no_part(&memory, &canary, name);
}

/// Passes a value through everything that the library does with a table: strings that are accepted, strings that are
/// refused, strings that are no credential, and a table that is cut.
fn read_and_write(value: &[u8]) {
    let text = |prefix: &str| Secret::from([prefix.as_bytes(), value].concat());
    let credential = testkit::credential("secret", value);
    let strings = [
        encode(&credential, Encoding::Binary).unwrap(),
        encode(&credential, Encoding::Text).unwrap(),
        text("io.systemd.credential:text="),
        text("io.systemd.credential.binary:refused=!"),
        text("io.systemd.credential.binary:= ="),
        text("io.systemd.credential:"),
        // Values in the place of a name: the first may be base64, and the others are refused because of what follows
        // the name.
        Secret::from([text("io.systemd.credential.binary:").expose(), b"00A="].concat()),
        Secret::from([text("io.systemd.credential.binary:").expose(), b"=!"].concat()),
        Secret::from([text("io.systemd.credential:").expose(), b"/="].concat()),
        text("io.systemd.credentials:near="),
        text("io.smbios-creds.manifest:"),
        text("io.systemd"),
        text(""),
        Secret::from(Manifest::new([&credential], [5; 16]).unwrap().encode().into_bytes()),
    ];
    let strings: Vec<&[u8]> = strings.iter().map(Secret::expose).collect();
    let structure = Zeroizing::new(oem(&strings));
    let table = Secret::from([structure.as_slice(), END].concat());
    for end in [table.len(), table.len() - 8, table.len() / 2] {
        let entry_point = entry_point::write(u32::try_from(table.len()).unwrap(), 0xf_0018);
        let table = Table::parse(&entry_point, table.expose()[..end].to_vec());
        let delivery = verify_table(&table, &Policy::default());
        let messages: Vec<String> = delivery.findings.iter().map(ToString::to_string).collect();
        assert!(!messages.is_empty());
        assert_eq!(Machine::of(&table), Machine::default());
        assert_eq!(redact(&table).len(), end);
    }
    let recording = testkit::recording(table.expose());
    let read = dmi::read(Input::Recording(recording.path())).unwrap().parse();
    assert_eq!(read.data(), table.expose());
    let kept = [text("io.systemd.credential:other="), text("foreign")];
    let kept = kept.map(|text| (text, Origin::CommandLine)).into();
    let strings = OemStrings::beside(Existing { kept, ..Existing::default() }, &[credential]).unwrap();
    assert_eq!(strings.structures().unwrap().len(), 1);
}
