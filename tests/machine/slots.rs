//! Structures in files, for a QEMU that others start: `emit --output-dir`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use smbios_creds::format::smbios::Table;
use smbios_creds::guest::verify::policy::{ManifestPolicy, Policy};
use smbios_creds::guest::verify::set::verify_table;
use testkit::host::host_with;
use testkit::machine::{Machine, table_of};
use testkit::sent::{digests, directory, expected};
use testkit::{code, run, run_on, stderr, stdout};

/// Returns credentials that take this many structures, including the structure with the manifest. Two of these
/// credentials do not fit into one structure.
fn secrets(structures: usize) -> BTreeMap<&'static str, Vec<u8>> {
    const NAMES: [&str; 16] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
    let value = |number: usize| (0..2600).map(|at| u8::try_from((at * 31 + number) % 251).unwrap()).collect();
    NAMES.into_iter().take(structures).enumerate().map(|(number, name)| (name, value(number))).collect()
}

/// Returns the arguments for QEMU that `emit` prints for a directory of this many files, and two options for other
/// structures.
fn arguments(credentials: &Path, target: &Path, files: usize) -> Vec<String> {
    let (target, files) = (target.to_str().unwrap(), files.to_string());
    let emit = ["emit", "--all", "--format=structures", "--output-dir", target, "--files", &files];
    let output = run(&mut host_with(credentials, &emit));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let other = ["-smbios", "type=1,manufacturer=Other,serial=1", "-smbios", "type=2,serial=2"];
    stdout(&output).split_whitespace().chain(other).map(str::to_owned).collect()
}

/// Returns handle and type of every structure that dmidecode finds.
fn seen_by_dmidecode(entry_point: &[u8], data: &[u8]) -> Vec<(String, String)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), testkit::dump(entry_point.to_vec(), data)).unwrap();
    let output = Command::new("dmidecode").arg("--from-dump").arg(file.path()).output();
    let output =
        output.unwrap_or_else(|error| panic!("dmidecode is needed, ./tests/run installs it: {error}"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("TRUNCATED") && !text.contains("broken"), "{text}");
    let line = |line: &str| {
        let (handle, rest) = line.strip_prefix("Handle ")?.split_once(", DMI type ")?;
        Some((handle.to_owned(), rest.split(',').next()?.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn structures_in_1_to_16_files_are_a_table_without_a_finding() {
    let policy = Policy { manifest: ManifestPolicy::Require, ..Policy::default() };
    let folder = tempfile::tempdir().unwrap();
    let mut slots = 0;
    for files in 1..=16_usize {
        for used in BTreeSet::from([1, files / 2 + 1, files]) {
            let secrets = secrets(used);
            let credentials = directory(&secrets);
            let target = folder.path().join("slots");
            let kind = if files % 2 == 0 { "pc" } else { "q35" };
            let (entry_point, data) = table_of(kind, &arguments(credentials.path(), &target, files));
            let table = Table::parse(&entry_point, data.clone());
            assert!(table.faults().is_empty(), "{files}: {:?}", table.faults());
            let delivery = verify_table(&table, &policy);
            assert!(
                delivery.passed() && delivery.proof.is_proven() && delivery.findings.is_empty(),
                "{files}"
            );
            let intact = testkit::intact(&delivery);
            assert!(intact.iter().copied().eq(secrets.iter().map(|(&name, value)| (name, &value[..]))));

            let recording = testkit::recording_with(&entry_point, &data);
            let check = run_on(recording.path(), &["check", "--manifest=require"]);
            assert_eq!(code(&check), 0, "{}", stdout(&check));
            assert!(stderr(&check).is_empty(), "{}", stderr(&check));

            let seen = seen_by_dmidecode(&entry_point, &data);
            let of = |kind: &str| seen.iter().filter(|(_, found)| found == kind).count();
            assert_eq!((of("11"), of("126"), of("127")), (used, files - used, 1), "{seen:?}");
            let handles: BTreeSet<&String> = seen.iter().map(|(handle, _)| handle).collect();
            assert_eq!(handles.len(), seen.len(), "no handle is there twice: {seen:?}");
            slots += files;
        }
    }
    assert!(slots > 300, "{slots}");
}

#[test]
fn guest_verifies_structures_in_16_files_of_which_7_are_inactive() {
    let secrets = secrets(9);
    let credentials = directory(&secrets);
    let folder = tempfile::tempdir().unwrap();
    let arguments = arguments(credentials.path(), &folder.path().join("slots"), 16);
    let results = Machine::new("slots").kind("q35").arguments(&arguments).boot(
        "result check smbios-creds check --manifest=require
         result import smbios-creds import --manifest=require --strict
         result sums sh -c 'sha256sum /run/credentials/@system/*'",
    );
    assert_eq!(results["check"].code, 0, "{:?}", results["check"]);
    assert!(
        results["check"]
            .text()
            .starts_with("passed: 9 credentials, the manifest proves that the set is complete")
    );
    assert_eq!((results["import"].code, results["check"].stderr.as_str()), (0, ""));
    assert_eq!(digests(&results, "sums"), expected(&secrets));
}
