//! Every file that names the version of the project names the same one.

use std::fs::read_to_string;

use testkit::project;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of this crate in a `Cargo.lock`.
fn locked(lock: &str) -> Option<&str> {
    let (_, rest) = lock.split_once("\nname = \"smbios-creds\"\nversion = \"")?;
    Some(rest.split_once('"')?.0)
}

/// The version in the first heading of a Debian changelog: `NAME (VERSION) …`.
fn packaged(changelog: &str) -> Option<&str> {
    Some(changelog.split_once(" (")?.1.split_once(')')?.0)
}

/// The heading of the first section of a changelog.
fn heading(changelog: &str) -> Option<&str> {
    changelog.lines().find_map(|line| line.strip_prefix("## "))
}

/// Whether a heading is "Unreleased", or names this version and the day of its release.
fn is_heading_of(heading: &str, version: &str) -> bool {
    let is_day = |day: &str| {
        day.len() == 10
            && day.bytes().enumerate().all(|(position, byte)| match position {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    heading == "Unreleased" || heading.strip_prefix(&format!("[{version}] - ")).is_some_and(is_day)
}

#[test]
fn every_file_names_the_same_version() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = read_to_string(project(lock)).unwrap();
        assert_eq!(locked(&text), Some(VERSION), "{lock}: run 'cargo update --workspace' in its directory");
    }
    let debian = read_to_string(project("debian/changelog")).unwrap();
    assert_eq!(packaged(&debian), Some(VERSION), "debian/changelog");
    let changelog = read_to_string(project("CHANGELOG.md")).unwrap();
    let heading = heading(&changelog).unwrap();
    assert!(is_heading_of(heading, VERSION), "CHANGELOG.md: {heading}");
}

#[test]
fn other_version_or_heading_is_found() {
    let lock = "[[package]]\nname = \"smbios-creds\"\nversion = \"0.9.0\"\n";
    assert_eq!(locked(lock), Some("0.9.0"));
    assert_eq!(packaged("smbios-creds (0.9.0-1) unstable; urgency=medium\n"), Some("0.9.0-1"));
    assert_eq!(
        heading("# Changelog\n\ntext\n\n## [0.9.0] - 2026-01-31\n\n## Unreleased\n"),
        Some("[0.9.0] - 2026-01-31")
    );
    assert!(is_heading_of("Unreleased", "0.9.0") && is_heading_of("[0.9.0] - 2026-01-31", "0.9.0"));
    for wrong in ["[0.8.0] - 2026-01-31", "[0.9.0]", "[0.9.0] - January", "[0.9.0] - 2026-1-31 "] {
        assert!(!is_heading_of(wrong, "0.9.0"), "{wrong}");
    }
}
