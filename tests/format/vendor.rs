//! Tables as vendors write them, without a credential. The way such a table ends does not fail the verdict, because
//! nothing was lost. A message says that the host sent nothing only if the table was read to its end.

use smbios_creds::format::smbios::{Fault, Table};
use smbios_creds::guest::verify::delivery::{Delivery, Verdict};
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::set::verify_table;
use testkit::{
    END, code, codes, entry_point_2, entry_point_3, oem, recording_with, run_on, stdout, structure,
};

fn verified(entry_point: &[u8], data: &[u8]) -> Delivery {
    verify_table(&Table::parse(entry_point, data.to_vec()), &Policy::default())
}

fn is_said(delivery: &Delivery, text: &str) -> bool {
    delivery.findings.iter().any(|finding| finding.to_string().contains(text))
}

/// Returns a vendor's structures, without an end-of-table structure, and their number.
fn vendor() -> (Vec<u8>, usize) {
    let firmware = structure(0, &[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[b"vendor", b"1.0"]);
    ([firmware.as_slice(), &oem(&[b"vendor's own"])].concat(), 2)
}

/// Padding that is no structure: zeroes, erased flash memory, and letters.
const PADDING: [&[u8]; 4] = [&[0; 100], &[0xff; 100], &[0], b"PAD PAD PAD"];

#[test]
fn padding_after_the_end_of_a_32_bit_table_is_no_damage() {
    for padding in PADDING {
        let (structures, count) = vendor();
        let whole = [structures.as_slice(), END].concat();
        let data = [whole.as_slice(), padding].concat();
        let entry_point = entry_point_2(31, data.len(), count + 1);
        let table = Table::parse(&entry_point, data.clone());
        let behind = Fault::BehindEndOfTable { offset: whole.len(), remaining: padding.len() };
        assert_eq!(table.faults(), [behind]);
        let delivery = verified(&entry_point, &data);
        assert_eq!(codes(&delivery), ["behind-end-of-table", "no-credentials"]);
        assert_eq!(delivery.verdict(), Verdict::Passed);
        let recording = recording_with(&entry_point, &data);
        assert_eq!(code(&run_on(recording.path(), &["check"])), 0);
        // A credential before the padding is intact.
        let strings: &[&[u8]] = &[b"io.systemd.credential:a=1"];
        let data = [&oem(strings), END, padding].concat();
        assert_eq!(testkit::intact(&verified(&entry_point_2(31, data.len(), 2), &data)), [("a", &b"1"[..])]);
    }
}

#[test]
fn padding_after_structures_behind_the_end_is_no_damage() {
    // Linux has seen vendors' structures behind the end-of-table structure of a 32-bit table, and reads them.
    let (structures, count) = vendor();
    let data = [END, &structures, &[0; 9]].concat();
    let delivery = verified(&entry_point_2(31, data.len(), count + 1), &data);
    assert_eq!(codes(&delivery), ["behind-end-of-table", "no-credentials"]);
    // QEMU counts two structures of one '-smbios file=' as one, so the table has one structure more than announced.
    let data = [structures.as_slice(), END, &[0; 9]].concat();
    let delivery = verified(&entry_point_2(31, data.len(), count), &data);
    assert_eq!(codes(&delivery), ["behind-end-of-table", "more-structures", "no-credentials"]);
}

#[test]
fn bytes_in_place_of_an_announced_structure_are_damage() {
    let (structures, count) = vendor();
    for (data, announced) in [
        // The entry point announces one structure more than there is.
        ([structures.as_slice(), END, &[0; 9]].concat(), count + 2),
        // The table has no end-of-table structure.
        ([structures.as_slice(), &[0; 9]].concat(), count),
        // The table has more structures than announced, and the last one is not the end-of-table structure.
        ([structures.as_slice(), END, &oem(&[b"x"]), &[0; 9]].concat(), count + 1),
    ] {
        let delivery = verified(&entry_point_2(31, data.len(), announced), &data);
        assert!(codes(&delivery).contains(&"damaged".to_owned()), "{:?}", codes(&delivery));
        assert_eq!(delivery.verdict(), Verdict::Failed);
    }
}

/// Returns the beginning of a table like Hyper-V's, up to its Type 11. In the whole table, structures with type 0 and
/// length 0 follow, for devices that the machine lacks.
fn hyper_v(strings: &[&[u8]]) -> Vec<u8> {
    let firmware =
        structure(0, &[1, 2, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[b"American Megatrends Inc.", b"090008"]);
    let model = [&[1, 2, 3, 0][..], &[0; 19]].concat();
    let model = structure(1, &model, &[b"Microsoft Corporation", b"Virtual Machine", b"7.0"]);
    [firmware, model, oem(strings)].concat()
}

const OWN_STRINGS: &[&[u8]] = &[b"[MS_VM_CERT/SHA1/9b80]", b"00000000", b"To be filed by MSFT"];

#[test]
fn hyper_v_table_is_not_failed_as_linux_exports_it_and_as_it_is() {
    let exported = hyper_v(OWN_STRINGS);
    let whole = [exported.as_slice(), b"\0\0\x05\0\x06\0\0\0\xea\x07", &[0; 500], END].concat();
    let entry_point = entry_point_2(31, whole.len(), 339);
    for (data, expected) in [
        // Linux exports the table only up to the structure where it stops reading.
        (&exported, &["table-cut", "no-credentials"][..]),
        (&whole, &["damaged", "table-cut", "no-credentials"]),
    ] {
        let delivery = verified(&entry_point, data);
        assert_eq!(codes(&delivery), expected);
        assert_eq!(delivery.verdict(), Verdict::Passed);
        let recording = recording_with(&entry_point, data);
        let check = run_on(recording.path(), &["check"]);
        assert_eq!(code(&check), 0, "{}", stdout(&check));
        assert!(
            stdout(&check).contains("\nmachine: Hyper-V (7.0), firmware American Megatrends Inc. 090008\n")
        );
        assert!(stdout(&check).contains("nothing: Hyper-V writes such tables"), "{}", stdout(&check));
        // A required credential is reported as missing nevertheless.
        assert_eq!(code(&run_on(recording.path(), &["check", "--require", "db"])), 3);
    }
}

#[test]
fn broken_table_with_a_trace_of_a_credential_fails_whatever_it_says_it_is() {
    for string in
        [&b"io.systemd.credential:a=1"[..], b"io.systemd.credentials:a=1", b"io.systemd.credential:a"]
    {
        let data = hyper_v(&[string]);
        assert_eq!(verified(&entry_point_2(31, 17_000, 339), &data).verdict(), Verdict::Failed);
    }
    // The same table also fails on a machine to which the host may have sent strings: the machine type shows that
    // this one is QEMU.
    let mut qemu = hyper_v(OWN_STRINGS);
    let at = qemu.windows(4).position(|window| window == b"7.0\0").unwrap();
    qemu.splice(at..at + 3, *b"pc-q35-9.2");
    assert_eq!(verified(&entry_point_2(31, 17_000, 339), &qemu).verdict(), Verdict::Failed);
}

#[test]
fn only_oem_strings_that_lost_their_end_are_not_nothing() {
    let strings = oem(&[b"io.systemd.credential:a=1", b"io.systemd.credential:b=2"]);
    for kept in 5..strings.len() - 1 {
        let data = &strings[..kept];
        for entry_point in
            [entry_point_3(strings.len() + END.len()), entry_point_2(31, strings.len() + END.len(), 2)]
        {
            let delivery = verified(&entry_point, data);
            let codes = codes(&delivery);
            assert!(codes.contains(&"oem-strings-broken".to_owned()), "{kept}: {codes:?}");
            assert!(
                !is_said(&delivery, "the host sent no credentials") && delivery.is_anything_sent,
                "{kept}: {codes:?}"
            );
        }
    }
}

#[test]
fn nothing_was_sent_is_said_only_of_a_table_read_to_its_end() {
    let (_, count) = vendor();
    let firmware = structure(0, &[0; 14], &[]);
    let whole = [firmware.as_slice(), END].concat();
    let with = |rest: &[u8]| [whole.as_slice(), rest].concat();
    for (entry_point, data, is_whole) in [
        (entry_point_3(whole.len()), whole.clone(), true),
        (entry_point_2(31, whole.len(), count), whole.clone(), true),
        (entry_point_2(31, whole.len() + 9, count), with(&[0; 9]), true),
        (entry_point_3(whole.len() + 9), with(&[0xff; 9]), true),
        // Tables that are cut, damaged, of an unknown size, or followed by a structure.
        (entry_point_3(whole.len()), firmware.clone(), false),
        (entry_point_3(whole.len()), [firmware.as_slice(), &[1, 0, 0, 0, 0, 0]].concat(), false),
        (entry_point_2(31, whole.len(), 3), whole.clone(), false),
        (vec![], firmware.clone(), false),
        (entry_point_3(whole.len() + 8), with(&oem(&[b"x"])), false),
    ] {
        let delivery = verified(&entry_point, &data);
        let codes = codes(&delivery);
        assert_eq!(is_said(&delivery, "the host sent no credentials"), is_whole, "{codes:?}");
        assert_eq!(codes.contains(&"oem-strings-unknown".to_owned()), !is_whole, "{codes:?}");
    }
}
