//! The second promise, inside the process: when the agent ends, or becomes another program, no value is left in its
//! memory.

use std::path::PathBuf;

use smbios_creds::format::manifest::Manifest;
use smbios_creds::format::oem_string::{Encoding, encode};
use testkit::memory::{Stop, assert_wiped, memory_at};
use testkit::{canary, is_root, recording, table};

/// Words before the agent's command line, which give the agent a new `/run`.
const OWN_RUN: [&str; 6] =
    ["unshare", "-m", "sh", "-c", r#"mount -t tmpfs -o mode=755 tmpfs /run && exec "$@""#, "sh"];

/// Returns the agent as Cargo builds it for the tests, and the static agent, which is delivered.
fn agents() -> [PathBuf; 2] {
    [env!("CARGO_BIN_EXE_smbios-creds").into(), testkit::static_agent()]
}

/// Makes a recording with the canary in strings that are accepted, strings that are refused, texts that may be a
/// name, and strings that are no credential.
fn source(canary: &[u8]) -> tempfile::TempDir {
    // The canary is repeated, so that code that overwrites an end of the value leaves a whole canary.
    let canary = canary.repeat(3);
    let credential = testkit::credential("secret", &canary);
    let binary = encode(&credential, Encoding::Binary).unwrap();
    let text = [b"io.systemd.credential:text=", canary.as_slice()].concat();
    let refused = [b"io.systemd.credential.binary:refused=!", canary.as_slice()].concat();
    let near = [b"io.systemd.credentials:near=", canary.as_slice()].concat();
    // Values in the place of a name: the first may be base64, and the others are refused because of what follows the
    // name.
    let nameless = [b"io.systemd.credential.binary:", canary.as_slice(), b"00A="].concat();
    let named = [b"io.systemd.credential.binary:", canary.as_slice(), b"=!"].concat();
    let bad_name = [b"io.systemd.credential:", canary.as_slice(), b"/="].concat();
    let manifest = Manifest::new([&credential], [5; 16]).unwrap().encode();
    recording(&table(&[
        binary.expose(),
        &text,
        &refused,
        &near,
        &nameless,
        &named,
        &bad_name,
        manifest.as_bytes(),
    ]))
}

#[test]
fn no_value_is_left_in_memory_when_the_process_ends() {
    let canary = canary();
    let source = source(&canary);
    let from = source.path().to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (into, recorded, full) = (path("creds"), path("recorded"), path("secrets"));
    for agent in agents() {
        let verbs: [&[&str]; 8] = [
            &["list", "--from", from],
            &["check", "--json", "--from", from],
            &["import", "--from", from, "--into", &into],
            &["import", "--from", from, "--into", &into],
            &["exec", "--from", from, "--into", &into, "--", "/nonexistent"],
            &["cat", "secret", "text", "--from", from],
            &["record", &recorded, "--from", from],
            &["record", &full, "--with-secrets", "--from", from],
        ];
        for verb in verbs {
            let (memory, status) = memory_at(Stop::Exit, &[], &agent, verb);
            assert!(status.code().is_some(), "{verb:?}: {status}");
            assert_wiped(&memory, &canary, verb[0]);
        }
        for made in [&into, &recorded, &full] {
            std::fs::remove_dir_all(made).unwrap();
        }
    }
}

#[test]
fn no_value_is_left_in_memory_when_system_is_mounted() {
    if !is_root() {
        return;
    }
    let canary = canary();
    let source = source(&canary);
    let from = source.path().to_str().unwrap();
    for agent in agents() {
        for (stop, verb) in [(Stop::Exit, &["import"][..]), (Stop::Exec, &["exec", "--", "/bin/true"])] {
            let verb = [&verb[..1], &["--from", from, "--into", "system"], &verb[1..]].concat();
            let (memory, status) = memory_at(stop, &OWN_RUN, &agent, &verb);
            // 3 is the verdict of an import of a table with refused strings, and 0 is the exit code of the program
            // that `exec` started.
            assert_eq!(status.code(), Some(if stop == Stop::Exit { 3 } else { 0 }), "{verb:?}");
            assert_wiped(&memory, &canary, verb[0]);
        }
    }
}

#[test]
fn no_value_is_left_in_memory_when_exec_executes_the_program() {
    let canary = canary();
    let source = source(&canary);
    let from = source.path().to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("creds").to_str().unwrap().to_owned();
    for agent in agents() {
        // The first `exec` imports into a new directory, and the others into the directory that is then there.
        for options in [&[][..], &[], &["--require=secret", "--log-level=trace"]] {
            let verb = [&["exec", "--from", from, "--into", &into][..], options, &["--", "/bin/true"]];
            let (memory, status) = memory_at(Stop::Exec, &[], &agent, &verb.concat());
            assert_eq!(status.code(), Some(0), "{options:?}");
            assert_wiped(&memory, &canary, "exec");
        }
        std::fs::remove_dir_all(&into).unwrap();
    }
}
