//! Redacted recordings contain no personal data of a vendor's table, and still show which machine the table
//! describes.

use std::fs;

use proptest::prelude::*;
use smbios_creds::format::smbios::Table;
use smbios_creds::format::smbios::machine::Machine;
use smbios_creds::guest::record::redact::redact;
use testkit::{END, oem, parse, structure, walk};

/// Returns the fields of a structure of this length. String numbers 1, 2 and so on are at these positions of the
/// structure.
fn fields(length: usize, strings: &[usize]) -> Vec<u8> {
    let mut formatted = vec![0; length - 4];
    for (number, position) in (1..).zip(strings) {
        formatted[position - 4] = number;
    }
    formatted
}

/// Returns the redacted recording of these structures. Checks that types, handles, lengths and lengths of strings are
/// unchanged.
fn redacted(structures: &[Vec<u8>]) -> Vec<u8> {
    let data = [structures.concat().as_slice(), END].concat();
    let redacted = redact(&parse(&data));
    let layout = |data: &[u8]| -> Vec<_> {
        let of = |s: testkit::Walked| {
            (s.kind, s.handle, s.length, s.strings.iter().map(Vec::len).collect::<Vec<_>>())
        };
        walk(data, true).into_iter().map(of).collect()
    };
    assert_eq!(layout(&redacted), layout(&data));
    redacted
}

fn contains(data: &[u8], text: &[u8]) -> bool {
    data.windows(text.len()).any(|window| window == text)
}

#[track_caller]
fn assert_gone(data: &[u8], personal: &[&[u8]]) {
    for text in personal {
        assert!(!contains(data, text), "{}", text.escape_ascii());
    }
}

/// A Type 1 structure with this UUID and version.
fn system(uuid: [u8; 16], version: &str) -> Vec<u8> {
    let mut formatted = fields(0x1b, &[0x04, 0x05, 0x06]);
    formatted[4..20].copy_from_slice(&uuid);
    structure(1, &formatted, &[b"QEMU", b"Standard PC", version.as_bytes()])
}

const UUID: [u8; 16] = *b"\x9a\x01UUID-of-16\xff\xfe\xfd\xfc";

/// The data of a "Redfish over IP" record (DSP0270): service UUID, addresses and host name.
fn redfish() -> Vec<u8> {
    let mut data = vec![0; 91];
    data[..16].copy_from_slice(&UUID);
    data[17] = 1;
    data[18..22].copy_from_slice(&[198, 51, 100, 77]);
    data[51] = 2;
    data[52..68].copy_from_slice(b"\x20\x01\x0d\xb8ADDRESS-\0\0\0\x01");
    data[90] = 12;
    data.extend_from_slice(b"bmc.host.lan\0\0");
    data
}

/// A Type 42 structure with an interface whose data is a serial number and a MAC address, and with a "Redfish over
/// IP" record.
fn management_controller() -> Vec<u8> {
    let mut formatted = vec![0x40, 15];
    formatted.extend_from_slice(b"\x04USB-SER\x02\xaa\xbb\xcc\xdd\xee\xff");
    let record = redfish();
    formatted.extend_from_slice(&[1, 4, u8::try_from(record.len()).unwrap()]);
    formatted.extend_from_slice(&record);
    structure(42, &formatted, &[b"INTERFACE-SERIAL"])
}

#[test]
fn smart_battery_keeps_no_serial_number_and_no_date() {
    let mut battery = fields(0x1a, &[0x05, 0x06, 0x07, 0x08]);
    battery[0x0c..0x10].copy_from_slice(b"SBDS");
    battery[0x12..0x16].copy_from_slice(b"OEM!");
    let strings: &[&[u8]] = &[b"maker", b"2024-02-30", b"BATTERY-1", b"device"];
    let data = redacted(&[structure(22, &battery, strings)]);
    assert_gone(&data, &[b"SBDS", b"SB", b"DS", b"OEM!", b"2024", b"BATTERY", b"device"]);
    assert!(contains(&data, b"maker\0"));
}

#[test]
fn management_controller_keeps_no_address_and_no_name() {
    let data = redacted(&[management_controller()]);
    assert_gone(
        &data,
        &[
            b"USB-SER",
            &[0xaa, 0xbb, 0xcc, 0xdd],
            &UUID,
            &[198, 51, 100, 77],
            b"ADDRESS",
            b"bmc",
            b"INTERFACE",
        ],
    );
}

#[test]
fn structures_without_a_known_model_keep_no_string_and_no_field() {
    for kind in [9, 11, 12, 13, 14, 40, 41, 42, 43, 45, 46, 126, 127] {
        let mut formatted = fields(0x18, &[0x04, 0x05, 0x06]);
        formatted[4..20].copy_from_slice(b"\x04\x01FIELDS-of-type");
        // The count of a Type 11 structure is the only field it has.
        formatted[0] = 3;
        let data = redacted(&[structure(kind, &formatted, &[b"STRING-1", b"STRING-2", b"STRING-3"])]);
        assert_gone(&data, &[b"STRI", b"FIEL", b"type"]);
    }
}

#[test]
fn personal_string_is_replaced_wherever_it_is_repeated() {
    let chassis = structure(
        3,
        &fields(0x16, &[0x04, 0x06, 0x07, 0x08, 0x15]),
        &[
            b"maker of SERIAL17",
            b"revision 2 for ASSET-9 and SKU-9 at bmc.host.lan",
            b"SERIAL17 ",
            b"ASSET-9",
            b"SKU-9",
        ],
    );
    let firmware = structure(
        0,
        &fields(0x18, &[0x04, 0x05, 0x08]),
        &[
            b"INACTIVE-7 INTERFACE-SERIAL Corp.",
            b"198.51.100.77 [2001:db8:4144:4452:4553:532d:0:1]",
            b"04/01/2014",
        ],
    );
    let inactive = structure(126, &fields(0x10, &[0x04]), &[b"INACTIVE-7"]);
    let jumper = structure(12, &[1], &[b"SERIAL17"]);
    let data = redacted(&[firmware, chassis, inactive, jumper, management_controller()]);
    let personal: &[&[u8]] =
        &[b"SERIAL", b"ASSET-9", b"SKU-9", b"bmc.host.lan", b"INACTIVE", b"198.51", b"2001:db8"];
    assert_gone(&data, personal);
    for kept in ["maker of xxxxxxxx\0", "revision 2 for xxxxxxx and xxxxx at xxxxxxxxxxxx\0", "04/01/2014\0"]
    {
        assert!(contains(&data, kept.as_bytes()), "{kept}: {}", data.escape_ascii());
    }
}

#[test]
fn uuid_is_replaced_in_every_form() {
    let text = "5549019a-2d44-666f-2d31-36fffefdfc00";
    let uuid = [0x9a, 1, 0x49, 0x55, 0x44, 0x2d, 0x6f, 0x66, 0x2d, 0x31, 0x36, 0xff, 0xfe, 0xfd, 0xfc, 0];
    let swapped = [0x55, 0x49, 1, 0x9a, 0x2d, 0x44, 0x66, 0x6f, 0x2d, 0x31, 0x36, 0xff, 0xfe, 0xfd, 0xfc, 0];
    let plain = "9A01495544 2D6F662D3136FFFEFDFC00".replace(' ', "");
    for other in [text.to_owned(), text.to_uppercase(), plain.to_lowercase(), plain] {
        let data = redacted(&[system(uuid, &format!("version {other}!"))]);
        assert_gone(&data, &[&uuid, other.as_bytes(), &other.as_bytes()[..9]]);
        assert!(contains(&data, b"version xxxxx"));
    }
    // The UUID in fields of another structure.
    for bytes in [uuid, swapped] {
        let mut memory = fields(0x28, &[]);
        memory[8..24].copy_from_slice(&bytes);
        assert_gone(&redacted(&[system(uuid, "1"), structure(17, &memory, &[])]), &[&bytes]);
    }
}

#[test]
fn value_repeated_in_a_model_name_is_replaced() {
    for string in ["io.systemd.credential:a=hunter2", "io.systemd.credential.binary:a=aHVudGVyMg=="] {
        let named = [system(UUID, "pc hunter2 aHVudGVyMg=="), oem(&[string.as_bytes()])];
        assert_gone(&redacted(&named), &[b"hunter2", &string.as_bytes()[string.len() - 7..]]);
    }
}

#[test]
fn trivial_personal_string_destroys_nothing() {
    let board =
        |serial: &[u8]| structure(2, &fields(0x0f, &[0x04, 0x06, 0x07]), &[b"maker 0", b"1.0", serial]);
    for serial in [&b"0"[..], b"1.0", b" ", b"er"] {
        let data = redacted(&[board(serial)]);
        assert!(contains(&data, b"maker 0\x001.0\0x"), "{}", data.escape_ascii());
    }
    // A string that a personal and another field share is personal.
    let mut shared = fields(0x0f, &[0x04, 0x05, 0x07]);
    shared[2] = 3;
    assert_gone(&redacted(&[structure(2, &shared, &[b"maker", b"product", b"n/a"])]), &[b"n/a"]);
}

#[test]
fn recorded_tables_still_say_which_machine_it_is() {
    for directory in testkit::recorded() {
        let read = |name| fs::read(directory.join(name)).unwrap();
        let (entry_point, data) = (read("smbios_entry_point"), read("DMI"));
        let table = Table::parse(&entry_point, data);
        let recorded = Table::parse(&entry_point, redact(&table));
        assert_eq!(Machine::of(&recorded), Machine::of(&table), "{}", directory.display());
    }
}

/// Structure types: the type, its length, the positions of strings that are kept, and the positions of strings that
/// are personal.
const TYPES: [(u8, usize, &[usize], &[usize]); 11] = [
    (1, 0x1b, &[0x04, 0x05, 0x06, 0x1a], &[0x07, 0x19]),
    (2, 0x0f, &[0x04, 0x05, 0x06], &[0x07, 0x08, 0x0a]),
    (3, 0x16, &[0x04, 0x06], &[0x07, 0x08, 0x15]),
    (4, 0x30, &[0x07, 0x10], &[0x20, 0x21]),
    (12, 0x05, &[], &[]),
    (17, 0x28, &[0x17], &[0x18, 0x19]),
    (22, 0x1a, &[0x05], &[0x06, 0x07]),
    (39, 0x16, &[0x07], &[0x08, 0x09]),
    (42, 0x20, &[], &[]),
    (46, 0x09, &[], &[0x06]),
    (126, 0x10, &[], &[]),
];

proptest! {
    /// Puts any string into any personal field, and repeats it within any kept string and in a string that no field
    /// refers to.
    #[test]
    fn personal_string_is_nowhere_in_a_recording(
        // The filler is `x`, so an `x` at an end of the secret could not be told from the filler.
        secret in "[!-wy-~][ -~]{2,40}[!-wy-~]",
        (at, field) in (0..TYPES.len(), any::<prop::sample::Index>()),
        (other, repeat) in (0..TYPES.len(), any::<prop::sample::Index>()),
        (before, after) in ("[ -~]{0,12}", "[ -~]{0,12}"),
    ) {
        let (kind, length, _, personal) = TYPES[at];
        let positions = if personal.is_empty() { vec![] } else { vec![*field.get(personal)] };
        let first = structure(kind, &fields(length, &positions), &[secret.as_bytes()]);
        let (kind, length, kept, _) = TYPES[other];
        let positions = if kept.is_empty() { vec![] } else { vec![*repeat.get(kept)] };
        let around = format!("{before}{secret}{after}");
        let second = structure(kind, &fields(length, &positions), &[around.as_bytes(), secret.as_bytes()]);
        for order in [[first.clone(), second.clone()], [second, first]] {
            let data = redacted(&order);
            prop_assert!(!contains(&data, secret.as_bytes()), "{}", data.escape_ascii());
        }
    }
}
