//! What the tests of the host share: credentials directories, and the option parsers of hypervisors once more, written
//! from what was measured of them and without a line of ours.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use smbios_creds::credential::{Credential, Name, Secret};
use smbios_creds::guest::delivery::Delivery;
use smbios_creds::guest::verify::{ManifestPolicy, Policy, verify};
use smbios_creds::host::hypervisor::{Argument, Features, Kind, Part};
use smbios_creds::host::plan::{Order, Plan, PlanError};
use smbios_creds::smbios::Table;

/// A folder of one file a credential.
pub fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in files {
        std::fs::write(folder.path().join(name), value).unwrap();
    }
    folder
}

/// The host's program.
pub fn host(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smbios-creds-host"));
    command.args(arguments).env_remove("CREDENTIALS_DIRECTORY").env_remove("JOURNAL_STREAM");
    command
}

/// The host's program with this credentials directory.
pub fn host_with(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = host(arguments);
    command.env("CREDENTIALS_DIRECTORY", directory);
    command
}

pub fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// What to start, with these arguments and credentials.
pub fn order(kind: Kind, arguments: &[&str], credentials: Vec<Credential>) -> Order {
    Order {
        kind,
        program: PathBuf::from(if kind == Kind::Qemu { "qemu-system-x86_64" } else { kind.as_str() }),
        argv0: "argv0".into(),
        arguments: arguments.iter().map(OsString::from).collect(),
        features: Features::default(),
        credentials,
        allow_empty: Vec::new(),
        allow_argv: false,
    }
}

/// A plan with one credential.
pub fn plan(kind: Kind, arguments: &[&str]) -> Result<Plan, PlanError> {
    Plan::new(order(kind, arguments, vec![super::credential("db", b"secret")]))
}

/// Why there is no plan, in words.
pub fn refusal(kind: Kind, arguments: &[&str]) -> String {
    let Err(error) = plan(kind, arguments) else { panic!("{arguments:?} is not refused") };
    error.to_string()
}

/// The arguments as the hypervisor has them, and the content of the files that they name.
pub fn render(arguments: &[Argument]) -> (Vec<String>, Vec<Vec<u8>>) {
    let mut files = Vec::new();
    let text = |text: &OsString| text.to_str().unwrap().to_owned();
    let mut file = |content: &Secret| {
        files.push(content.expose().to_vec());
        format!("/proc/self/fd/{}", files.len() - 1)
    };
    let mut part = |part: &Part| match part {
        Part::Text(part) => text(part),
        Part::File(content) => file(content),
    };
    let rendered = arguments
        .iter()
        .map(|argument| match argument {
            Argument::Public(argument) => text(argument),
            Argument::Private(value) => String::from_utf8(value.expose().to_vec()).unwrap(),
            Argument::Files(parts) => parts.iter().map(&mut part).collect(),
        })
        .collect();
    (rendered, files)
}

/// Which of the rendered files a path means.
pub fn file_number(path: &str) -> usize {
    path.strip_prefix("/proc/self/fd/").unwrap().parse().unwrap()
}

/// Verifies a table of these structures as a guest that requires a manifest does.
pub fn delivered(structures: &[Vec<u8>]) -> Delivery {
    let table = [structures.concat().as_slice(), super::END].concat();
    let table = Table::parse(&super::entry_point_3(table.len()), table);
    let policy = Policy { manifest: ManifestPolicy::Require, ..Policy::default() };
    verify(&table, &policy)
}

/// One structure of all strings, as cloud-hypervisor and crosvm build it.
pub fn one_structure(strings: &[String]) -> Vec<u8> {
    let strings: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
    super::oem(&strings)
}

/// QEMU's option parser, by `hw/smbios/smbios.c` and `util/qemu-option.c` as measured: what its `-smbios` options say.
pub fn qemu_smbios(arguments: &[String]) -> Vec<Vec<(String, String)>> {
    let mut options = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument != "-smbios" && argument != "--smbios" {
            continue;
        }
        let mut pairs = vec![(String::new(), String::new())];
        let mut in_value = false;
        let mut characters = rest.next().unwrap().chars().peekable();
        while let Some(character) = characters.next() {
            let pair = pairs.last_mut().unwrap();
            match (in_value, character) {
                (false, '=') => in_value = true,
                (true, ',') if characters.next_if_eq(&',').is_some() => pair.1.push(','),
                (_, ',') => {
                    in_value = false;
                    pairs.push((String::new(), String::new()));
                }
                (false, _) => pair.0.push(character),
                (true, _) => pair.1.push(character),
            }
        }
        options.push(pairs);
    }
    options
}

/// Splits as cloud-hypervisor does: at commas outside of quotes and brackets. v48 and newer keep the quotes.
fn ch_split(text: &str, keep_quotes: bool) -> Option<Vec<String>> {
    let (mut depth, mut quoted, mut elements) = (0, false, vec![String::new()]);
    for character in text.trim().chars() {
        let current = elements.last_mut().unwrap();
        match character {
            '"' => {
                quoted = !quoted;
                if keep_quotes {
                    current.push(character);
                }
                continue;
            }
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 && !quoted => {
                elements.push(String::new());
                continue;
            }
            _ => {}
        }
        if depth < 0 {
            return None;
        }
        elements.last_mut().unwrap().push(character);
    }
    (depth == 0 && !quoted).then_some(elements)
}

/// A list in the value of `--platform`, as cloud-hypervisor v26 to v47 (`new: false`) or v48 to v53 reads it.
pub fn ch_list(platform: &str, key: &str, new: bool) -> Option<Vec<String>> {
    if platform.trim().is_empty() {
        return Some(Vec::new());
    }
    let mut value = None;
    for option in ch_split(platform, new)? {
        if let Some((found, text)) = option.split_once('=')
            && found == key
        {
            value = Some(text.trim().to_owned());
        }
    }
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Some(Vec::new()) };
    let inside = value.trim_matches(['[', ']']);
    if new { ch_split(inside, true) } else { Some(inside.split(',').map(str::to_owned).collect()) }
}

/// A list of strings as crosvm reads it (`serde_keyvalue`): quoted by `"` with escapes, by `'` without, or bare.
pub fn crosvm_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('[')?;
    let mut strings = Vec::new();
    loop {
        let mut string = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut characters = quoted.char_indices();
            loop {
                match characters.next()? {
                    (at, '"') => {
                        rest = &quoted[at + 1..];
                        break;
                    }
                    (_, '\\') => {
                        string.push(characters.next().map(|(_, c)| c).filter(|c| "\\\"".contains(*c))?);
                    }
                    (_, character) => string.push(character),
                }
            }
        } else if let Some(quoted) = rest.strip_prefix('\'') {
            let (inside, behind) = quoted.split_once('\'')?;
            string.push_str(inside);
            rest = behind;
        } else {
            let end = rest.find([',', ']', '[', '"', '\''])?;
            string.push_str(&rest[..end]);
            rest = &rest[end..];
            if string.is_empty() {
                return None;
            }
        }
        strings.push(string);
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None => return (rest == "]").then_some(strings),
        }
    }
}
