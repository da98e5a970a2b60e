//! The shape of the tests: a program for each subject, a module for each topic, and one crate for what they share.

use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

/// More programs would build and link for longer than they run.
const PROGRAMS_MAX: usize = 12;

/// A longer file has more than one topic.
const LINES_MAX: usize = 600;

/// Collects every Rust file below a directory, except in directories named target.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What is wrong with the text of a file. `heads_a_program` tells whether the file is the `main.rs` of a test program.
fn breaches(text: &str, heads_a_program: bool) -> Vec<String> {
    let mut breaches = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        breaches.push(format!("{lines} lines, at most {LINES_MAX} are allowed"));
    }
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[path") {
            breaches.push(format!("{line}: put what programs share into tests/kit"));
        }
        let silences = line.starts_with("#![allow") || line.starts_with("#![expect");
        if silences && !heads_a_program {
            breaches.push(format!("{line}: the main.rs of the program sets lints, once"));
        }
        for lint in ["dead_code", "unreachable_pub", "unused_imports"] {
            if (silences || line.starts_with("#[allow")) && line.contains(lint) {
                breaches.push(format!("{line}: remove what nobody uses"));
            }
        }
    }
    breaches
}

#[test]
fn tests_are_programs_by_subject_without_paths_or_blanket_allows() {
    let root = testkit::project("");
    let mut programs = 0;
    for entry in read_dir(root.join("tests")).unwrap() {
        let path = entry.unwrap().path();
        assert!(
            path.extension().is_none_or(|extension| extension != "rs"),
            "{} is a program",
            path.display()
        );
        programs += usize::from(path.join("main.rs").exists());
    }
    assert!((1..=PROGRAMS_MAX).contains(&programs), "{programs} test programs");

    let mut files = Vec::new();
    for directory in ["tests", "examples", "benches", "fuzz"] {
        sources(&root.join(directory), &mut files);
    }
    assert!(files.len() > 70, "{} files are found", files.len());
    let tests = root.join("tests");
    let mut all = Vec::new();
    for file in files {
        // An example is a program of one file, and the crate of the fuzz targets has lints of its own.
        let heads_a_program = file.ends_with("main.rs") || !file.starts_with(&tests);
        let breaches = breaches(&read_to_string(&file).unwrap(), heads_a_program);
        let name = file.strip_prefix(&root).unwrap().display();
        all.extend(breaches.iter().map(|breach| format!("{name}: {breach}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn each_breach_of_the_shape_is_found() {
    let long = "\n".repeat(LINES_MAX + 1);
    for text in [
        "#[path = \"../common/mod.rs\"]\nmod common;",
        "#![allow(clippy::panic)]",
        "    #[allow(dead_code, reason = \"shared\")]",
        &long,
    ] {
        assert_eq!(breaches(text, false).len(), 1, "{text}");
    }
    assert!(breaches("#![expect(clippy::panic)]", true).is_empty());
    assert_eq!(breaches("#![allow(unused_imports)]", true).len(), 1);
}
