//! Compares how smbios-creds, an independent walker and dmidecode read every recorded table.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use smbios_creds::format::smbios::Table;
use smbios_creds::guest::source::{Input, dmi};
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::set::verify_table;
use testkit::{Walked, code, codes, run_on, walk};

fn cases() -> Vec<(PathBuf, Value)> {
    let case = |folder: PathBuf| {
        let expect = std::fs::read(folder.join("expect.json")).unwrap();
        (folder, serde_json::from_slice(&expect).unwrap())
    };
    testkit::recorded().into_iter().map(case).collect()
}

fn read(folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let file = |name| std::fs::read(folder.join(name)).unwrap();
    (file("smbios_entry_point"), file("DMI"))
}

fn table(folder: &Path) -> Table {
    dmi::read(Input::Recording(folder)).unwrap().parse()
}

fn walked(folder: &Path) -> Vec<Walked> {
    let (entry_point, data) = read(folder);
    walk(&data, entry_point.starts_with(b"_SM3_"))
}

#[test]
fn strings_are_those_of_an_independent_walker() {
    for (folder, expect) in cases() {
        let (table, walked) = (table(&folder), walked(&folder));
        let ours: Vec<_> = table.structures().iter().map(|s| (s.kind, s.handle, s.length)).collect();
        let theirs: Vec<_> = walked.iter().map(|s| (s.kind, s.handle, s.length)).collect();
        assert_eq!(ours, theirs, "{}", folder.display());
        assert_eq!(
            serde_json::to_value(walked.iter().map(|s| s.kind).collect::<Vec<_>>()).unwrap(),
            expect["types"]
        );

        let entry_point = table.entry_point().unwrap();
        let kind = if entry_point.structures.is_some() { "_SM_" } else { "_SM3_" };
        assert_eq!(kind, expect["entry_point"]["kind"]);
        assert_eq!(entry_point.table_size as u64, expect["entry_point"]["announced_bytes"].as_u64().unwrap());

        let ours: Vec<Vec<&[u8]>> =
            table.oem_structures().map(|oem| oem.strings().map(|(_, string)| string).collect()).collect();
        let theirs: Vec<_> = walked.iter().filter(|s| s.kind == 11).map(|s| s.strings.clone()).collect();
        assert_eq!(ours, theirs, "{}", folder.display());
        for (oem, expect) in table.oem_structures().zip(expect["oem_structures"].as_array().unwrap()) {
            assert_eq!(oem.count().map(u64::from), expect["count"].as_u64());
            assert_eq!(oem.strings().count() as u64, expect["strings"].as_u64().unwrap());
            assert_eq!(u64::from(oem.structure.handle), expect["handle"].as_u64().unwrap());
            for (offset, string) in oem.strings() {
                assert_eq!(&table.data()[offset..offset + string.len()], string);
            }
        }
    }
}

#[test]
fn credentials_and_findings_are_as_expected() {
    for (folder, expect) in cases() {
        let delivery = verify_table(&table(&folder), &Policy::default());
        let ours: Vec<Value> = delivery
            .entries
            .iter()
            .map(|entry| {
                let credential = entry.intact().unwrap();
                let value = credential.value.expose();
                let origin = serde_json::to_value(&entry.origin).unwrap();
                serde_json::json!({
                    "name": credential.name, "size": value.len(), "encoding": entry.encoding,
                    "structure": origin["structure"], "string": origin["string"],
                    "sha256": hex(&Sha256::digest(value)),
                })
            })
            .collect();
        assert_eq!(Value::from(ours), expect["credentials"], "{}", folder.display());
        assert_eq!(Value::from(codes(&delivery)), expect["findings"], "{}", folder.display());
        let check = run_on(&folder, &["check"]);
        assert_eq!(i64::from(code(&check)), expect["exit"].as_i64().unwrap(), "{}", folder.display());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect()
}

/// Writes the table of a recording into a file that dmidecode reads.
fn dump(folder: &Path) -> tempfile::NamedTempFile {
    let (entry_point, data) = read(folder);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), testkit::dump(entry_point, &data)).unwrap();
    file
}

#[test]
fn strings_are_those_of_dmidecode_where_it_shows_them() {
    let mut compared = 0;
    for (folder, _) in cases() {
        let dump = dump(&folder);
        let output = Command::new("dmidecode").arg("-t11").arg("--from-dump").arg(dump.path()).output();
        let output =
            output.unwrap_or_else(|error| panic!("dmidecode is needed, ./tests/run installs it: {error}"));
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let theirs: Vec<&str> = text
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("String ")?.split_once(": "))
            .map(|p| p.1)
            .collect();
        // dmidecode believes the count byte, shows a missing string as `<BAD INDEX>`, and shows a byte that is not
        // printable ASCII as a dot.
        let table = table(&folder);
        let ours: Vec<String> = table
            .oem_structures()
            .flat_map(|oem| {
                let strings: Vec<String> = oem.strings().map(|(_, string)| dotted(string)).collect();
                (0..usize::from(oem.count().unwrap()))
                    .map(move |n| strings.get(n).cloned().unwrap_or("<BAD INDEX>".to_owned()))
            })
            .collect();
        compared += ours.len();
        assert_eq!(ours, theirs, "{}", folder.display());
    }
    assert!(compared > 500);
}

fn dotted(string: &[u8]) -> String {
    string.iter().map(|&byte| if (32..127).contains(&byte) { char::from(byte) } else { '.' }).collect()
}
