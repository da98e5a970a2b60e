//! The documentation as a book: its table of contents, and the length of README.md.

use std::collections::BTreeSet;
use std::fs::{read_dir, read_to_string};
use std::path::Path;

use testkit::project;

/// README.md is for the first five minutes. Longer explanations have a page in docs/.
const README_LINES_MAX: usize = 130;

/// A newcomer reads a page of this length, and the part of README.md that leads to it, in five minutes at 220 words a
/// minute.
const NEWCOMER_WORDS_MAX: usize = 800;

/// Collects the path from docs/ of every page below a directory.
fn pages(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.insert(path.strip_prefix(project("docs")).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// What a table of contents links to.
fn listed(summary: &str) -> Vec<String> {
    let links = summary.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    links.map(|(link, _)| link.to_owned()).collect()
}

/// Returns the faults of a table of contents of these pages: pages that it does not list, pages without a file, and
/// pages that it lists twice.
fn faults(summary: &str, pages: &BTreeSet<String>) -> Vec<String> {
    let listed = listed(summary);
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    let mut faults: Vec<String> =
        pages.difference(&unique).map(|page| format!("{page} is not listed")).collect();
    faults.extend(unique.difference(pages).map(|page| format!("{page} is not there")));
    if unique.len() != listed.len() {
        faults.push("a page is listed twice".to_owned());
    }
    faults
}

#[test]
fn every_page_is_in_the_table_of_contents_once() {
    let mut found = BTreeSet::new();
    pages(&project("docs"), &mut found);
    assert!(found.remove("SUMMARY.md"));
    assert!(found.len() >= 25, "{found:?}");
    let summary = read_to_string(project("docs/SUMMARY.md")).unwrap();
    assert_eq!(faults(&summary, &found), Vec::<String>::new());
}

#[test]
fn page_missing_from_the_table_of_contents_is_found() {
    let pages = BTreeSet::from(["a.md".to_owned(), "b.md".to_owned()]);
    assert_eq!(faults("[A](a.md)\n- [C](c.md)", &pages), ["b.md is not listed", "c.md is not there"]);
    assert_eq!(faults("[A](a.md)\n- [B](b.md)\n- [B](b.md)", &pages), ["a page is listed twice"]);
}

#[test]
fn readme_fits_and_has_its_two_commands() {
    let readme = read_to_string(project("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines");
    let commands: Vec<&str> =
        readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    for command in [
        "cargo run --release -- import --from testdata/cloud-hypervisor-53-api --into ./credentials",
        "./tests/run",
    ] {
        assert!(commands.contains(&command), "{command} is a block of its own: {commands:?}");
    }
}

#[test]
fn page_for_a_newcomers_task_is_read_in_five_minutes() {
    for page in ["docs/host.md", "docs/install/initramfs.md"] {
        let words = read_to_string(project(page)).unwrap().split_whitespace().count();
        assert!(words <= NEWCOMER_WORDS_MAX, "{page} has {words} words: move what the task does not need");
    }
}

#[test]
fn page_on_the_format_is_the_man_page() {
    let man = read_to_string(project("man/smbios-creds-format.7")).unwrap();
    let page = docs::page::markdown(&man).unwrap();
    let written = read_to_string(project("docs/format.md")).unwrap();
    assert!(page == written, "run: ./do pages");
    // Every word of the man page is on the page docs/format.md.
    for line in man.lines().filter(|line| !line.starts_with('.') && !line.contains('\\')) {
        for word in line.split_whitespace() {
            assert!(page.contains(word), "{word}");
        }
    }
}

#[test]
fn macro_or_escape_that_would_be_lost_is_refused() {
    for lost in [".RS 4", "a \\(em dash"] {
        assert!(docs::page::markdown(&format!(".SH A\n{lost}\n")).is_err(), "{lost}");
    }
}

#[test]
fn picture_of_check_shows_what_check_says() {
    let scratch = tempfile::tempdir().unwrap();
    let agent = Path::new(env!("CARGO_BIN_EXE_smbios-creds"));
    let picture = docs::picture::svg(agent, scratch.path()).unwrap();
    let shown = read_to_string(project("docs/check.svg")).unwrap();
    assert!(picture == shown, "run: ./do pages");
    assert!(shown.contains("tls-key: 1704 bytes were sent, 1278 arrived"), "{shown}");
}
