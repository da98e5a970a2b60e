//! Tables that are cut, damaged or odd: each fault is reported with its place, and nothing panics.

use proptest::prelude::*;
use smbios_creds::format::smbios::entry_point::{EntryPoint, EntryPointError, Form};
use smbios_creds::format::smbios::{Damage, Fault, Table};
use smbios_creds::guest::verify::delivery::{Delivery, Refusal};
use smbios_creds::guest::verify::finding::{FindingKind, Severity};
use smbios_creds::guest::verify::origin::Origin;
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::set::verify_table;
use testkit::{
    END, codes, entry_point_2, entry_point_3, intact, oem, parse, structure, table, verdict, walk,
};

/// Whether a finding says that the table is damaged or cut, and the verdict has failed.
fn is_damaged(delivery: &Delivery) -> bool {
    let damaged = |f: &_| matches!(f, FindingKind::TableCut(_) | FindingKind::Damaged { .. });
    !delivery.passed() && delivery.findings.iter().any(|finding| damaged(&finding.kind))
}

#[test]
#[cfg_attr(miri, ignore = "more than 30,000 tables take Miri hours")]
fn a_table_cut_at_any_byte_is_reported_as_damaged() {
    let mut cuts = 0;
    for folder in testkit::recorded() {
        let entry_point = std::fs::read(folder.join("smbios_entry_point")).unwrap();
        let data = std::fs::read(folder.join("DMI")).unwrap();
        // Cut at every byte, except in the table of 64 KiB, which is one long string.
        let step = if data.len() < 10_000 { 1 } else { 37 };
        for cut in (0..data.len()).step_by(step).chain(data.len() - 80..data.len()) {
            let table = Table::parse(&entry_point, data[..cut].to_vec());
            let delivery = verify_table(&table, &Policy::default());
            assert!(is_damaged(&delivery), "{} cut to {cut} bytes: {:?}", folder.display(), codes(&delivery));
            let whole = walk(&data[..cut], entry_point.starts_with(b"_SM3_"));
            assert_eq!(table.structures().len(), whole.len(), "whole structures are still read");
            cuts += 1;
        }
    }
    assert!(cuts > 30_000, "{cuts}");
}

#[test]
fn firmware_that_leaves_zeroes_behind_a_cut_does_not_pass_for_whole() {
    // SeaBIOS 1.16 copies only the table's size modulo 64 KiB. Zeroes follow the cut, so the string that is cut looks
    // whole.
    let mut data = oem(&[b"io.systemd.credential:first=1", b"io.systemd.credential:big=AAAAAA"]);
    let whole = data.len() + END.len() + 65_536;
    data.truncate(data.len() - 4);
    data.extend_from_slice(&[0, 0]);
    let delivery = verify_table(&Table::parse(&entry_point_3(whole), data.clone()), &Policy::default());
    assert!(is_damaged(&delivery));
    assert_eq!(intact(&delivery), [("first", &b"1"[..])], "the value next to the cut is not handed out");
    assert_eq!(delivery.entries[1].refusal(), Some(Refusal::MaybeCut));
    let cut = delivery.findings.iter().map(ToString::to_string).find(|text| text.contains("is cut")).unwrap();
    assert!(cut.contains(&format!("{whole} bytes announced, {} found", data.len())), "{cut}");
}

#[test]
fn a_manifest_clears_the_value_next_to_the_damage() {
    let credential = testkit::credential("only", b"whole");
    let manifest = smbios_creds::format::manifest::Manifest::new([&credential], [7; 16]).unwrap().encode();
    let mut data = oem(&[manifest.as_bytes(), b"io.systemd.credential:only=whole"]);
    data.extend_from_slice(&[1, 2, 3]);
    let delivery = verdict(&data);
    assert!(is_damaged(&delivery), "the damage is still reported");
    assert!(delivery.proof.is_proven());
    assert_eq!(intact(&delivery), [("only", &b"whole"[..])]);
}

#[test]
fn an_empty_string_in_the_middle_is_found() {
    // cloud-hypervisor writes this for oem_strings=[a,,b]: the empty string ends the set of strings early, and the
    // rest is taken for a structure.
    for tail in [&b"io.systemd.credential:b=1"[..], &[b'i'; 300]] {
        let mut data = vec![11, 5, 3, 0, 3];
        data.extend_from_slice(b"io.systemd.credential:a=1\0\0");
        let at = data.len();
        data.extend_from_slice(tail);
        data.extend_from_slice(b"\0\0");
        data.extend_from_slice(END);
        let delivery = verdict(&data);
        assert!(!delivery.passed());
        let codes = codes(&delivery);
        assert!(codes.contains(&"strings-missing".to_owned()), "{codes:?}");
        assert!(codes.contains(&"set-ended-early".to_owned()), "{codes:?}");
        let early = delivery.findings.iter().find(|f| f.kind == FindingKind::SetEndedEarly).unwrap();
        assert_eq!(early.origin, Some(Origin::structure(0, at)));
    }
}

#[test]
fn an_empty_string_at_the_beginning_is_found_and_loses_nothing() {
    let mut data = vec![11, 5, 0, 0, 2];
    data.extend_from_slice(b"\0io.systemd.credential:b=1\0\0");
    data.extend_from_slice(END);
    let delivery = verdict(&data);
    assert_eq!(codes(&delivery), ["empty-string"]);
    assert_eq!(intact(&delivery), [("b", &b"1"[..])]);
}

#[test]
fn a_nul_inside_a_string_is_found_and_the_cut_value_refused() {
    // One string is announced. A NUL byte in this string makes it two.
    let data = [structure(11, &[1], &[b"io.systemd.credential:a=1", b"rest of a"]).as_slice(), END].concat();
    let delivery = verdict(&data);
    assert_eq!(codes(&delivery), ["string-split", "maybe-cut"]);
    assert_eq!(delivery.findings[0].kind, FindingKind::StringSplit { announced: 1, found: 2 });
    assert!(intact(&delivery).is_empty());
}

#[test]
fn a_count_byte_that_wrapped_loses_nothing() {
    let strings: Vec<String> = (0..300).map(|n| format!("io.systemd.credential:c{n}={n}")).collect();
    let strings: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
    let delivery = verdict(&table(&strings));
    assert!(delivery.passed());
    assert_eq!(intact(&delivery).len(), 300);
    assert_eq!(codes(&delivery), ["long-structure", "count-wrapped", "above-systemd"]);
}

/// Returns a table with these strings in one structure. The structure announces `sent` strings, the number before NUL
/// bytes split them.
fn announcing(sent: usize, strings: &[Vec<u8>]) -> Vec<u8> {
    let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
    [structure(11, &[u8::try_from(sent % 256).unwrap()], &strings).as_slice(), END].concat()
}

#[test]
fn text_split_by_256_nul_bytes_is_no_count_that_wrapped() {
    let credential = |name: &str| format!("io.systemd.credential:{name}=v").into_bytes();
    let tails = |count: usize| vec![b"v".to_vec(); count];
    let split: [(usize, Vec<Vec<u8>>); 4] = [
        // One value of 513 bytes with 256 NUL bytes, and one of 1,025 bytes with 512 NUL bytes.
        (1, [vec![credential("a")], tails(256)].concat()),
        (1, [vec![credential("a")], tails(512)].concat()),
        // The value with 256 NUL bytes, with other credentials before and after it.
        (3, [vec![credential("b"), credential("a")], tails(256), vec![credential("c")]].concat()),
        // Two hundred and fifty-six values, each split once.
        (256, (0..256).flat_map(|n| [credential(&format!("n{n}")), b"v".to_vec()]).collect()),
    ];
    for (sent, strings) in split {
        let delivery = verdict(&announcing(sent, &strings));
        assert!(!delivery.passed(), "{sent}");
        assert!(codes(&delivery).contains(&"count-unclear".to_owned()), "{:?}", codes(&delivery));
        for entry in &delivery.entries {
            let is_whole = entry.intact().is_ok_and(|c| ["b", "c"].contains(&c.name.as_str()));
            assert!(is_whole || entry.refusal() == Some(Refusal::MaybeCut), "{sent}: {:?}", entry.name);
        }
    }
}

#[test]
fn count_that_may_be_split_is_proven_by_fewer_tails_or_a_manifest() {
    let text = |n: usize| format!("io.systemd.credential:c{n}=v").into_bytes();
    let tails = |count: usize| vec![b"somebody else's".to_vec(); count];
    // 256 NUL bytes in a value would make 256 tails. In each of these sets, at most 255 strings after a credential
    // can be tails.
    for strings in [
        [vec![text(0)], tails(255)].concat(),
        [tails(300), vec![text(0)]].concat(),
        [tails(10), (0..300).map(text).collect()].concat(),
    ] {
        let delivery = verdict(&announcing(strings.len(), &strings));
        assert!(delivery.passed() && codes(&delivery).contains(&"count-wrapped".to_owned()));
        assert!(delivery.entries.iter().all(|entry| entry.intact().is_ok()));
    }
    // 256 strings can be the tails of one value, but the manifest says that the value is whole.
    let set = [testkit::credential("c0", b"v")];
    let manifest = smbios_creds::format::manifest::Manifest::new(&set, [7; 16]).unwrap().encode();
    let strings = [vec![text(0)], tails(256), vec![manifest.into_bytes()]].concat();
    let delivery = verdict(&announcing(strings.len(), &strings));
    assert!(delivery.passed() && delivery.proof.is_proven());
    assert_eq!(intact(&delivery), [("c0", &b"v"[..])]);
}

#[test]
fn as_many_strings_as_a_count_byte_can_say_are_nothing_to_speak_of() {
    let strings = [&b"x"[..]; 255];
    assert_eq!(codes(&verdict(&table(&strings))), ["no-credentials"]);
    assert_eq!(codes(&verdict(&table(&[&b"x"[..]; 256]))), ["count-wrapped", "no-credentials"]);
}

#[test]
fn a_table_without_an_end_of_table_structure_loses_nothing() {
    let data = oem(&[b"io.systemd.credential:a=1"]);
    let delivery = verify_table(&Table::parse(&entry_point_2(31, data.len(), 1), data), &Policy::default());
    assert_eq!(codes(&delivery), ["no-end-of-table"]);
    assert_eq!(intact(&delivery), [("a", &b"1"[..])], "nothing says that it is cut");
}

#[test]
fn a_string_of_somebody_else_behind_a_credential_is_no_sign_of_a_cut() {
    let two: &[&[u8]] = &[b"io.systemd.credential:a=1", b"somebody else's"];
    let delivery = verdict(&table(two));
    assert_eq!((codes(&delivery).len(), intact(&delivery).len()), (0, 1));
    let many: Vec<&[u8]> = two.iter().copied().cycle().take(300).collect();
    let delivery = verdict(&table(&many));
    assert_eq!(intact(&delivery), [("a", &b"1"[..])]);
    assert!(delivery.entries.iter().all(|entry| entry.refusal() != Some(Refusal::MaybeCut)));
}

#[test]
fn a_structure_larger_than_a_page_is_noted_with_its_size() {
    // Sizes in the structure: header and count (5), prefix and name (24), the value, and two NUL bytes.
    let value =
        |size: usize| [b"io.systemd.credential:a=".as_slice(), &vec![b'x'; size - 5 - 24 - 2]].concat();
    assert!(codes(&verdict(&table(&[&value(4096)]))).is_empty());
    let delivery = verdict(&table(&[&value(4097)]));
    assert_eq!(delivery.findings[0].kind, FindingKind::LongStructure { size: 4097 });
    assert_eq!(delivery.findings[0].severity, Severity::Note);
    // The offset of the structure in the table does not matter.
    let at_the_end = |size| [structure(1, &[0; 50], &[]).as_slice(), &table(&[&value(size)])].concat();
    assert!(codes(&verdict(&at_the_end(4096))).is_empty());
    assert_eq!(codes(&verdict(&at_the_end(4097))), ["long-structure"]);
}

#[test]
fn structures_shorter_than_their_header_end_the_walk_with_a_finding() {
    for length in [0, 1, 2, 3] {
        let mut data = oem(&[b"io.systemd.credential:a=1"]);
        let offset = data.len();
        data.extend_from_slice(&[1, length, 0, 0, 0, 0]);
        data.extend_from_slice(END);
        let table = parse(&data);
        let damage = Fault::Damaged { offset, remaining: 12, damage: Damage::Length(length) };
        assert_eq!(table.faults(), [damage]);
        assert!(is_damaged(&verdict(&data)));
    }
}

#[test]
fn structures_that_run_past_the_end_are_told_apart() {
    let cases: [(&[u8], Damage); 6] = [
        (&[1, 4, 0], Damage::TooShort),
        (&[1, 4, 0, 0], Damage::TooShort),
        (&[1, 2, 0, 0, 0], Damage::TooShort),
        (&[1, 7, 0, 0, 0, 0, 0], Damage::Unterminated),
        (&[1, 200, 0, 0, 0, 0, 0], Damage::FormattedArea),
        (&[1, 4, 0, 0, b'x', 0, b'y'], Damage::Unterminated),
    ];
    for (tail, damage) in cases {
        let data = [oem(&[b"x"]).as_slice(), tail].concat();
        let offset = data.len() - tail.len();
        assert_eq!(parse(&data).faults(), [Fault::Damaged { offset, remaining: tail.len(), damage }]);
    }
}

#[test]
fn announced_and_found_sizes_are_held_against_each_other() {
    let data = table(&[b"io.systemd.credential:a=1"]);
    let size = data.len();
    let cases: [(Vec<u8>, &[&str], bool); 8] = [
        (entry_point_3(size), &[], true),
        // A 64-bit entry point announces the space that is reserved for the table. The table need not fill it.
        (entry_point_3(size + 100), &["table-short"], true),
        (entry_point_3(size - 1), &["table-long"], false),
        (entry_point_2(31, size, 2), &[], true),
        (entry_point_2(31, size + 1, 2), &["table-short"], true),
        (entry_point_2(31, size - 1, 2), &["table-long"], false),
        (entry_point_2(31, size, 1), &["more-structures"], true),
        (entry_point_2(31, size, 3), &["table-cut"], false),
    ];
    for (entry_point, expected, passes) in cases {
        let delivery = verify_table(&Table::parse(&entry_point, data.clone()), &Policy::default());
        assert_eq!(codes(&delivery), expected);
        assert_eq!(delivery.passed(), passes, "{expected:?}");
        if expected == ["table-short"] {
            // After a 64-bit entry point (_SM3_), a short table is usual. After a 32-bit one (_SM_), it is odd.
            let usual = entry_point.starts_with(b"_SM3_");
            assert_eq!(delivery.findings[0].severity, if usual { Severity::Note } else { Severity::Warning });
        }
        assert_eq!(intact(&delivery), [("a", &b"1"[..])]);
    }
}

#[test]
fn type_127_ends_a_table_only_behind_a_64_bit_entry_point() {
    let data = [END, &oem(&[b"io.systemd.credential:late=1"])].concat();
    let behind_3 = verify_table(&parse(&data), &Policy::default());
    assert_eq!(codes(&behind_3), ["behind-end-of-table", "oem-strings-unknown"]);
    let behind_2 =
        verify_table(&Table::parse(&entry_point_2(31, data.len(), 2), data.clone()), &Policy::default());
    assert_eq!(intact(&behind_2), [("late", &b"1"[..])]);
    assert!(behind_2.passed());
}

#[test]
fn entry_points_of_every_allowed_length_are_read() {
    for length in [30, 31, 32] {
        let entry_point = EntryPoint::parse(&entry_point_2(length, 467, 10)).unwrap();
        assert_eq!(entry_point.form, Form::Smbios2, "length {length}");
        assert_eq!((entry_point.table_size, entry_point.structures), (467, Some(10)));
        assert_eq!(entry_point.version, (2, 8));
    }
    let entry_point = EntryPoint::parse(&entry_point_3(70_000)).unwrap();
    assert_eq!(
        (entry_point.form, entry_point.table_size, entry_point.structures),
        (Form::Smbios3, 70_000, None)
    );
}

#[test]
fn damaged_entry_points_are_told_apart_and_lose_no_credential() {
    let wrong = |mut bytes: Vec<u8>, at: usize| {
        bytes[at] ^= 1;
        bytes
    };
    let cases = [
        (vec![], EntryPointError::Anchor),
        (b"_DMI_".to_vec(), EntryPointError::Anchor),
        (b"_SM3_".to_vec(), EntryPointError::Cut { announced: 24, found: 5 }),
        (entry_point_3(9)[..23].to_vec(), EntryPointError::Cut { announced: 24, found: 23 }),
        (wrong(entry_point_3(9), 12), EntryPointError::Checksum),
        (wrong(entry_point_3(9), 7), EntryPointError::Checksum),
        (wrong(entry_point_2(31, 9, 1), 6), EntryPointError::Checksum),
        (entry_point_2(31, 9, 1)[..30].to_vec(), EntryPointError::Cut { announced: 31, found: 30 }),
        (b"_SM_\0\x21".to_vec(), EntryPointError::Length(0x21)),
        (b"_SM_\0\x1d".to_vec(), EntryPointError::Length(0x1d)),
        (b"_SM3_\0\x17".to_vec(), EntryPointError::Length(0x17)),
    ];
    let data = table(&[b"io.systemd.credential:a=1"]);
    for (entry_point, error) in cases {
        assert_eq!(EntryPoint::parse(&entry_point), Err(error), "{entry_point:?}");
        let delivery = verify_table(&Table::parse(&entry_point, data.clone()), &Policy::default());
        assert_eq!(codes(&delivery), ["entry-point"]);
        assert!(!delivery.passed());
        assert_eq!(intact(&delivery), [("a", &b"1"[..])]);
    }
    // The checksum of the whole entry point is correct, but the checksum or the anchor of its second part is wrong.
    let mut bytes = entry_point_2(31, 9, 1);
    bytes[22] += 1;
    bytes[5 + 1] -= 1;
    assert_eq!(EntryPoint::parse(&bytes), Err(EntryPointError::IntermediateChecksum));
    let mut bytes = entry_point_2(31, 9, 1);
    bytes[16] += 1;
    bytes[6] -= 1;
    assert_eq!(EntryPoint::parse(&bytes), Err(EntryPointError::IntermediateAnchor));
}

#[test]
fn a_structure_that_systemd_refuses_is_read_and_reported() {
    let data = [structure(11, &[1, 0], &[b"io.systemd.credential:a=1"]).as_slice(), END].concat();
    let delivery = verdict(&data);
    assert_eq!(codes(&delivery), ["structure-length"]);
    assert_eq!(intact(&delivery), [("a", &b"1"[..])]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 2000 }, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_a_panic_and_as_the_independent_walker_does(
        data in proptest::collection::vec(prop_oneof![4 => Just(0_u8), 1 => 0_u8..16, 2 => any::<u8>()], 0..400),
        entry_point in prop_oneof![Just(entry_point_3(100)), Just(entry_point_2(31, 100, 3)), any::<Vec<u8>>()],
    ) {
        let table = Table::parse(&entry_point, data.clone());
        let walked = walk(&data, EntryPoint::parse(&entry_point).is_ok_and(|e| e.form == Form::Smbios3));
        let strings: Vec<Vec<u8>> =
            table.oem_structures().flat_map(|oem| oem.strings().map(|(_, s)| s.to_vec()).collect::<Vec<_>>()).collect();
        let expected: Vec<Vec<u8>> =
            walked.into_iter().filter(|s| s.kind == 11).flat_map(|s| s.strings).collect();
        prop_assert_eq!(strings, expected);
        let delivery = verify_table(&table, &Policy::default());
        for finding in &delivery.findings {
            prop_assert!(finding.to_string().bytes().all(|b| (b' '..=b'~').contains(&b)));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "one of the tables has 64 KiB, which takes Miri minutes")]
    fn a_flipped_bit_never_panics(case in 0_usize..17, flips in proptest::collection::vec((any::<u32>(), 0_u8..8), 1..8)) {
        let folder = testkit::recorded().swap_remove(case);
        let mut data = std::fs::read(folder.join("DMI")).unwrap();
        let length = data.len();
        for (at, bit) in flips {
            data[at as usize % length] ^= 1 << bit;
        }
        let entry_point = std::fs::read(folder.join("smbios_entry_point")).unwrap();
        let table = Table::parse(&entry_point, data);
        _ = verify_table(&table, &Policy::default());
        _ = smbios_creds::guest::record::redact::redact(&table);
    }
}
