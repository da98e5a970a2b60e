//! Checks the packages with lintian, and checks which files they contain.

use std::process::Command;

use crate::debian::packages;

#[test]
fn lintian_finds_nothing_that_is_not_explained() {
    let output = Command::new("lintian")
        .args(["--fail-on", "error,warning,info", "--display-info", "--pedantic", "--allow-root"])
        .args(packages())
        .output()
        .unwrap_or_else(|error| panic!("lintian is needed, ./tests/prepare installs it: {error}"));
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

/// Returns the paths in a package.
fn files(package: &std::path::Path) -> Vec<String> {
    let output = Command::new("dpkg-deb").arg("--contents").arg(package).output().unwrap();
    let listing = String::from_utf8(output.stdout).unwrap();
    listing
        .lines()
        .map(|line| line.split_whitespace().nth(5).unwrap().trim_start_matches('.').to_owned())
        .collect()
}

#[test]
fn each_program_has_its_man_pages_and_completions_and_none_is_left_out() {
    let [host, agent] = packages().map(|package| files(&package));
    for (name, files, other) in [("smbios-creds-host", &host, &agent), ("smbios-creds", &agent, &host)] {
        for file in [
            format!("/usr/bin/{name}"),
            format!("/usr/share/man/man1/{name}.1.gz"),
            format!("/usr/share/bash-completion/completions/{name}.bash"),
            format!("/usr/share/zsh/vendor-completions/_{name}"),
            format!("/usr/share/fish/vendor_completions.d/{name}.fish"),
        ] {
            assert!(files.contains(&file) && !other.contains(&file), "{file}: {files:?}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    docs::write_to(folder.path()).unwrap();
    let mut written: Vec<String> = std::fs::read_dir(folder.path().join("man"))
        .unwrap()
        .map(|entry| format!("/usr/share/man/man1/{}.gz", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    let mut packaged: Vec<String> =
        host.into_iter().chain(agent).filter(|path| path.starts_with("/usr/share/man/man1/s")).collect();
    written.sort();
    packaged.sort();
    assert_eq!(packaged, written);
}
