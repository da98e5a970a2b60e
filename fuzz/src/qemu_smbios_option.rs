use smbios_creds::format::credential::Secret;
use smbios_creds::host::hypervisor::{Argument, CommandLine as _, MergeError, qemu};
use smbios_creds::host::strings::{Content, OemStrings};

use crate::input::{CommandLine, content, render};
use testkit::options::{file_number, qemu_smbios};
use testkit::table::walk;

/// Any command line of QEMU is refused or merged with our strings. Then its OEM strings and ours are in files, in
/// their order, and every other argument is unchanged: nothing is lost, added or moved, and no value becomes an
/// option.
pub fn qemu_smbios_option(data: &[u8]) {
    let given = CommandLine::new(data);
    let Ok(mut line) = qemu::Options::read("x86_64", &given.os_arguments()) else { return };
    let smbios: Vec<usize> =
        (0..given.arguments.len()).filter(|&at| is_smbios(&given.arguments[at])).collect();
    let options = qemu_smbios(&given.arguments);
    assert_eq!(smbios.len(), options.len(), "each is an option, and none the value of another");
    let (mut kept, mut elsewhere, mut folded) = (Vec::new(), Vec::new(), Vec::new());
    for (&at, pairs) in smbios.iter().zip(&options) {
        let find = |key| pairs.iter().rfind(|(name, _)| name == key).map(|(_, value)| value.as_str());
        if let Some(file) = find("file").filter(|file| !file.is_empty()) {
            let structures = walk(&content(file), false);
            let oem = structures.into_iter().filter(|structure| structure.kind == 11);
            elsewhere.extend(oem.flat_map(|structure| structure.strings));
        } else if strtoul(find("type").unwrap()) == Some(11) {
            folded.push(at);
            for (name, value) in pairs {
                match name.as_str() {
                    "value" => kept.push(value.clone().into_bytes()),
                    "path" => kept.push(content(value)),
                    "type" => {}
                    // QEMU ignores a comma at the end of an option.
                    "" => assert!(value.is_empty()),
                    other => panic!("{other} is nothing that QEMU takes, and was folded in"),
                }
            }
        }
    }
    // QEMU does not write an empty string into the table.
    kept.retain(|string| !string.is_empty());
    elsewhere.retain(|string| !string.is_empty());
    let existing = std::mem::take(&mut line.line().existing);
    assert!(existing.kept.iter().map(|(text, _)| text.expose()).eq(&kept));
    assert!(existing.elsewhere.iter().map(Secret::expose).eq(&elsewhere));
    let Ok(strings) = given.strings(existing) else { return };
    let texts: Vec<Vec<u8>> = strings.texts().map(<[u8]>::to_vec).collect();
    let merged = match Box::new(line).write(&strings).map(|written| written.arguments) {
        Ok(merged) => merged,
        Err(MergeError::ItemName { .. } | MergeError::NotCarried { .. }) => {
            return assert!(
                given
                    .arguments
                    .iter()
                    .any(|argument| argument.contains("microvm") || argument == "-readconfig")
            );
        }
        Err(error) => panic!("{error}"),
    };
    assert!(!merged.iter().any(|argument| matches!(argument, Argument::Private(_))));
    let others: Vec<&String> = given
        .arguments
        .iter()
        .enumerate()
        .filter(|(at, _)| !folded.iter().any(|option| (*option..option + 2).contains(at)))
        .map(|(_, argument)| argument)
        .collect();
    let (rendered, files) = render(&merged);
    assert!(
        rendered.iter().take(others.len()).eq(others.iter().copied()),
        "the other arguments are as they were"
    );
    if rendered.get(others.len()).is_some_and(|first| first == "-fw_cfg") {
        return only_items(&strings, &rendered[others.len()..], &files);
    }
    let mut found = Vec::new();
    for (index, option) in rendered[others.len()..].chunks(2).enumerate() {
        let [name, value] = option else { panic!("{option:?}") };
        if name == "-fw_cfg" {
            let (name, path) = value
                .strip_prefix("name=opt/io.systemd.credentials/")
                .unwrap()
                .rsplit_once(",file=")
                .unwrap();
            assert_eq!(file_number(path), index);
            let name = name.replace(",,", ",");
            let mut pages = strings.contents().filter(|(_, size)| *size > 4089).map(|(content, _)| content);
            assert!(pages.any(|content| matches!(content, Content::Credential { name: found, size, .. } if found.as_str() == name && *size == files[index].len())));
            continue;
        }
        assert_eq!(name, "-smbios");
        let path = value.strip_prefix("file=").unwrap();
        assert_eq!(file_number(path), index);
        let mut file = files[index].clone();
        if !file.ends_with(&[0, 0]) {
            // For old machine types, the file lacks the last NUL byte, because SeaBIOS adds it.
            file.push(0);
        }
        let structures = walk(&file, false);
        assert_eq!(structures.len(), 1, "one structure a file");
        found.extend(structures.into_iter().flat_map(|structure| structure.strings));
    }
    assert_eq!(found, texts);
}

/// Checks that a machine without SMBIOS gets a `fw_cfg` item with the bytes of each credential, and one for the
/// manifest.
fn only_items(strings: &OemStrings, options: &[String], files: &[Vec<u8>]) {
    let expected = strings.credentials().map(|(name, ..)| {
        let value = strings.credential(name).unwrap().value.expose().to_vec();
        (format!("opt/io.systemd.credentials/{}", name.as_str()), value)
    });
    let manifest = ("opt/io.smbios-creds/manifest".to_owned(), strings.manifest().to_vec());
    let expected: Vec<_> = expected.chain([manifest]).collect();
    assert_eq!(options.len(), 2 * expected.len());
    for (option, (path, value)) in options.chunks(2).zip(&expected) {
        let (name, file) = option[1].strip_prefix("name=").unwrap().rsplit_once(",file=").unwrap();
        assert_eq!((option[0].as_str(), &name.replace(",,", ",")), ("-fw_cfg", path));
        assert!(path.len() <= 55 && files[file_number(file)] == *value);
    }
}

fn is_smbios(argument: &str) -> bool {
    matches!(argument, "-smbios" | "--smbios")
}

/// Parses a text like strtoul(3) with base 0. Returns `None` unless the whole text is a number.
fn strtoul(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text).to_ascii_lowercase();
    let (digits, base) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text.as_str(), 10),
    };
    u64::from_str_radix(digits, base).ok()
}
