use smbios_creds::format::oem_string::{OemString, decode};
use smbios_creds::format::smbios::dump::{DumpError, table_at};
use smbios_creds::format::smbios::entry_point::{EntryPoint, Form};
use smbios_creds::format::smbios::machine::Machine;
use smbios_creds::format::smbios::{OEM_STRINGS, Table};
use smbios_creds::guest::record::redact::redact;
use smbios_creds::guest::report::listing::{Judged, verdict};
use smbios_creds::guest::verify::finding::FindingKind;
use smbios_creds::guest::verify::policy::{ManifestPolicy, Policy};
use smbios_creds::guest::verify::sealed_finding::SealedFinding;
use smbios_creds::guest::verify::set::verify_table;
use smbios_creds::trust::sealed::{Sealed, SealedError};

use crate::input::Input;
use testkit::second_reader::assert_same_structures;
use testkit::table::{Walked, entry_point_2, entry_point_3, walk};

/// Text that must not be in any message. The fuzzer can put it anywhere into a table.
const CANARY: &[u8] = b"Canary";

/// Reads any entry point and table without a panic. The independent walker and smbios-lib find what we find. Every
/// message is printable and shows no value. A recording without secrets reads the same as the table.
pub fn table(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    let given = if kind % 4 == 0 { input.piece() } else { &[] };
    let data = input.0;
    let size = data.len();
    let entry_point = match kind % 4 {
        0 => given.to_vec(),
        1 => entry_point_3(size),
        2 => entry_point_3(size + usize::from(kind)),
        _ => entry_point_2(30 + kind % 3, size.min(0xffff), walk(data, false).len().min(0xffff)),
    };
    let parsed = EntryPoint::parse(&entry_point);
    let table = Table::parse(&entry_point, data.to_vec());
    let walked = walk(data, parsed.is_ok_and(|entry_point| entry_point.form == Form::Smbios3));
    assert_eq!(table.structures().len(), walked.len());
    for (ours, theirs) in table.structures().iter().zip(&walked) {
        assert_eq!((ours.kind, ours.handle, ours.length), (theirs.kind, theirs.handle, theirs.length));
        let formatted = &data[ours.offset..ours.offset + usize::from(ours.length)];
        assert_eq!(formatted, theirs.formatted);
        assert!(ours.strings.iter().map(|range| &data[range.clone()]).eq(&theirs.strings));
    }
    assert_same_structures(&table);
    read_from_a_file(&entry_point, &table);
    let strings: Vec<&[u8]> =
        walked.iter().filter(|s| s.kind == OEM_STRINGS).flat_map(|s| &s.strings).map(Vec::as_slice).collect();
    let ours: Vec<&[u8]> = table.oem_structures().flat_map(|oem| oem.strings().map(|(_, s)| s)).collect();
    assert_eq!(ours, strings);

    // Messages show names, so a message may contain the canary if a name contains it.
    let in_a_name = strings.iter().any(|string| match decode(string) {
        OemString::Credential(credential, _) => holds_canary(credential.name.as_str().as_bytes()),
        OemString::Encrypted(text) => match Sealed::decode(text) {
            Ok(Sealed { name, .. }) | Err(SealedError::NullKey(name)) => {
                holds_canary(name.as_str().as_bytes())
            }
            Err(_) => false,
        },
        _ => false,
    });
    // Messages also show the machine, but not a machine after lost OEM strings: what follows them may be their text.
    let lost = |s: &&Walked| {
        s.kind == OEM_STRINGS && s.formatted.get(4).copied().map(usize::from) != Some(s.strings.len() % 256)
    };
    let mut machine = walked.iter().take_while(|s| !lost(s)).filter(|s| s.kind <= 1).flat_map(|s| &s.strings);
    let in_the_machine = machine.any(|string| holds_canary(string));
    let shown = |text: &str| {
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
        assert!(in_a_name || in_the_machine || !holds_canary(text.as_bytes()), "{text}");
    };
    let machine = Machine::of(&table);
    _ = machine.cuts_tables_above_64_kib();
    shown(&machine.to_string());
    shown(&serde_json::to_string(&machine).unwrap());
    let policy = Policy { manifest: ManifestPolicy::Require, ..Policy::default() };
    for policy in [policy, Policy::default()] {
        let delivery = verify_table(&table, &policy);
        for finding in &delivery.findings {
            shown(&finding.to_string());
        }
        verdict(&delivery).as_str().lines().for_each(shown);
        shown(&serde_json::to_string(&Judged::new(&delivery)).unwrap());
        for credential in delivery.intact() {
            let name = credential.name.as_str();
            let sent = strings.iter().any(|string| match decode(string) {
                OemString::Credential(sent, _) => {
                    sent.name.as_str() == name && sent.value.expose() == credential.value.expose()
                }
                _ => false,
            });
            assert!(sent, "{name} is handed out and was not sent");
        }
    }

    let redacted = redact(&table);
    assert_eq!(redacted.len(), data.len());
    let redacted = Table::parse(&entry_point, redacted);
    assert_eq!(seen(&redacted), seen(&table), "it reads the same without its secrets");
    // A recording keeps names of makers, models and versions, which only structures of these types have.
    let mut models = table.structures().iter().filter(|s| matches!(s.kind, 0..=4 | 17 | 22 | 39));
    let in_a_model = models.any(|structure| holds_canary(&data[structure.offset..structure.end]));
    let text = redacted.data();
    assert!(in_a_name || in_a_model || !holds_canary(text), "{}", text.escape_ascii());
}

/// Checks that a file of `dmidecode --dump-bin` is read as the same table, or is refused because of its entry point.
fn read_from_a_file(entry_point: &[u8], table: &Table) {
    // In any bytes, a table is found at offset 32 or not at all.
    assert!(table_at(table.data()).is_ok_and(|at| at == 32) || table_at(table.data()).is_err());
    let mut file = entry_point.to_vec();
    file.resize(32, 0);
    file.extend_from_slice(table.data());
    let parsed = EntryPoint::parse(&file[..32]);
    match table_at(&file) {
        Ok(at) => {
            assert!(at == 32 && !table.data().is_empty());
            assert!(parsed.is_ok_and(|parsed| parsed.address == 32) || parsed.is_err());
            let read = Table::parse(&file[..at], file[at..].to_vec());
            if parsed.is_ok_and(|parsed| table.entry_point() == Some(&parsed)) {
                assert_eq!(seen(&read), seen(table));
            }
        }
        Err(DumpError::EntryPoint(error)) => assert_eq!(parsed, Err(error)),
        Err(DumpError::Address { address }) => assert_eq!(parsed.unwrap().address, address),
        Err(_) => assert!(table.data().is_empty()),
    }
}

fn holds_canary(text: &[u8]) -> bool {
    text.windows(CANARY.len()).any(|window| window == CANARY)
}

/// Returns everything that verification finds in a table, except the values.
fn seen(table: &Table) -> String {
    let delivery = verify_table(table, &Policy::default());
    let entries: Vec<_> = delivery
        .entries
        .iter()
        .map(|e| (&e.name, e.credential().map(|c| c.value.len()), e.encoding, &e.origin, e.refusal()))
        .collect();
    let structures: Vec<_> = table.structures().iter().map(|s| (s.offset, s.end)).collect();
    let strings: Vec<_> = table.oem_structures().map(|oem| &oem.structure.strings).collect();
    let findings: Vec<_> = delivery
        .findings
        .iter()
        .map(|finding| {
            // Redaction replaces an invalid manifest like a value, so the new text is invalid for another reason. The
            // same is true of a string that does not decode to a credential.
            let invalid = matches!(
                finding.kind,
                FindingKind::ManifestInvalid { .. }
                    | FindingKind::NotACredential { .. }
                    | FindingKind::Sealed(SealedFinding::NotABlob { .. })
            );
            let kind = if invalid { String::new() } else { format!("{:?}", finding.kind) };
            (finding.severity, kind, &finding.credential, &finding.origin)
        })
        .collect();
    let sealed: Vec<_> = delivery
        .sealed
        .iter()
        .map(|e| {
            (&e.name, e.sealed().map(|s| (s.blob.text().len(), s.blob.key())), &e.origin, e.intact().err())
        })
        .collect();
    let faults = table.faults();
    format!(
        "{sealed:?} {entries:?} {findings:?} {structures:?} {strings:?} {faults:?} {}",
        delivery.proof.is_proven()
    )
}
