//! The system calls that a unit allows, and a program that tries the calls that are refused.

use std::collections::BTreeSet;
use std::process::Command;

use tempfile::{NamedTempFile, TempPath};

/// Returns the system calls that these names stand for; each is the name of a call or of a group of calls.
/// `systemd-analyze` prints a group's name as a heading, and the members indented below the heading.
#[must_use]
pub fn calls_of(names: &str) -> BTreeSet<String> {
    let (groups, calls): (Vec<&str>, Vec<&str>) =
        names.split_whitespace().partition(|name| name.starts_with('@'));
    let mut calls: BTreeSet<String> = calls.into_iter().map(str::to_owned).collect();
    for group in groups {
        let output = crate::run(Command::new("systemd-analyze").args(["syscall-filter", group]));
        let text = crate::stdout(&output);
        let members =
            text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let members = calls_of(&members.collect::<Vec<_>>().join(" "));
        assert!(!members.is_empty(), "systemd-analyze knows no {group}");
        calls.extend(members);
    }
    calls
}

/// Returns the calls that a unit allows, without those that systemd always allows (`@default`).
#[must_use]
pub fn allowed(unit: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    assert!(lines.iter().all(|line| !line.starts_with('~')), "{lines:?}");
    calls_of(&lines.join(" "))
}

/// Builds `tests/machine/refused.c`, a program that tries system calls and needs no library.
#[must_use]
pub fn trying() -> TempPath {
    let program = NamedTempFile::new().unwrap().into_temp_path();
    let source = crate::project("tests/machine/refused.c");
    let options = ["-O1", "-static", "-D_GNU_SOURCE", "-o"];
    let built = Command::new("cc").args(options).arg(&program).arg(source).status();
    assert!(built.is_ok_and(|status| status.success()), "cc is needed, ./tests/prepare installs it");
    program
}

/// Writes a filter for seccomp(2) to a file, which `$FILTER` names to the program of `refused.c`. An instruction is a
/// code, two jump distances (if true, if false), and an operand.
#[must_use]
pub fn filter_file(program: impl Iterator<Item = (u16, u8, u8, u32)>) -> TempPath {
    let instruction = |(code, if_true, if_false, operand): (u16, u8, u8, u32)| {
        [&code.to_ne_bytes()[..], &[if_true, if_false], &operand.to_ne_bytes()].concat()
    };
    let file = NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&file, program.flat_map(instruction).collect::<Vec<u8>>()).unwrap();
    file
}

/// Parses what the program of `refused.c` printed: each call, and how the call ended.
#[must_use]
pub fn tried(said: &str) -> Vec<(&str, &str)> {
    let (calls, end) = said.split_once("end\n").unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(end, "", "it runs once");
    calls.lines().map(|line| line.split_once(' ').unwrap()).collect()
}
