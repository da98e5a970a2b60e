//! A machine that `smbios-creds-host run` starts, and the digests by which its guest's values are compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::machine::{Machine, Results};

/// A credentials directory.
pub fn directory(secrets: &BTreeMap<&'static str, Vec<u8>>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in secrets {
        fs::write(folder.path().join(name), value).unwrap();
    }
    folder
}

/// Has our program start QEMU, with everything in the directory.
pub fn sent(machine: Machine, directory: &Path) -> Machine {
    sent_through(machine, directory, &[])
}

/// The same, where a wrapper starts QEMU.
pub fn sent_through(machine: Machine, directory: &Path, wrapper: &[&str]) -> Machine {
    let host = crate::program("smbios-creds-host");
    let run = [host.to_str().unwrap(), "run", "--log-level=trace", "--hypervisor=qemu", "--all"];
    let directory = ["--credentials", directory.to_str().unwrap(), "--"];
    machine.launcher(&[&run[..], &directory, wrapper].concat())
}

/// Digests of files, by their names: `sha256sum` in the guest.
pub fn digests(results: &Results, name: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (digest, path) = line.trim_start_matches('\\').split_once("  ").unwrap();
        (path.rsplit('/').next().unwrap().to_owned(), digest.to_owned())
    };
    results[name].text().lines().map(line).collect()
}

/// The digests that they should have.
pub fn expected(secrets: &BTreeMap<&'static str, Vec<u8>>) -> BTreeMap<String, String> {
    let hex = |value: &[u8]| {
        Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    };
    secrets.iter().map(|(name, value)| ((*name).to_owned(), hex(value))).collect()
}
