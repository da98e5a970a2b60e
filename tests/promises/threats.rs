//! The table of threats in SECURITY.md is complete, and the tests that it names exist.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

/// A row of the table.
struct Row {
    number: String,
    threat: String,
    mitigation: String,
    whose: String,
    tests: String,
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn rows() -> Vec<Row> {
    let text = read_to_string(project("SECURITY.md")).unwrap();
    let (_, table) =
        text.split_once("| # | threat | mitigation | whose | test |\n|---|---|---|---|---|\n").unwrap();
    let row = |line: &str| {
        let cells = line.strip_prefix("| ").unwrap().strip_suffix(" |").unwrap();
        let cells: Vec<String> = cells.split(" | ").map(str::to_owned).collect();
        let count = cells.len();
        let [number, threat, mitigation, whose, tests] =
            cells.try_into().unwrap_or_else(|_| panic!("{count} cells: {line}"));
        Row { number, threat, mitigation, whose, tests }
    };
    table.lines().take_while(|line| line.starts_with('|')).map(row).collect()
}

/// Returns the texts in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Finds every Rust file below a directory.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns the files that contain a test, by the test's name. A test is a function after `#[test]`, with only
/// comments and attributes between them.
fn tests() -> BTreeMap<String, Vec<PathBuf>> {
    let mut files = Vec::new();
    sources(&project("src"), &mut files);
    sources(&project("tests"), &mut files);
    let mut tests = BTreeMap::<String, Vec<PathBuf>>::new();
    for file in files {
        let mut marked = false;
        for line in read_to_string(&file).unwrap().lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("fn ").filter(|_| marked) {
                let name = name.split('(').next().unwrap().to_owned();
                tests.entry(name).or_default().push(file.clone());
            }
            marked = line == "#[test]" || (marked && (line.starts_with("//") || line.starts_with("#[")));
        }
    }
    tests
}

#[test]
fn every_threat_has_a_mitigation_somebody_whose_job_it_is_and_a_test() {
    let rows = rows();
    assert!(rows.len() >= 44, "{} rows", rows.len());
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row.number, (index + 1).to_string(), "{}", row.threat);
        assert!(
            row.mitigation.split_whitespace().count() >= 2 || row.mitigation.contains('`'),
            "{}",
            row.number
        );
        let (ours, callers) = (row.whose.starts_with("ours"), row.whose.contains("the caller's"));
        assert!(ours || callers, "{}: whose job is it?", row.number);
        assert!(ours || row.whose.len() > "the caller's".len(), "{}: how does the caller do it?", row.number);
        assert!(!quoted(&row.tests).is_empty(), "{}: no test", row.number);
    }
}

#[test]
fn every_test_that_the_table_names_is_there() {
    let tests = tests();
    assert!(tests.len() > 250, "{} tests are found", tests.len());
    let folders: Vec<(String, PathBuf)> = read_dir(project("tests"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("main.rs").exists())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    for Row { number, tests: cell, .. } in rows() {
        assert!(!cell.contains('…'), "{number}: names are given whole");
        // A cell has parts, separated by semicolons. The tests of a part are in the directory that ends the part, if
        // it names one.
        for part in cell.split("; ") {
            let names = quoted(part);
            for &name in &names {
                let of_a_folder = |folder: &str| part.contains(&format!(" in `{folder}/`"));
                if let Some(folder) = name.strip_suffix('/') {
                    let known = folder == "fuzz" || folders.iter().any(|(known, _)| known == folder);
                    assert!(known, "{number}: there is no folder {name}");
                } else if Path::new(name).extension().is_some_and(|extension| extension == "rs") {
                    let found = tests.values().flatten().any(|file| file.ends_with(name));
                    assert!(found, "{number}: there is no file {name} with tests");
                } else if of_a_folder("fuzz") {
                    // The packaged library has no fuzz targets, so this test does not look for them there.
                    let target = project("fuzz/fuzz_targets").join(name).with_extension("rs");
                    assert!(target.exists() || !project("fuzz").exists(), "{number}: no fuzz target {name}");
                } else {
                    let files = tests.get(name).map(Vec::as_slice).unwrap_or_default();
                    assert!(!files.is_empty(), "{number}: there is no test {name}");
                    if let Some((_, folder)) = folders.iter().find(|(folder, _)| of_a_folder(folder)) {
                        let there = files.iter().any(|file| file.starts_with(folder));
                        assert!(there, "{number}: {name} is elsewhere");
                    }
                }
            }
        }
    }
}

/// `.ci/run` runs Clippy over everything before a change is merged. The compiler itself refuses `unsafe`.
#[test]
fn the_compiler_refuses_unsafe_code_and_paths_that_panic() {
    let manifest = read_to_string(project("Cargo.toml")).unwrap();
    let section = |name: &str| {
        let section = manifest.split(&format!("\n[{name}]\n")).nth(1).unwrap();
        section.split("\n[").next().unwrap().to_owned()
    };
    assert!(section("lints.rust").lines().any(|line| line == "unsafe_code = \"deny\""));
    for root in ["lib.rs", "bin/smbios-creds-host.rs"] {
        let text = read_to_string(project("src").join(root)).unwrap();
        assert!(text.lines().any(|line| line == "#![forbid(unsafe_code)]"), "{root}");
    }
    // Only the agent's own program cannot forbid `unsafe` (docs/decisions/0002-before-main.md), and it has only this
    // one `unsafe`.
    let agent = read_to_string(project("src/bin/smbios-creds.rs")).unwrap();
    assert_eq!(agent.matches("unsafe").count(), 1, "{agent}");
    assert!(
        agent.contains("    #[ctor(unsafe)]\n    fn before_main() {\n        start::before_main();\n    }")
    );
    let lints = ["unsafe_code", "expect_used", "indexing_slicing", "panic", "unwrap_used"];
    for lint in &lints[1..] {
        assert!(section("lints.clippy").lines().any(|line| line == format!("{lint} = \"deny\"")), "{lint}");
    }
    // No file allows these lints again, except unit tests, which are at the end of their file.
    let mut files = Vec::new();
    sources(&project("src"), &mut files);
    assert!(files.len() > 50);
    for file in files {
        let text = read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\n").next().unwrap();
        for level in ["allow(", "expect(", "warn("] {
            for attribute in code.split(level).skip(1) {
                let attribute = attribute.split(')').next().unwrap();
                assert!(
                    !lints.iter().any(|lint| attribute.contains(lint)),
                    "{}: {attribute}",
                    file.display()
                );
            }
        }
    }
}
