//! Finds out which machine a table describes, for every recording, for what hypervisors and firmware write, and for
//! misleading tables.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use smbios_creds::format::smbios::Table;
use smbios_creds::format::smbios::machine::{Firmware, FirmwareKind, Hypervisor, Machine, Model};
use testkit::{END, entry_point_3, oem, parse, structure};

/// A Type 0 structure. Its fields refer to strings 1 to 3: vendor, version and date.
fn firmware(strings: &[&[u8]]) -> Vec<u8> {
    structure(0, &[1, 2, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0], strings)
}

/// A Type 1 structure. Its fields refer to strings 1 to 4: manufacturer, product, version and serial number.
fn model(strings: &[&[u8]]) -> Vec<u8> {
    structure(1, &[&[1, 2, 3, 4][..], &[0; 19]].concat(), strings)
}

fn machine(structures: &[&[u8]]) -> Machine {
    Machine::of(&parse(&[&structures.concat(), END].concat()))
}

#[test]
fn recordings_name_their_machine() {
    let mut cases = 0;
    for folder in testkit::recorded() {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let expect: Value = serde_json::from_slice(&read("expect.json")).unwrap();
        let machine = Machine::of(&Table::parse(&read("smbios_entry_point"), read("DMI")));
        assert_eq!(machine.to_string(), expect["machine"], "{}", folder.display());
        let name = folder.file_name().unwrap().to_str().unwrap();
        let (hypervisor, cuts) = match name {
            "qemu-10-ovmf" => (Hypervisor::Qemu, Some(false)),
            _ if name.starts_with("qemu-") => (Hypervisor::Qemu, Some(true)),
            _ => (Hypervisor::CloudHypervisor, None),
        };
        assert_eq!(machine.hypervisor, Some(hypervisor), "{name}");
        assert_eq!(machine.cuts_tables_above_64_kib(), cuts, "{name}");
        cases += 1;
    }
    assert!(cases >= 17, "{cases}");
}

#[test]
fn json_names_every_field_that_is_known() {
    let qemu = machine(&[
        &firmware(&[b"SeaBIOS", b"1.16.2", b"04/01/2014"]),
        &model(&[b"QEMU", b"PC", b"pc-q35-7.2"]),
    ]);
    let expect = json!({
        "hypervisor": "qemu",
        "firmware": {"vendor": "SeaBIOS", "version": "1.16.2", "date": "04/01/2014"},
        "model": {"manufacturer": "QEMU", "product": "PC", "version": "pc-q35-7.2"},
    });
    assert_eq!(serde_json::to_value(qemu).unwrap(), expect);
    let cloud_hypervisor = machine(&[&firmware(&[b"cloud-hypervisor"])]);
    let expect = json!({"hypervisor": "cloud-hypervisor", "firmware": {"vendor": "cloud-hypervisor"}});
    assert_eq!(serde_json::to_value(cloud_hypervisor).unwrap(), expect);
    assert_eq!(serde_json::to_value(machine(&[])).unwrap(), json!({}));
}

#[test]
fn hypervisor_is_recognized_by_marks_a_user_does_not_set() {
    let hypervisor = |structures: &[&[u8]]| machine(structures).hypervisor;
    // crosvm writes these strings into Types 0 and 1 (`x86_64/src/smbios.rs`). With `--smbios manufacturer=`, a user
    // can replace the manufacturer in Type 1.
    let crosvm = firmware(&[b"crosvm", b"0"]);
    assert_eq!(hypervisor(&[&crosvm, &model(&[b"ChromiumOS", b"crosvm"])]), Some(Hypervisor::Crosvm));
    assert_eq!(hypervisor(&[&crosvm, &model(&[b"acme", b"web"])]), Some(Hypervisor::Crosvm));
    let cloud_hypervisor = firmware(&[b"cloud-hypervisor", b"0"]);
    assert_eq!(
        hypervisor(&[&cloud_hypervisor, &model(&[b"acme", b"prod"])]),
        Some(Hypervisor::CloudHypervisor)
    );
    let seabios = firmware(&[b"SeaBIOS", b"1.17.0-1"]);
    for version in [&b"pc-q35-11.1"[..], b"pc-i440fx-7.2"] {
        assert_eq!(hypervisor(&[&seabios, &model(&[b"KubeVirt", b"None", version])]), Some(Hypervisor::Qemu));
    }
    let hyper_v = model(&[b"Microsoft Corporation", b"Virtual Machine", b"7.0"]);
    for vendor in [&b"American Megatrends Inc."[..], b"Microsoft Corporation"] {
        assert_eq!(hypervisor(&[&firmware(&[vendor]), &hyper_v]), Some(Hypervisor::HyperV));
    }
    assert_eq!(hypervisor(&[&seabios, &hyper_v]), None, "QEMU can name any manufacturer");
    let other = machine(&[&model(&[b"OpenStack Foundation", b"OpenStack Nova", b"27.0"]), &seabios]);
    assert_eq!(other.hypervisor, None);
    assert_eq!(other.to_string(), "OpenStack Foundation OpenStack Nova (27.0), firmware SeaBIOS 1.17.0-1");
    assert_eq!(machine(&[]).to_string(), "unknown machine");
    assert_eq!(machine(&[&seabios]).to_string(), "unknown machine, firmware SeaBIOS 1.17.0-1");
}

#[test]
fn seabios_before_1_17_is_known_to_cut_tables() {
    let kind = |strings: &[&[u8]]| {
        let machine = machine(&[&firmware(strings)]);
        (machine.firmware_kind(), machine.cuts_tables_above_64_kib())
    };
    let seabios = |version: &[u8]| kind(&[b"SeaBIOS", version]);
    for (version, known, cuts) in [
        (&b"1.16.2-debian-1.16.2-1"[..], (1, 16), true),
        (b"1.16.3-debian-1.16.3-2", (1, 16), true),
        (b"rel-1.16.3-0-ga6ed6b701f0a-prebuilt.qemu.org", (1, 16), true),
        (b"1.9.1-5.el7_3.2", (1, 9), true),
        (b"1.17.0-1", (1, 17), false),
        (b"rel-1.17.0-0-gb52ca86e094d-prebuilt.qemu.org", (1, 17), false),
        (b"2.0", (2, 0), false),
    ] {
        assert_eq!(
            seabios(version),
            (Some(FirmwareKind::SeaBios(Some(known))), Some(cuts)),
            "{}",
            version.escape_ascii()
        );
    }
    for version in [&b"?-20190711_202441-buildvm"[..], b"1", b"1.", b"x.y", b"-1.2", b"99999999999.1", b" "] {
        assert_eq!(seabios(version), (Some(FirmwareKind::SeaBios(None)), None), "{}", version.escape_ascii());
    }
    for vendor in [&b"EDK II"[..], b"Debian distribution of EDK II", b"EFI Development Kit II / OVMF"] {
        assert_eq!(kind(&[vendor, b"2025.02"]), (Some(FirmwareKind::EdkII), Some(false)));
    }
    assert_eq!(kind(&[b"coreboot", b"1.2"]), (None, None));
    assert_eq!(kind(&[]), (None, None));
}

#[test]
fn missing_and_hostile_strings_are_left_out_or_escaped() {
    // Structures that are too short for any field or for some fields, that have no strings, string numbers without a
    // string, or empty strings.
    assert_eq!(
        machine(&[&structure(0, &[], &[]), &structure(1, &[], &[])]).firmware,
        Some(Firmware::default())
    );
    assert_eq!(
        machine(&[&structure(1, &[1], &[b"maker"])]).model.unwrap().manufacturer,
        Some("maker".to_owned())
    );
    assert_eq!(machine(&[&model(&[])]).model, Some(Model::default()));
    assert_eq!(machine(&[&structure(1, &[9, 255, 0], &[b"a"])]).model, Some(Model::default()));
    assert_eq!(
        machine(&[&structure(1, &[1, 2, 3], &[b"", b"b", b" "])]).model,
        Some(Model { product: Some("b".to_owned()), ..Model::default() })
    );
    // Strings that could control a terminal or forge a line of a log, and a string that is not text.
    let hostile = machine(&[&model(&[b"a\x1b[31m\nb", b"\xff\xfe", b" padded \t"])]).model.unwrap();
    assert_eq!(hostile.manufacturer, Some(r"a\x1b[31m\nb".to_owned()));
    assert!(hostile.product.is_some_and(|product| product.bytes().all(|byte| byte.is_ascii_graphic())));
    assert_eq!(hostile.version, Some("padded".to_owned()));
    // A string is kept up to 64 bytes, the maximum that SMBIOS once allowed.
    let long = machine(&[&model(&[&vec![b'm'; 70_000]])]).model.unwrap();
    assert_eq!(long.manufacturer, Some("m".repeat(64)));
    // The first structure of a type counts.
    let twice = machine(&[&model(&[b"first"]), &model(&[b"second"]), &firmware(&[]), &firmware(&[b"late"])]);
    assert_eq!(
        (twice.model.unwrap().manufacturer, twice.firmware),
        (Some("first".to_owned()), Some(Firmware::default()))
    );
    // The serial number is not kept.
    assert!(!format!("{:?}", machine(&[&model(&[b"a", b"b", b"c", b"SERIAL"])])).contains("SERIAL"));
}

#[test]
fn text_after_lost_strings_is_not_taken_for_a_machine() {
    // The NUL bytes of two empty strings end the set of strings. The NUL byte of a third one is taken for the type of
    // the next structure, and the first byte of the next string for its length.
    let spilled = [b"\x0b\x05\0\0\x04\0\0".as_slice(), b"\0\x05se\x01hunter2\0\0", END].concat();
    let table = parse(&spilled);
    assert_eq!(table.structures()[1].kind, 0);
    assert_eq!(Machine::of(&table), Machine::default());
    // With as many strings as the count byte says, modulo 256, nothing is lost.
    for count in [0, 1, 255, 256, 300] {
        let strings = vec![&b"x"[..]; count];
        assert!(machine(&[&oem(&strings), &model(&[b"QEMU"])]).model.is_some(), "{count}");
    }
    // A structure that is too short for a count byte does not say how many strings were sent.
    assert_eq!(machine(&[&structure(11, &[], &[b"x"]), &model(&[b"QEMU"])]).model, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 1000 }))]

    #[test]
    fn any_structure_gives_printable_text(
        structures in vec((0..3_u8, vec(any::<u8>(), 0..30), vec(vec(1..=255_u8, 0..80), 0..5)), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut data = Vec::new();
        for (kind, formatted, strings) in &structures {
            data.extend(structure(*kind, formatted, &strings.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        }
        data.truncate(cut.index(data.len() + 1));
        let machine = Machine::of(&Table::parse(&entry_point_3(data.len()), data));
        let printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        prop_assert!(printable(&machine.to_string()));
        prop_assert!(printable(&serde_json::to_string(&machine).unwrap()));
        _ = machine.cuts_tables_above_64_kib();
    }
}
