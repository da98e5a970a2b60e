//! The program that goes into an initrd, as `./tests/run` has built it.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;
use std::process::Command;

const SIZE_MAX: u64 = 800 * 1024;

fn static_agent() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/vm/smbios-creds");
    assert!(path.exists(), "{} is missing: ./tests/run builds it", path.display());
    path
}

#[test]
fn it_needs_no_library_and_is_position_independent() {
    let bytes = std::fs::read(static_agent()).unwrap();
    // e_type (System V ABI, figure 4-3): 3 is a shared object or a position-independent executable.
    assert_eq!(bytes.get(16..18), Some(&[3, 0][..]));
    let libraries = Command::new("ldd").arg(static_agent()).output().unwrap();
    let text = [libraries.stdout, libraries.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("statically linked") || text.contains("not a dynamic executable"), "{text}");
}

#[test]
fn it_has_at_most_800_kib() {
    let bytes = std::fs::read(static_agent()).unwrap();
    // Where only glibc can be had, its own static parts take more than that.
    let musl = std::fs::read_to_string(static_agent().with_file_name("target")).unwrap().contains("musl");
    let size = bytes.len() as u64;
    assert!(size <= if musl { SIZE_MAX } else { 2 * SIZE_MAX }, "{size} bytes, musl: {musl}");
}

#[test]
fn it_lists_a_recorded_table() {
    let output = Command::new(static_agent())
        .args(["list", "--no-legend", "--from"])
        .arg(common::testdata("qemu-7.2-pc"))
        .output()
        .unwrap();
    assert_eq!(common::code(&output), 0);
    assert!(common::stdout(&output).starts_with("foo "));
}
