//! The crate as it is published, and its examples.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use testkit::{code, example, project, run, stderr, stdout};

#[test]
fn the_example_for_a_test_harness_replays_what_it_sends() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("credentials");
    for _ in 0..2 {
        let output = run(Command::new(example("harness")).arg(&into));
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    }
    assert_eq!(std::fs::read(into.join("db-password")).unwrap(), b"correct horse battery staple");
    assert_eq!(std::fs::read(into.join("key")).unwrap(), b"\0\n\xff and more");
    assert_eq!(code(&run(&mut Command::new(example("harness")))), 1, "a folder is needed");
    let nowhere = run(Command::new(example("harness")).arg("/nonexistent/credentials"));
    assert_eq!(code(&nowhere), 1, "and has to be there");
}

/// The files of the crate.
fn packed() -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    let output =
        run(cargo.args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(project("")));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    stdout(&output).lines().map(str::to_owned).collect()
}

#[test]
fn the_packed_crate_has_what_its_code_names_and_nothing_of_the_workshop() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packed = packed();
    for path in &packed {
        let top = path.split('/').next().unwrap();
        let linked = ["benches/results/", "testdata/cloud-hypervisor-53-api/"];
        assert!(
            linked.iter().any(|linked| path.starts_with(linked))
                || !["target", "fuzz", "benches", ".ci", "credentials", "tests", "testdata", "tools"]
                    .contains(&top),
            "{path} is packed"
        );
    }
    let mut named = 0;
    for path in packed.iter().filter(|path| Path::new(path).extension().is_some_and(|end| end == "rs")) {
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        assert!(!text.contains("testkit"), "{path} needs the crate of the tests, which is not published");
        // Files that `include_str!` compiles into the crate.
        let included = text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split_once("\")"));
        for (file, _) in included {
            let full = root.join(path).parent().unwrap().join(file).canonicalize().unwrap();
            let relative =
                full.strip_prefix(root.canonicalize().unwrap()).unwrap().to_str().unwrap().to_owned();
            assert!(packed.contains(&relative), "{path} includes {relative}, which is not packed");
            named += 1;
        }
    }
    assert!(named > 0, "docs/library.md has an example that is tested");
}

/// Returns the path in the repository to which a link in one of its files leads.
pub(crate) fn resolved(file: &str, link: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

/// Returns the links of a Markdown file that lead to none of these files. `read` gives the text of a file.
fn dead_links(file: &str, files: &BTreeSet<String>, read: &dyn Fn(&str) -> String) -> Vec<String> {
    let text = read(file);
    let links = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let dead = links.filter(|link| {
        if link.contains("://") {
            return false;
        }
        let (path, heading) = link.split_once('#').unwrap_or((link, ""));
        let path = if path.is_empty() { file.to_owned() } else { resolved(file, path) };
        let exists = files.iter().any(|file| *file == path || file.starts_with(&format!("{path}/")));
        let has_heading = || read(&path).lines().any(|line| line.starts_with('#') && anchor(line) == heading);
        !exists || !heading.is_empty() && !has_heading()
    });
    dead.map(|link| format!("{file}: {link}")).collect()
}

#[test]
fn every_link_of_a_packed_page_leads_to_a_packed_file() {
    let packed = packed();
    let read = |file: &str| std::fs::read_to_string(project(file)).unwrap();
    let pages: Vec<&String> = packed
        .iter()
        .filter(|file| Path::new(file).extension().is_some_and(|extension| extension == "md"))
        .collect();
    assert!(pages.len() >= 6, "{pages:?}");
    let dead: Vec<String> = pages.iter().flat_map(|page| dead_links(page, &packed, &read)).collect();
    assert!(dead.is_empty(), "{}", dead.join("\n"));
    // Recorded tables that README.md says to try.
    let readme = read("README.md");
    let recordings: Vec<&str> =
        readme.split_whitespace().filter(|word| word.starts_with("testdata/")).collect();
    assert!(!recordings.is_empty());
    for recording in recordings {
        assert!(packed.contains(&format!("{recording}/DMI")), "{recording}");
    }
}

#[test]
fn link_to_a_file_or_heading_that_is_missing_is_found() {
    let files = ["README.md", "docs/a.md", "man/x.7"].map(str::to_owned).into();
    let read = |file: &str| match file {
        "README.md" => {
            "# Use it: here\n[a](docs/a.md) [b](docs) [c](#use-it-here) [d](man/y.7) [e](#none)".to_owned()
        }
        _ => "[up](../README.md#use-it-here) [x](../man/x.7) [gone](../CONTRIBUTING.md) [web](https://a.b/)"
            .to_owned(),
    };
    assert_eq!(dead_links("README.md", &files, &read), ["README.md: man/y.7", "README.md: #none"]);
    assert_eq!(dead_links("docs/a.md", &files, &read), ["docs/a.md: ../CONTRIBUTING.md"]);
}

#[test]
fn packed_crate_is_small() {
    let size: u64 =
        packed().iter().filter_map(|file| Some(std::fs::metadata(project(file)).ok()?.len())).sum();
    // The packed files are mostly text, which compression reduces to a fourth of its size.
    assert!((200_000..2_100_000).contains(&size), "{size} bytes");
}
