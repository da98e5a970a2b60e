//! Man pages, completions and `--help` say the same.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::Path;
use std::process::Command;

use smbios_creds::format::{credential, manifest, oem_string};
use testkit::{code, run, stdout};

/// Returns the long options that lines define. A line defines options if it begins with one. Their explanation begins
/// after two blanks.
fn options<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let defined = lines.map(str::trim_start).filter(|line| line.starts_with('-') && !line.starts_with("- "));
    let words = defined.flat_map(|line| {
        let definition = line.split("  ").next().unwrap_or_default();
        definition.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
    });
    words.filter(|word| word.len() > 2 && word.starts_with("--")).map(str::to_owned).collect()
}

/// The verbs in the text of `--help`.
fn verbs(help: &str) -> Vec<String> {
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs = commands.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    verbs.filter(|verb| verb != "help").collect()
}

fn help(program: &str, arguments: &[&str]) -> String {
    let output = run(Command::new(program).args(arguments).arg("--help"));
    assert_eq!(code(&output), 0);
    stdout(&output)
}

/// A man page without its markup.
fn page(folder: &Path, name: &str) -> String {
    let text =
        read_to_string(folder.join("man").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    text.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "")
}

#[test]
fn man_pages_and_completions_know_every_verb_and_option_of_help_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    docs::write_to(folder.path()).unwrap();
    let folder = folder.path();
    for (name, program) in [
        ("smbios-creds", env!("CARGO_BIN_EXE_smbios-creds")),
        ("smbios-creds-host", env!("CARGO_BIN_EXE_smbios-creds-host")),
    ] {
        let help_text = help(program, &[]);
        let verbs = verbs(&help_text);
        assert!(verbs.len() >= 3, "{verbs:?}");
        // fish names a long option without its dashes.
        let completions =
            [(format!("{name}.bash"), "--"), (format!("_{name}"), "--"), (format!("{name}.fish"), "-l ")]
                .map(|(file, dashes)| {
                    (read_to_string(folder.join("completions").join(file)).unwrap(), dashes)
                });
        let main = page(folder, &format!("{name}.1"));
        let mut all = options(help_text.lines());
        for verb in &verbs {
            assert!(main.contains(&format!("{name}-{verb}(1)")), "{verb} is in {name}(1)");
            let expected = options(help(program, &[verb]).lines());
            let text = page(folder, &format!("{name}-{verb}.1"));
            // The names of an option are on the line after .TP.
            let found = options(text.split(".TP\n").skip(1).filter_map(|entry| entry.lines().next()));
            assert_eq!(found, expected, "{name} {verb}");
            all.extend(expected);
            for (completion, _) in &completions {
                assert!(completion.contains(verb.as_str()), "{name} {verb}");
            }
        }
        for option in &all {
            for (completion, dashes) in &completions {
                let word = option.replacen("--", dashes, 1);
                assert!(completion.contains(&word), "{name} {option}: no completion with '{word}'");
            }
        }
    }
}

#[test]
fn the_page_on_the_format_has_the_words_and_numbers_of_the_code() {
    let page = include_str!("../../man/smbios-creds-format.7");
    for prefix in [oem_string::TEXT_PREFIX, oem_string::BINARY_PREFIX, manifest::PREFIX] {
        assert!(page.contains(prefix), "{prefix}");
    }
    let systemd = smbios_creds::format::systemd::FILES_MAX;
    let area = smbios_creds::format::smbios::write::STRING_AREA_MAX;
    for number in [credential::NAME_MAX, credential::VALUE_MAX, systemd, area] {
        assert!(page.contains(&number.to_string()), "{number}");
    }
    let help = help(env!("CARGO_BIN_EXE_smbios-creds"), &[]);
    let exits: Vec<&str> = section_of(&help, "Exit status:").filter(|line| line.starts_with("  ")).collect();
    assert!(exits.len() >= 6, "{help}");
    for exit in exits {
        let (number, meaning) = exit.trim().split_once("  ").unwrap();
        assert!(page.contains(&format!(".B {number}\n")), "{number}: {meaning}");
    }
}

/// Lines of `--help` after a title, up to an empty line.
fn section_of<'a>(help: &'a str, title: &str) -> impl Iterator<Item = &'a str> {
    let text = help.split(&format!("\n{title}\n")).nth(1).unwrap_or_else(|| panic!("{title}: {help}"));
    text.lines().take_while(|line| !line.is_empty())
}

#[test]
fn help_of_each_program_has_three_examples_that_it_takes() {
    for (name, program) in [
        ("smbios-creds", env!("CARGO_BIN_EXE_smbios-creds")),
        ("smbios-creds-host", env!("CARGO_BIN_EXE_smbios-creds-host")),
    ] {
        let help = help(program, &[]);
        let mut examples = 0;
        for line in section_of(&help, "Examples:") {
            // The explanation of an example follows after three blanks.
            let command = line.trim().split("   ").next().unwrap();
            assert!(command.starts_with(&format!("{name} ")), "{command}");
            crate::engines::takes(command).unwrap_or_else(|error| panic!("{command}: {error}"));
            examples += 1;
        }
        assert_eq!(examples, 3, "{help}");
        assert_eq!(verbs(&help)[0], if name == "smbios-creds" { "check" } else { "run" });
    }
}

#[test]
fn messages_in_the_table_by_exit_code_are_those_of_the_program() {
    let page = read_to_string(testkit::project("docs/troubleshooting.md")).unwrap();
    let sources: String = ["verify/wording.rs", "source/error.rs"]
        .map(|file| {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guest/").to_owned() + file;
            std::fs::read_to_string(path).unwrap()
        })
        .concat();
    let mut quoted = 0;
    for row in page.lines().filter(|line| line.starts_with("| 3 |") || line.starts_with("| 4 |")) {
        let said = row.split(" | ").nth(1).unwrap();
        for text in said.split('`').skip(1).step_by(2) {
            for part in text.split('…').map(str::trim).filter(|part| !part.is_empty()) {
                assert!(sources.contains(part), "{part:?} in {row}");
            }
            quoted += 1;
        }
    }
    assert!(quoted >= 10, "{quoted}");
}

/// Whether a page says that the manifest is not signed, and finds faults, not attackers. Line breaks and markup of
/// man pages do not count.
fn says_what_the_manifest_is_not(page: &str) -> bool {
    let page = page.replace("//!", "").split_whitespace().collect::<Vec<_>>().join(" ");
    page.contains("not signed") && page.contains("finds faults, not attackers")
}

#[test]
fn every_page_on_the_manifest_says_that_it_is_not_signed() {
    let mut pages =
        vec![testkit::project("src/format/manifest/mod.rs"), testkit::project("nixos-module/guest.nix")];
    pages.extend(["README.md", "SECURITY.md", "nixos-module/README.md"].map(testkit::project));
    for directory in ["docs", "docs/decisions", "man"] {
        let entries = std::fs::read_dir(testkit::project(directory)).unwrap();
        pages.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.is_file() && !path.ends_with("check.svg")),
        );
    }
    let written = tempfile::tempdir().unwrap();
    docs::write_to(written.path()).unwrap();
    for verb in ["check", "import", "exec"] {
        pages.push(written.path().join(format!("man/smbios-creds-{verb}.1")));
    }
    let mut about = 0;
    for page in pages {
        let text = read_to_string(&page).unwrap();
        if text.contains("manifest") {
            assert!(says_what_the_manifest_is_not(&text), "{}", page.display());
            about += 1;
        }
    }
    assert!(about >= 10, "{about} pages");
    for verb in ["check", "import", "exec"] {
        let help = help(env!("CARGO_BIN_EXE_smbios-creds"), &[verb]);
        assert!(says_what_the_manifest_is_not(&help), "{help}");
    }
}

#[test]
fn page_without_the_limit_of_the_manifest_is_found() {
    assert!(says_what_the_manifest_is_not("It is not\n//! signed. It finds\n  faults, not attackers."));
    assert!(!says_what_the_manifest_is_not("The manifest proves that the set is complete."));
    assert!(!says_what_the_manifest_is_not("The manifest is not signed."));
}
