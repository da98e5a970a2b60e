//! `check --map` draws a table by positions, sizes and kinds, and never by the content of its strings.

use smbios_creds::format::base64;
use smbios_creds::format::manifest::Manifest;
use smbios_creds::format::oem_string::{BINARY_PREFIX, ENCRYPTED_PREFIX, TEXT_PREFIX};
use testkit::fw_cfg::{write_credential, write_item};
use testkit::{END, credential, entry_point_3, oem, recorded, recording_with, run_on, stderr, stdout, table};

/// Two values of one length that share no byte, and look like no text of a map.
const VALUES: [&str; 2] = ["QXZJQXZJQXZJ", "WKVYWKVYWKVY"];

/// Returns the map that `check --map` shows before its verdict.
fn map(source: &std::path::Path) -> String {
    let output = run_on(source, &["check", "--map"]);
    let text = stdout(&output);
    let (map, verdict) = text.split_once("\n\n").unwrap_or_else(|| panic!("{text}{}", stderr(&output)));
    assert!(
        ["passed: ", "failed: ", "nothing-sent: "].iter().any(|word| verdict.starts_with(word)),
        "{verdict}"
    );
    for line in map.lines() {
        assert!(line.len() <= 100 && line.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{line:?}");
    }
    map.to_owned()
}

/// Returns a table in which every byte of an OEM string is replaced by another, except bytes of a prefix or a name.
fn with_other_values(data: &[u8]) -> Vec<u8> {
    let mut other = data.to_vec();
    for structure in testkit::walk(data, false) {
        for string in structure.strings.iter().filter(|_| structure.kind == 11) {
            let at = data.windows(string.len()).position(|window| window == string).unwrap();
            let is_ours =
                [TEXT_PREFIX, BINARY_PREFIX].iter().any(|prefix| string.starts_with(prefix.as_bytes()));
            assert!(!string.starts_with(b"io.smbios-creds."), "a digest cannot be of two values");
            let equals = string.iter().position(|byte| *byte == b'=').filter(|_| is_ours);
            for (index, byte) in string.iter().enumerate().skip(equals.map_or(0, |at| at + 1)) {
                // A base64 text stays valid, since its padding is kept.
                other[at + index] = if *byte == b'=' { b'=' } else { b'A' };
            }
        }
    }
    other
}

#[test]
fn map_of_a_recorded_table_depends_on_no_value() {
    let mut changed = 0;
    for source in recorded() {
        let entry_point = std::fs::read(source.join("smbios_entry_point")).unwrap();
        let data = std::fs::read(source.join("DMI")).unwrap();
        let other = with_other_values(&data);
        changed += usize::from(other != data);
        assert_eq!(map(&source), map(recording_with(&entry_point, &other).path()), "{source:?}");
    }
    assert!(changed >= 12, "{changed}");
}

fn manifest(value: &[u8]) -> Vec<u8> {
    let set = [credential("db", value), credential("next", value)];
    Manifest::new(&set, [9; 16]).unwrap().encode().into_bytes()
}

/// Returns a table with this value for each way in which a secret is lost or refused: the name of the case, the entry
/// point, and the bytes of the table.
fn damaged(value: &str) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let base64 = base64::encode(value.as_bytes());
    let text = |name: &str| format!("io.systemd.credential:{name}={value}").into_bytes();
    let string = |text: String| text.into_bytes();
    let of = |strings: &[Vec<u8>]| table(&strings.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let manifest = manifest(value.as_bytes());
    let other_manifest = self::manifest(&[b"-", &value.as_bytes()[1..]].concat());
    let (db, next) = (text("db"), text("next"));
    let whole = of(&[manifest.clone(), db.clone(), next.clone()]);
    let mut wrong_count = of(&[db.clone(), next.clone()]);
    wrong_count[4] = 3;
    let many: Vec<_> = (0..300).map(|number| text(&format!("c{number}"))).collect();
    let refused = [
        string(format!("io.systemd.credential.binary:spare={}Zh==", *base64)),
        string(format!("io.systemd.credential.binary:bad={value}!")),
        string(format!("io.systemd.credential.binary:{}Zg==", *base64)),
        string(format!("io.systemd.credential.binary:{}", *base64::encode(&value.as_bytes()[..11]))),
        string(format!("io.systemd.credential:{value}")),
        string(format!("io.systemd.credential:../{value}={value}")),
        string(format!("io.systemd.credentials:near={value}")),
        string(format!(" IO.systemd.credential:near={value}")),
        string(format!("io.systemd.stub.kernel-cmdline-extra={value}")),
        string(value.to_owned()),
        string(format!("io.smbios-creds.manifest:{value}?")),
        string(format!("io.smbios-creds.signature:{value}")),
        string(format!("io.smbios-creds.receipt:{value}")),
        string(format!("{ENCRYPTED_PREFIX}{value}={value}")),
        b"io.systemd.credential:empty=".to_vec(),
    ];
    let ended = [b"\x0b\x05\x00\x00\x03".as_slice(), &db, b"\0\0", &next, b"\0\0", END].concat();
    let split = [b"\x0b\x05\x00\x00\x01".as_slice(), &db, b"\0", value.as_bytes(), b"\0\0", END].concat();
    let stray = [&db, b"\x90\x1b[31m".as_slice(), value.as_bytes()].concat();
    let at_whole = |data: Vec<u8>| (entry_point_3(data.len()), data);
    let as_announced = |announced: usize, data: &[u8]| (entry_point_3(announced), data.to_vec());
    let behind = [&whole, value.as_bytes()].concat();
    let bytes_end = whole.len() - END.len() - 8;
    let rows = [
        ("whole", at_whole(whole.clone())),
        ("cut in a value", as_announced(whole.len(), &whole[..bytes_end])),
        ("cut, and ended", as_announced(whole.len(), &[&whole[..bytes_end], b"\0\0"].concat())),
        ("value cut", at_whole(of(&[manifest.clone(), db[..db.len() - 4].to_vec(), next.clone()]))),
        ("value missing", at_whole(of(&[manifest.clone(), db.clone()]))),
        ("value changed", at_whole(of(&[other_manifest, db.clone(), next.clone()]))),
        ("fewer than announced", at_whole(wrong_count)),
        ("more than can be counted", at_whole(of(&many))),
        (
            "sent again",
            at_whole(of(&[db.clone(), text("db"), string(format!("io.systemd.credential:db={value}2"))])),
        ),
        ("ended by an empty element", at_whole(ended)),
        ("split by NUL", at_whole(split)),
        ("stray bytes in a string", at_whole(of(&[manifest, stray, next]))),
        ("stray bytes after the end", at_whole(behind)),
        ("refused strings", at_whole(of(&refused))),
        ("text for a structure", at_whole([oem(&[&db]), value.as_bytes().to_vec()].concat())),
        ("no entry point", (value.as_bytes().to_vec(), of(&[db]))),
    ];
    rows.map(|(name, (entry_point, data))| (name, entry_point, data)).into()
}

#[test]
fn map_of_a_damaged_table_shows_no_part_of_a_value() {
    let [one, other] = VALUES.map(damaged);
    let mut marks = 0;
    for ((name, entry_point, data), (_, other_entry_point, other_data)) in one.iter().zip(&other) {
        let maps = [
            map(recording_with(entry_point, data).path()),
            map(recording_with(other_entry_point, other_data).path()),
        ];
        for (map, value) in maps.iter().zip(VALUES) {
            let base64 = base64::encode(value.as_bytes());
            for part in value.as_bytes().windows(3).chain(base64.as_bytes().windows(4)) {
                let part = str::from_utf8(part).unwrap();
                assert!(!map.contains(part), "{name}: {part}\n{map}");
            }
        }
        assert_eq!(maps[0], maps[1], "{name}");
        marks += maps[0].matches("^ ").count();
    }
    assert!(marks >= 35, "{marks}");
}

#[test]
fn map_of_fw_cfg_shows_no_part_of_a_value() {
    let [one, other] = VALUES.map(|value| {
        let folder = tempfile::tempdir().unwrap();
        write_credential(folder.path(), 40, "db", value.as_bytes());
        write_credential(folder.path(), 41, &format!("{value}\n"), value.as_bytes());
        write_item(folder.path(), 42, b"opt/io.smbios-creds/manifest", value.as_bytes());
        write_item(folder.path(), 43, b"opt/io.smbios-creds/signature", value.as_bytes());
        write_item(folder.path(), 44, b"opt/other", value.as_bytes());
        let map = map(folder.path());
        assert!(
            !value.as_bytes().windows(3).any(|part| map.contains(str::from_utf8(part).unwrap())),
            "{map}"
        );
        map
    });
    assert_eq!(one, other);
}
