//! Pages for people use the field's words.

use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

use testkit::project;

/// Words that pages must not use, and the word to write instead.
const WORDS: [(&str, &str); 12] = [
    ("folder", "directory"),
    ("anew", "again"),
    ("by hand", "manually"),
    ("beside systemd", "alongside systemd"),
    ("but for", "except"),
    ("hand out", "pass on"),
    ("hands out", "passes on"),
    ("mend", "fix"),
    ("nobody vouches", "is not trusted"),
    ("somebody else", "another user, another program"),
    ("vouches", "trusts"),
    ("whoever", "the name of who it is"),
];

/// Pages below a directory.
fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Returns the words of a page that must be replaced. Code in backticks does not count.
fn breaches(page: &str) -> Vec<String> {
    let prose: String = page.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let prose = prose.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let stands = |word: &str| {
        prose.match_indices(word).any(|(at, _)| {
            let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
            !letter(prose[..at].chars().next_back()) && !letter(prose[at + word.len()..].chars().next())
        })
    };
    let found = WORDS.iter().filter(|(word, _)| stands(word));
    found.map(|(word, better)| format!("'{word}': write '{better}'")).collect()
}

#[test]
fn pages_use_the_words_of_the_field() {
    let mut found = vec![project("README.md")];
    for directory in ["docs", "integration"] {
        pages(&project(directory), &mut found);
    }
    assert!(found.len() > 30);
    let faults: Vec<String> = found
        .iter()
        .flat_map(|page| {
            let text = read_to_string(page).unwrap();
            breaches(&text).into_iter().map(move |fault| format!("{}: {fault}", page.display()))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn word_of_another_field_is_found_outside_code() {
    assert_eq!(breaches("a folder"), ["'folder': write 'directory'"]);
    assert_eq!(breaches("It hands\nout nothing."), ["'hands out': write 'passes on'"]);
    assert_eq!(breaches("`folder` and recommend, `by hand`"), Vec::<String>::new());
}
