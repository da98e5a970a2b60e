//! Several sources, asked one after another.

use std::fs;
use std::path::Path;

use smbios_creds::format::oem_string::Encoding;
use smbios_creds::guest::source::{Input, Source, SourceError, dmi, receive};
use smbios_creds::guest::verify::delivery::Entry;
use smbios_creds::guest::verify::finding::FindingKind;
use smbios_creds::guest::verify::origin::Origin;
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::received::Received;
use smbios_creds::guest::verify::set::verify;
use testkit::{agent, code, codes, entry_point_3, intact, oem, recording, run, stderr, table};

/// A source that has a file for each credential.
struct Files(&'static [(&'static str, &'static [u8])]);

impl Source for Files {
    fn receive(&self, _: Input<'_>) -> Result<Received, SourceError> {
        let entry = |&(name, value): &(&str, &[u8])| {
            let origin = Origin::File { file: format!("opt/{name}") };
            Entry::decoded(testkit::credential(name, value), Encoding::Text, origin)
        };
        let entries = self.0.iter().map(entry).collect();
        Ok(Received { entries, is_anything_sent: true, ..Received::default() })
    }
}

/// A source that this machine lacks, and one that fails.
struct Absent;
struct Broken;

impl Source for Absent {
    fn receive(&self, _: Input<'_>) -> Result<Received, SourceError> {
        Err(SourceError::NoSmbios(Path::new("/absent").into()))
    }
}

impl Source for Broken {
    fn receive(&self, _: Input<'_>) -> Result<Received, SourceError> {
        Err(SourceError::PermissionDenied(Path::new("/broken").into()))
    }
}

const FILES: Files = Files(&[("a", b"from a file"), ("b", b"1")]);

#[test]
fn first_source_counts_and_each_credential_says_where_it_is_from() {
    let folder = recording(&table(&[b"io.systemd.credential:a=from SMBIOS", b"io.systemd.credential:c=2"]));
    let input = Input::Recording(folder.path());
    let delivery = verify(receive(&[&FILES, &dmi::Dmi], input).unwrap(), &Policy::default());
    assert_eq!(intact(&delivery), [("a", &b"from a file"[..]), ("b", b"1"), ("c", b"2")]);
    let origins: Vec<String> =
        delivery.entries.iter().map(|entry| entry.origin.short().to_string()).collect();
    assert_eq!(origins, ["opt/a", "opt/b", "11-0:1", "11-0:2"]);
    assert!(matches!(delivery.findings.last().unwrap().kind, FindingKind::Duplicate { identical: false }));
    let delivery = verify(receive(&[&dmi::Dmi, &FILES], input).unwrap(), &Policy::default());
    assert_eq!(intact(&delivery)[0], ("a", &b"from SMBIOS"[..]));
}

#[test]
fn suspects_of_a_later_source_are_its_own_entries() {
    let mut cut = oem(&[b"io.systemd.credential:last=cut"]);
    cut.push(1);
    let folder = recording(&cut);
    let received = receive(&[&FILES, &dmi::Dmi], Input::Recording(folder.path())).unwrap();
    let delivery = verify(received, &Policy::default());
    assert_eq!(intact(&delivery), [("a", &b"from a file"[..]), ("b", b"1")]);
    assert!(codes(&delivery).contains(&"maybe-cut".to_owned()));
}

#[test]
fn absent_source_is_an_error_only_where_every_source_is_absent() {
    let input = Input::Recording(Path::new("/nonexistent"));
    assert_eq!(receive(&[&Absent, &FILES], input).unwrap().entries.len(), 2);
    assert!(matches!(receive(&[&Absent, &Absent], input), Err(SourceError::NoSmbios(_))));
    assert!(matches!(receive(&[&FILES, &Broken], input), Err(SourceError::PermissionDenied(_))));
}

/// As in an initramfs whose script does not mount sysfs: `/dev/mem` shows that the firmware has a table.
#[test]
fn sysfs_that_is_not_mounted_is_not_called_a_refused_table() {
    let root = tempfile::tempdir().unwrap();
    let mut bios = [vec![0; 0xf_3450], entry_point_3(3_000)].concat();
    bios.resize(0x10_0000, 0);
    fs::create_dir_all(root.path().join("dev")).unwrap();
    fs::write(root.path().join("dev/mem"), bios).unwrap();
    let output = run(agent(&["check", "--root"]).arg(root.path()));
    let message = format!(
        "smbios-creds: error: cannot look for SMBIOS: {}/sys/firmware does not exist\n\
         smbios-creds: help: mount sysfs on /sys first\n",
        root.path().display()
    );
    assert_eq!((code(&output), stderr(&output)), (1, message));
}
