//! The crate as others get it, and its examples.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use testkit::{code, example, run, stderr, stdout};

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

#[test]
fn the_packed_crate_has_what_its_code_names_and_nothing_of_the_workshop() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = Command::new(env!("CARGO"));
    let output = run(cargo.args(["package", "--list", "--allow-dirty", "--offline"]).current_dir(root));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let packed: BTreeSet<String> = stdout(&output).lines().map(str::to_owned).collect();
    for path in &packed {
        let top = path.split('/').next().unwrap();
        assert!(
            !["target", "fuzz", "benches", ".ci", "credentials", "tests", "testdata"].contains(&top),
            "{path} is packed"
        );
    }
    let mut named = 0;
    for path in packed.iter().filter(|path| Path::new(path).extension().is_some_and(|end| end == "rs")) {
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        assert!(!text.contains("testkit"), "{path} needs the crate of the tests, which is not published");
        // Files that are compiled in.
        let included = text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split_once("\")"));
        for (file, _) in included {
            let full = root.join(path).parent().unwrap().join(file).canonicalize().unwrap();
            let relative =
                full.strip_prefix(root.canonicalize().unwrap()).unwrap().to_str().unwrap().to_owned();
            assert!(packed.contains(&relative), "{path} includes {relative}, which is not packed");
            named += 1;
        }
    }
    assert!(named > 0, "README.md is the documentation of the library");
}
