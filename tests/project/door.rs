//! The script `do`, which runs the commands of the project.

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::process::Command;

use testkit::{code, project, run, stderr, stdout, write_program};

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

/// What `./do semver` says, and what it runs, in a repository with these tags.
fn semver(tags: &[&str]) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::copy(project("do"), path("do")).unwrap();
    let calls = path("calls");
    for program in ["cargo", "cargo-semver-checks"] {
        write_program(&path(program), format!("#!/bin/sh\necho \"$*\" >>{}\n", calls.display()), 0o755);
    }
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@localhost"]).args(arguments);
        assert_eq!(code(&run(git.current_dir(directory.path()))), 0, "{arguments:?}");
    };
    git(&["init", "--quiet"]);
    git(&["commit", "--quiet", "--allow-empty", "-m", "x"]);
    for tag in tags {
        git(&["tag", tag]);
    }
    let programs = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let output = run(Command::new(path("do")).arg("semver").env("PATH", programs));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    (stderr(&output), read_to_string(calls).unwrap_or_default())
}

#[test]
fn public_interface_is_compared_with_the_highest_tag() {
    let (_, calls) = semver(&["v0.2.0", "v0.10.0", "v0.9.1", "nightly"]);
    assert_eq!(calls, "semver-checks --default-features --baseline-rev v0.10.0\n");
}

#[test]
fn first_release_has_no_interface_to_compare_with() {
    let (said, calls) = semver(&["nightly"]);
    assert!(said.contains("no tag of a release") && calls.is_empty(), "{said}{calls}");
}

/// What `tools/links.py` says of a book with one page, and its exit code.
fn links_of(page: &str) -> (i32, String) {
    let book = tempfile::tempdir().unwrap();
    std::fs::write(book.path().join("other.html"), "<h1 id=\"there\">There</h1>").unwrap();
    std::fs::write(book.path().join("page.html"), page).unwrap();
    let output = run(Command::new("python3").arg(project("tools/links.py")).arg(book.path()));
    (code(&output), stdout(&output))
}

#[test]
fn dead_link_of_the_rendered_book_is_found() {
    let good = "<nav><a href=\"gone.html\"></a></nav><main><a href=\"other.html#there\">a</a> \
                <a href=\"https://a.b/\">b</a> <a href=\"#here\">c</a> <h2 id=\"here\">d</h2></main>";
    assert_eq!(links_of(good), (0, "2 pages, no dead link\n".to_owned()));
    for dead in ["other.html#gone", "gone.html", "#gone", "img/gone.svg"] {
        let (code, said) = links_of(&good.replace("other.html#there", dead));
        assert!(code == 1 && said.ends_with(&format!("page.html: {dead}\n")), "{dead}: {said}");
    }
}
