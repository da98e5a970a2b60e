//! The instructions of the agent for tables of many kinds, in every part of the agent that reads a table.

use smbios_creds::format::manifest::Manifest;

use super::{Work, assert_linear};
use testkit::{END, agent, credential, oem, recording};

/// Verbs that read a whole table. `list` and `check` are not measured here: `import` prints what `list` prints, and
/// logs what `check` finds.
const VERBS: [&str; 2] = ["import", "record"];

/// Returns the command that runs a verb of the agent on a table of these structures.
fn on(verb: &str, structures: &[u8]) -> Work {
    let source = recording(&[structures, END].concat());
    let place = tempfile::tempdir().unwrap();
    let mut command = agent(&[verb, "--from"]);
    command.arg(source.path());
    let path = |name: &str| place.path().join(name);
    match verb {
        "import" => command.arg("--into").arg(path("credentials")),
        "record" => command.arg(path("recording")),
        _ => &mut command,
    };
    (command, vec![source, place])
}

/// Returns all strings in Type 11 structures of at most 255 strings each.
fn structures(strings: &[Vec<u8>]) -> Vec<u8> {
    let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
    strings.chunks(255).flat_map(oem).collect()
}

fn repeated(string: &str, size: usize) -> Vec<u8> {
    structures(&vec![string.as_bytes().to_vec(); size])
}

fn for_every_verb(what: &str, unit: usize, table: impl Fn(usize) -> Vec<u8>) {
    for verb in VERBS {
        assert_linear(&format!("{verb}, {what}"), unit, |size| on(verb, &table(size)));
    }
}

#[test]
fn structures_without_strings() {
    for_every_verb("structures without strings", 1500, |size| oem(&[]).repeat(size));
}

#[test]
fn structures_of_255_strings() {
    for_every_verb("structures of 255 strings", 20, |size| {
        let strings: Vec<Vec<u8>> = (0..255 * size).map(|n| format!("foreign {n}").into_bytes()).collect();
        structures(&strings)
    });
}

#[test]
fn one_huge_string() {
    for_every_verb("one string of bytes", 100_000, |size| {
        oem(&[&[b"io.systemd.credential:a=".as_slice(), &vec![b'x'; size]].concat()])
    });
}

#[test]
fn equal_names() {
    // A recording looks for repeats of values of 4 bytes and more. All of these values have 5 digits, so it looks for
    // each one.
    for_every_verb("equal names", 300, |size| {
        let strings: Vec<Vec<u8>> =
            (0..size).map(|n| format!("io.systemd.credential:name={n:05}").into_bytes()).collect();
        structures(&strings)
    });
}

#[test]
fn near_misses() {
    let string = "  io.systemd.crendetials  :name=value";
    for_every_verb("near misses", 1000, |size| repeated(string, size));
    for_every_verb("bytes of blanks before one", 100_000, |size| {
        oem(&[&[vec![b' '; size].as_slice(), string.as_bytes()].concat()])
    });
}

#[test]
fn names_that_are_refused() {
    for_every_verb("refused names", 300, |size| repeated("io.systemd.credential:\x1b[31m/=x", size));
    for_every_verb("bytes of one name", 20_000, |size| {
        oem(&[&[b"io.systemd.credential:".as_slice(), &vec![0x1b; size], b"=x"].concat()])
    });
    // The widest name decides how wide the column of names is.
    for_every_verb("bytes of one name, and as many names as fit into them", 3000, |size| {
        let name = [b"io.systemd.credential:".as_slice(), &vec![b'/'; size], b"=x"].concat();
        let others = vec![b"io.systemd.credential:a=1".to_vec(); size / 25];
        structures(&[vec![name; usize::from(size > 0)], others].concat())
    });
}

#[test]
fn empty_structures_of_nul_bytes() {
    for_every_verb("inactive structures", 3000, |size| [126, 4, 0, 0, 0, 0].repeat(size));
    for_every_verb("bytes of NUL behind the table", 100_000, |size| [END, &vec![0; size]].concat());
}

#[test]
fn base64_of_blanks() {
    for_every_verb("blanks in base64", 100_000, |size| {
        oem(&[&[b"io.systemd.credential.binary:a=AA".as_slice(), &vec![b' '; size], b"=="].concat()])
    });
}

fn manifest(names: usize) -> Vec<u8> {
    let set: Vec<_> = (0..names).map(|n| credential(&format!("credential-{n}"), b"value")).collect();
    Manifest::new(&set, [7; 16]).unwrap().encode().into_bytes()
}

#[test]
fn a_manifest_of_many_names() {
    for_every_verb("names in the manifest", 500, |size| oem(&[&manifest(size)]));
    for_every_verb("names in the manifest, all of them there", 300, |size| {
        let values = (0..size).map(|n| format!("io.systemd.credential:credential-{n}=value").into_bytes());
        structures(&values.chain([manifest(size)]).collect::<Vec<_>>())
    });
}

#[test]
fn many_manifests() {
    for_every_verb("equal manifests", 150, |size| structures(&vec![manifest(1); size]));
    for_every_verb("other manifests", 150, |size| {
        let manifests = (0..size).map(|n| Manifest::new(&[credential(&format!("c{n}"), b"x")], [7; 16]));
        structures(&manifests.map(|m| m.unwrap().encode().into_bytes()).collect::<Vec<_>>())
    });
    // Each manifest proves the same value, which is as large as all manifests together.
    for_every_verb("equal manifests of one large value", 100, |size| {
        let value = credential("large", &vec![b'x'; size * 200]);
        let manifest = Manifest::new([&value], [7; 16]).unwrap().encode().into_bytes();
        let string = [b"io.systemd.credential:large=".as_slice(), value.value.expose()].concat();
        structures(&[vec![string], vec![manifest; size]].concat())
    });
}

#[test]
fn a_manifest_of_brackets() {
    for_every_verb("nested brackets in a manifest", 20_000, |size| {
        let json = format!(r#"{{"version":1,"more":{}"#, "[".repeat(size));
        let text = smbios_creds::format::base64::encode(json.as_bytes());
        oem(&[format!("io.smbios-creds.manifest:{}", *text).as_bytes()])
    });
}

#[test]
fn sets_that_end_early() {
    // Each structure announces more strings than it has, and text follows it.
    for_every_verb("sets that end early", 300, |size| {
        b"\x0b\x05\x01\x02\x09io.systemd.credential:a=1\0\0Text\0\0".repeat(size)
    });
}

#[test]
fn the_verdict_on_a_bit_of_everything() {
    for form in ["--json=off", "--json=short"] {
        assert_linear(&format!("check {form}"), 10, |size| {
            let strings: [&[u8]; 6] = [
                b"io.systemd.credential:a=value",
                b"io.systemd.credentials:a=value",
                b"io.systemd.credential:a/b=value",
                b"io.systemd.credential:e=",
                b"io.systemd.credential.binary:b=*",
                b"foreign",
            ];
            let (mut command, folders) =
                on("check", &structures(&vec![strings.map(<[u8]>::to_vec); 10 * size].concat()));
            command.arg(form);
            (command, folders)
        });
    }
}
