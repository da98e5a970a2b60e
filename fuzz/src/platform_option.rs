use smbios_creds::host::hypervisor::{Argument, CommandLine as _, Features, MergeError, cloud_hypervisor};

use crate::input::{CommandLine, Input, content, render};
use testkit::options::{ch_list, ch_options, file_number};

const STRINGS: &str = "oem_strings";
const PATHS: &str = "oem_string_paths";

/// Any command line of cloud-hypervisor is refused or merged with our strings. Both versions of cloud-hypervisor's
/// parser then read what they read before, followed by our strings: nothing is lost, added or moved, and no value
/// becomes an option.
pub fn platform_option(data: &[u8]) {
    let mut input = Input(data);
    let oem_string_paths = input.byte() % 2 == 1;
    let given = CommandLine::new(input.0);
    let features = Features(if oem_string_paths { vec!["oem_string_paths"] } else { vec![] });
    let Ok(mut line) = cloud_hypervisor::Platform::read("x86_64", &given.os_arguments(), &features) else {
        return;
    };
    let (before, platform) = without_platform(&given.arguments);
    let read = |key, new| -> Vec<String> {
        let list = ch_list(&platform, key, new).expect("accepted, and not by cloud-hypervisor");
        // The parser reads an empty list as a list of one empty string, which makes no string in the table.
        if list == [""] { Vec::new() } else { list }
    };
    let kept = read(STRINGS, false);
    assert_eq!(kept, read(STRINGS, true), "accepted, and read in two ways");
    let paths = read(PATHS, true);
    let existing = std::mem::take(&mut line.line().existing);
    assert!(existing.kept.iter().map(|(text, _)| text.expose()).eq(kept.iter().map(String::as_bytes)));
    assert!(
        existing.elsewhere.iter().map(|text| text.expose().to_vec()).eq(paths.iter().map(|p| content(p)))
    );
    let Ok(strings) = given.strings(existing) else { return };
    let texts: Vec<String> = strings.texts().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
    let merged = match Box::new(line).write(&strings).map(|written| written.arguments) {
        Ok(merged) => merged,
        Err(MergeError::Name { name, .. }) => {
            assert!(!oem_string_paths);
            return assert!(name.as_str().contains([',', '"', '[', ']']));
        }
        Err(error) => panic!("{error}"),
    };
    let hidden = merged.iter().filter(|argument| !matches!(argument, Argument::Public(_))).count();
    assert_eq!(hidden, 1, "all strings are in one argument, which is not a public one");
    let (rendered, files) = render(&merged);
    let (after, value) = without_platform(&rendered);
    assert_eq!(after, before, "the other arguments are as they were");
    assert_eq!(rendered.len(), before.len() + 2);

    let others = |text: &str, new: bool| {
        let mut options = ch_options(text, new).unwrap();
        options.retain(|(key, _)| key != STRINGS && key != PATHS && !(text.is_empty() && key.is_empty()));
        options
    };
    for new in [false, true] {
        assert_eq!(others(&value, new), others(&platform, new), "the other options are as they were");
        if oem_string_paths {
            let list = ch_list(&value, PATHS, new).unwrap();
            let (theirs, ours) = list.split_at(paths.len());
            assert_eq!(theirs, paths);
            assert!(ours.iter().map(|path| &files[file_number(path)]).eq(texts.iter().map(String::as_bytes)));
            assert!(ch_list(&value, STRINGS, new).unwrap().is_empty());
        } else {
            assert_eq!(ch_list(&value, STRINGS, new).unwrap(), texts);
            let list = ch_list(&value, PATHS, new).unwrap();
            assert_eq!(list, paths);
        }
    }
}

/// Returns the other arguments, and the value of `--platform`, which may occur only once.
fn without_platform(arguments: &[String]) -> (Vec<String>, String) {
    let (mut others, mut platform) = (Vec::new(), None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = match argument.strip_prefix("--platform") {
            Some("") => rest.next().map(String::as_str),
            Some(text) => text.strip_prefix('='),
            None => None,
        };
        match value {
            Some(value) => assert_eq!(platform.replace(value.to_owned()), None, "--platform twice"),
            None => others.push(argument.clone()),
        }
    }
    (others, platform.unwrap_or_default())
}
