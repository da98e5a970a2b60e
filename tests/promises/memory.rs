//! The second promise, inside the process: when the agent ends, or becomes another program, no value is left in its
//! memory.

use std::path::PathBuf;

use smbios_creds::format::manifest::Manifest;
use smbios_creds::format::oem_string::{Encoding, encode};
use testkit::memory::{Stop, assert_wiped, memory_at};
use testkit::{canary, is_root, recording, table};

/// Before the agent, so that its `/run` is a new one.
const OWN_RUN: [&str; 6] =
    ["unshare", "-m", "sh", "-c", r#"mount -t tmpfs -o mode=755 tmpfs /run && exec "$@""#, "sh"];

/// The agent as it is tested, and as it is delivered.
fn agents() -> [PathBuf; 2] {
    [env!("CARGO_BIN_EXE_smbios-creds").into(), testkit::static_agent()]
}

/// A recording with the canary in what is accepted, what is refused, what may be a name, and what is no credential.
fn source(canary: &[u8]) -> tempfile::TempDir {
    // So that whatever overwrites an end leaves one of them.
    let canary = canary.repeat(3);
    let credential = testkit::credential("secret", &canary);
    let binary = encode(&credential, Encoding::Binary).unwrap();
    let text = [b"io.systemd.credential:text=", canary.as_slice()].concat();
    let refused = [b"io.systemd.credential.binary:refused=!", canary.as_slice()].concat();
    let near = [b"io.systemd.credentials:near=", canary.as_slice()].concat();
    // Values in the place of a name: one that may be base64, and those that are refused for what follows.
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
            // The verdict of an import of a table with refused strings; what `exec` started.
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
        // Into a new folder, and beside what is there.
        for options in [&[][..], &[], &["--require=secret", "--log-level=trace"]] {
            let verb = [&["exec", "--from", from, "--into", &into][..], options, &["--", "/bin/true"]];
            let (memory, status) = memory_at(Stop::Exec, &[], &agent, &verb.concat());
            assert_eq!(status.code(), Some(0), "{options:?}");
            assert_wiped(&memory, &canary, "exec");
        }
        std::fs::remove_dir_all(&into).unwrap();
    }
}
