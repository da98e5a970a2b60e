//! The system calls that a unit allows.

use std::collections::BTreeSet;
use std::process::Command;

/// The calls that these names of calls and of groups stand for. `systemd-analyze` prints a group as a heading, and its
/// members indented below it.
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

/// The calls that a unit allows, without those that systemd always allows (`@default`).
#[must_use]
pub fn allowed(unit: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    assert!(lines.iter().all(|line| !line.starts_with('~')), "{lines:?}");
    calls_of(&lines.join(" "))
}
