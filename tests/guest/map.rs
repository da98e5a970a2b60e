//! `check --map`: where everything is in the table, and where it breaks.

use std::path::Path;

use smbios_creds::format::manifest::Manifest;
use smbios_creds::guest::report::map::{STRINGS_MAX, STRUCTURES_MAX, WIDTH};
use testkit::fw_cfg::{write_credential, write_item};
use testkit::{
    END, agent, code, credential, entry_point_3, oem, recording, recording_with, run, run_on, stderr,
};
use testkit::{stdout, structure, table, testdata};

/// Returns the map and the exit code. Checks that the exit code, the log and the verdict are those of `check` without
/// `--map`.
fn map(source: &Path) -> (String, i32) {
    let output = run_on(source, &["check", "--map"]);
    let plain = run_on(source, &["check"]);
    assert_eq!((code(&output), stderr(&output)), (code(&plain), stderr(&plain)));
    let text = stdout(&output);
    let (map, verdict) = text.split_once("\n\n").unwrap_or_else(|| panic!("{text}{}", stderr(&output)));
    assert_eq!(verdict, stdout(&plain));
    assert!(map.lines().all(|line| line.len() <= WIDTH), "{map}");
    (map.to_owned(), code(&output))
}

fn lines(source: &Path) -> Vec<String> {
    map(source).0.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Whether a line begins with `line`, and the next one with `^ ` and `mark`.
fn is_marked(lines: &[String], line: &str, mark: &str) -> bool {
    lines.windows(2).any(|pair| pair[0].starts_with(line) && pair[1].starts_with(&format!("^ {mark}")))
}

#[test]
fn map_of_a_recorded_table_is_drawn_line_by_line() {
    let (map, exit) = map(&testdata("qemu-7.2-q35"));
    let expected = [
        "   OFFSET   LENGTH  WHAT",
        "        -        -  entry point _SM_, SMBIOS 2.8: 412 bytes announced, 412 found",
        "        0      246  4 other structures",
        "      246       36  structure 11-0, handle 0x0e00: 1 string announced, 1 found",
        "      251       29      1  text      foo                      3 bytes",
        "      282      124  4 other structures",
        "      406        6  end of the table",
    ];
    assert_eq!((map, exit), (expected.join("\n"), 0));
}

#[test]
fn cut_table_is_marked_where_it_breaks() {
    let text = |name: &str| format!("io.systemd.credential:{name}=hunter2");
    let whole = table(&[text("first").as_bytes(), text("last").as_bytes()]);
    let cut = [&whole[..whole.len() - END.len() - 3], b"\0\0"].concat();
    let source = recording_with(&entry_point_3(whole.len()), &cut);
    let lines = lines(source.path());
    assert!(is_marked(&lines, "- - entry point _SM3_", "the SMBIOS table is cut: 83 bytes"), "{lines:#?}");
    assert!(
        is_marked(&lines, "41 33 2 text last 6 bytes maybe-cut", "the table is damaged after it"),
        "{lines:#?}"
    );
    assert_eq!(lines.last().unwrap(), "76 7 announced, but missing: the table is cut here");
    let before = lines.iter().position(|line| line.starts_with("5 35 1 text first 7 bytes")).unwrap();
    assert!(!lines[before + 1].starts_with('^'), "{lines:#?}");
}

#[test]
fn each_way_to_break_has_a_mark_at_its_place() {
    let db = b"io.systemd.credential:db=hunter2";
    let lines_of = |data: &[u8]| lines(recording(data).path());
    let structure = "0 39 structure 11-0, handle 0x0e0b";
    // A NUL byte in a value.
    let mut split = table(&[db, b"tail"]);
    split[4] = 1;
    assert!(is_marked(
        &lines_of(&split),
        "0 44 structure 11-0, handle 0x0e0b: 1 string announced, 2 found",
        "1 OEM"
    ));
    // Dropped strings.
    let mut dropped = table(&[db]);
    dropped[4] = 3;
    let of_dropped = lines_of(&dropped);
    assert!(is_marked(
        &of_dropped,
        &format!("{structure}: 3 strings announced, 1 found"),
        "3 OEM strings are announced"
    ));
    // An empty string ends the set of strings early. What follows is not a structure, or looks like one.
    for (behind, what) in [("io.systemd", "39 12 not a structure"), ("A\x04CDE", "39 7 1 other structure")] {
        let lines = lines_of(&[&dropped[..39], behind.as_bytes(), b"\0\0"].concat());
        let next =
            lines.iter().position(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{lines:#?}"));
        let mut marks = lines[next + 1..].iter().take_while(|line| line.starts_with('^'));
        assert!(marks.any(|line| line.starts_with("^ text follows the OEM strings")), "{lines:#?}");
    }
    // Stray bytes, strings that are not credentials, and empty strings.
    let stray = lines_of(&[table(&[db]), vec![1, 2, 3]].concat());
    assert!(
        is_marked(&stray, "45 3 stray bytes after the end of the table", "3 bytes after the end"),
        "{stray:#?}"
    );
    let refused = lines_of(&table(&[db, b"io.systemd.credential:none", b"io.systemd.credentials:a=b"]));
    assert!(
        is_marked(&refused, "38 26 2 text - no-equals", "the OEM string of 26 bytes has no '='"),
        "{refused:#?}"
    );
    assert!(is_marked(&refused, "65 26 3 mistyped -", "an OEM string almost starts with"), "{refused:#?}");
    let empty = lines_of(&testkit::table(&[b"", b"io.systemd.credential:a="]));
    assert!(is_marked(&empty, "5 0 1 empty -", "an OEM string is empty"), "{empty:#?}");
    assert!(is_marked(&empty, "6 24 2 text a 0 bytes empty", "empty (0 bytes)"), "{empty:#?}");
    // A table that breaks in a Type 11 structure, and a table without an entry point.
    let broken = lines_of(&[table(&[])[..7].to_vec(), b"\x0b\x05\0\0\x01io.sys".to_vec()].concat());
    assert!(
        broken.iter().any(|line| line.starts_with("^ the SMBIOS table breaks inside an OEM")),
        "{broken:#?}"
    );
    assert!(is_marked(&broken, "7 11 not a structure: the table breaks here", "the SMBIOS table is damaged"));
    let source = recording_with(b"", &table(&[db]));
    assert!(is_marked(
        &lines(source.path()),
        "- - entry point that cannot be read",
        "the SMBIOS entry point is damaged"
    ));
}

#[test]
fn strings_besides_credentials_have_their_kind_and_lost_ones_a_line() {
    let sent = [credential("db", b"hunter2"), credential("gone", b"hunter3")];
    let manifest = Manifest::new(&sent, [9; 16]).unwrap().encode();
    let sealed = [b"io.smbios-creds.encrypted:vpn=".as_slice(), &testkit::sealed("host")].concat();
    let source =
        recording(&table(&[manifest.as_bytes(), b"io.systemd.credential:db=hunter", b"vendor", &sealed]));
    let lines = lines(source.path());
    assert!(lines.contains(&format!("5 {} 1 manifest -", manifest.len())), "{lines:#?}");
    assert!(is_marked(
        &lines,
        &format!("{} 31 2 text db 6 bytes size-differs", 6 + manifest.len()),
        "7 bytes were"
    ));
    let ends = |end: &str| lines.iter().any(|line| line.ends_with(end));
    assert!(ends(" 6 3 other -") && ends(" 4 encrypted vpn 140 bytes"), "{lines:#?}");
    assert!(
        is_marked(
            &lines,
            "- - missing: neither in SMBIOS nor in fw_cfg",
            "credential gone: missing: sent with 7 bytes"
        ),
        "{lines:#?}"
    );
}

#[test]
fn map_of_thousands_of_strings_and_structures_is_short() {
    let text = |name: String| format!("io.systemd.credential:{name}=x").into_bytes();
    let strings: Vec<_> = (0..5000).map(|number| text(format!("c{number}"))).collect();
    let mut strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
    // The map shows a string with a finding wherever the string is.
    let bad = b"io.systemd.credential:none";
    strings[4000] = bad;
    let many = recording(&table(&strings));
    let (map, _) = map(many.path());
    assert!(map.lines().count() < STRINGS_MAX + 16, "{map}");
    assert!(map.contains("3968 more strings\n") && map.contains(" 4001  text      -"), "{map}");
    assert!(map.contains("999 more strings\n"), "{map}");

    let one = oem(&[b"io.systemd.credential:a=x"]);
    let pair = [structure(1, &[], &[]), one].concat();
    let mut data = pair.repeat(4000);
    data.extend_from_slice(END);
    let source = recording(&data);
    let output = run_on(source.path(), &["check", "--map"]);
    let map = stdout(&output).split("\n\n").next().unwrap().to_owned();
    // The same credential was sent 4,000 times. Of the findings of one kind, eight are kept.
    assert!(map.lines().count() < 4 * (STRUCTURES_MAX + 8) + 8, "{map}");
    assert!(map.contains(" of Type 11 without findings, "), "{map}");
}

#[test]
fn names_are_escaped_and_cut_to_the_width_of_the_map() {
    let long = format!("io.systemd.credential: {}=x", "n".repeat(254));
    let source = recording(&table(&[long.as_bytes()]));
    let lines = lines(source.path());
    assert!(lines.iter().any(|line| line.contains(r"\x20nnn") && line.contains("... 1 byte")), "{lines:#?}");
}

#[test]
fn fw_cfg_items_are_drawn_with_and_without_a_table() {
    let folder = tempfile::tempdir().unwrap();
    write_credential(folder.path(), 40, "db", b"hunter2");
    write_credential(folder.path(), 41, "a/b", b"hunter2");
    write_item(folder.path(), 42, b"opt/io.smbios-creds/signature", b"none");
    let lines = lines(folder.path());
    assert_eq!(lines[1..3], ["- - fw_cfg items, in the order of their keys", "- 7 40 raw db 7 bytes"]);
    assert!(
        is_marked(
            &lines,
            "- 7 41 raw - bad-name",
            "the fw_cfg item of 7 bytes has a name that is not allowed"
        ),
        "{lines:#?}"
    );
    assert!(lines.contains(&"- 4 42 signature -".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"- - no SMBIOS table".to_owned()), "{lines:#?}");
    let data = table(&[b"io.systemd.credential:db=other"]);
    std::fs::write(folder.path().join("smbios_entry_point"), entry_point_3(data.len())).unwrap();
    std::fs::write(folder.path().join("DMI"), &data).unwrap();
    let both = self::lines(folder.path());
    assert!(
        is_marked(&both, "5 30 1 text db 5 bytes duplicate", "was sent again with another value"),
        "{both:#?}"
    );
    for key in 100..200 {
        write_credential(folder.path(), key, &format!("c{key}"), b"x");
    }
    let many = self::lines(folder.path());
    let hidden = 103 - STRINGS_MAX;
    assert!(many.contains(&format!("- {hidden} {hidden} more items")), "{many:#?}");
}

#[test]
fn map_is_for_people_and_json_has_offsets() {
    let output = run(agent(&["check", "--map", "--json", "--from"]).arg(testdata("qemu-7.2-pc")));
    assert_eq!((code(&output), stdout(&output).as_str()), (2, ""));
    assert!(stderr(&output).contains("'--map' cannot be used with '--json"), "{}", stderr(&output));
}
