//! The script `do`: one door to the commands of the project.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::process::Command;

use testkit::{code, project, run, stderr, stdout};

/// The commands that the script lists when it is called without one.
fn listed() -> BTreeSet<String> {
    let output = run(&mut Command::new(project("do")));
    assert_eq!(code(&output), 0);
    let text = stderr(&output);
    let commands = text.lines().filter_map(|line| line.strip_prefix("  "));
    commands.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn door_lists_every_command_that_it_knows() {
    let script = read_to_string(project("do")).unwrap();
    let arms = script.split("case $command in\n").nth(1).unwrap();
    let known: BTreeSet<String> = arms
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|line| Some(line.split_once(')')?.0.to_owned()))
        .collect();
    assert!(known.len() >= 15, "{known:?}");
    assert_eq!(listed(), known);
    assert_eq!(code(&run(Command::new(project("do")).arg("nothing"))), 2);
}

#[test]
fn bill_of_materials_has_the_crates_of_the_programs_and_none_of_the_tests() {
    let output = run(Command::new(project("do")).arg("sbom").env("CARGO_NET_OFFLINE", "true"));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let bill: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(bill["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    let components = bill["components"].as_array().unwrap();
    let names: BTreeSet<&str> =
        components.iter().map(|component| component["name"].as_str().unwrap()).collect();
    for name in ["clap", "rustix", "sha2", "smbios-lib"] {
        assert!(names.contains(name), "{name} is missing in {names:?}");
    }
    for name in ["tempfile", "testkit", "proptest"] {
        assert!(!names.contains(name), "{name} is not in the programs");
    }
    for component in components {
        assert!(component["hashes"][0]["content"].as_str().unwrap().len() == 64, "{component}");
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    }
}
