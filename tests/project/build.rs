//! What a package build compiles, and where it installs.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::Path;
use std::process::Command;

use testkit::{code, project, run, stderr, stdout};

/// Options and subcommands of cargo that also build the crates which only tests need.
const FOR_TESTS: [&str; 9] = [
    "test",
    "bench",
    "--example",
    "--examples",
    "--test",
    "--tests",
    "--bench",
    "--benches",
    "--all-targets",
];

/// The crates that `cargo` compiles for these arguments.
fn compiled(arguments: &[String]) -> BTreeSet<String> {
    let before_program = arguments.split(|argument| argument == "--").next().unwrap();
    let words: Vec<&str> = before_program.iter().flat_map(|argument| argument.split('=')).collect();
    let edges = if words.iter().any(|word| FOR_TESTS.contains(word)) { "all" } else { "normal,build" };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--offline", "--prefix", "none", "--format", "{p}", "--edges", edges]);
    for pair in words.windows(2).filter(|pair| ["--package", "-p"].contains(&pair[0])) {
        cargo.args(["--package", pair[1]]);
    }
    let output = run(cargo.current_dir(project("")));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let names =
        stdout(&output).lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect();
    assert!(names != BTreeSet::new(), "{arguments:?}");
    names
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Arguments of each `cargo` in debian/rules.
fn debian() -> Vec<Vec<String>> {
    let rules = read_to_string(project("debian/rules")).unwrap();
    let lines = rules.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(words(line.split_once("&& cargo ")?.1))).collect()
}

/// Arguments of `cargo build` in the package of NixOS.
fn nix() -> Vec<Vec<String>> {
    let package = read_to_string(project("nixos-module/package.nix")).unwrap();
    let flags = package.split_once("cargoBuildFlags = [").unwrap().1.split_once(']').unwrap().0;
    vec![words(&flags.replace('"', ""))]
}

#[test]
fn package_builds_compile_four_crates_for_man_pages_and_none_for_tests() {
    let programs = compiled(&words("build --package smbios-creds"));
    let expected = ["clap_complete", "clap_mangen", "roff", "smbios-creds-docs"].map(str::to_owned);
    for (package, commands) in [("Debian", debian()), ("NixOS", nix())] {
        let all: BTreeSet<String> = commands.iter().flat_map(|command| compiled(command)).collect();
        let more: BTreeSet<String> = all.difference(&programs).cloned().collect();
        assert_eq!(more, BTreeSet::from(expected.clone()), "{package}: {commands:?}");
    }
}

#[test]
fn crates_that_only_tests_need_are_seen_in_a_build_for_tests() {
    let programs = compiled(&words("build"));
    for arguments in
        ["run --quiet --example vmm -- DIR", "build --all-targets", "test --lib", "build --tests"]
    {
        let all = compiled(&words(arguments));
        for name in ["proptest", "smbios-creds-testkit", "syn"] {
            assert!(all.contains(name), "{arguments}: {name}");
        }
        assert!(programs.is_subset(&all));
    }
    assert!(!programs.contains("proptest") && !programs.contains("roff"));
}

/// Collects every text file below a directory, as its path and its text.
fn texts(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, found);
        } else if let Ok(text) = read_to_string(&path) {
            found.push((path.display().to_string(), text));
        }
    }
}

/// Absolute paths in a text that end in the name of a program.
fn paths<'a>(text: &'a str, name: &str) -> BTreeSet<&'a str> {
    let ends = |c: char| c.is_whitespace() || "\"'`()[]=,;:|<>".contains(c);
    text.split(ends).filter(|word| word.starts_with('/') && word.rsplit('/').next() == Some(name)).collect()
}

#[test]
fn every_text_names_the_path_that_the_packages_install_to() {
    let mut found = Vec::new();
    for directory in ["docs", "integration", "man", "nixos-module", "src"] {
        texts(&project(directory), &mut found);
    }
    for file in ["README.md", "SECURITY.md"] {
        found.push((file.to_owned(), read_to_string(project(file)).unwrap()));
    }
    for name in ["smbios-creds", "smbios-creds-host"] {
        let list = read_to_string(project(&format!("debian/{name}.install"))).unwrap();
        let directory =
            list.lines().find_map(|line| line.strip_prefix(&format!("debian/built/programs/{name} ")));
        let installed = format!("/{}/{name}", directory.unwrap());
        let mut named = 0;
        for (file, text) in &found {
            for path in paths(text, name).into_iter().filter(|path| path.contains("bin/")) {
                assert_eq!(path, installed, "{file}");
                named += 1;
            }
        }
        assert!(named > 0, "{name}");
    }
}

#[test]
fn path_of_another_directory_is_seen_in_a_text() {
    let text = "ExecStart=/usr/local/bin/smbios-creds run\n`init=/bin/smbios-creds -- exec`, /usr/bin/smbios-creds-host";
    assert_eq!(paths(text, "smbios-creds"), ["/bin/smbios-creds", "/usr/local/bin/smbios-creds"].into());
}
