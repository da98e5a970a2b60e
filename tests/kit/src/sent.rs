//! A machine that `smbios-creds-host run` starts, and the digests by which its guest's values are compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::machine::{Machine, Results};

/// Makes a credentials directory with these secrets.
pub fn directory(secrets: &BTreeMap<&'static str, Vec<u8>>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in secrets {
        fs::write(folder.path().join(name), value).unwrap();
    }
    folder
}

/// Has `smbios-creds-host run` start the machine's QEMU, with every credential in the directory.
pub fn sent(machine: Machine, directory: &Path) -> Machine {
    sent_through(machine, directory, &[])
}

/// Does the same as `sent`, but `smbios-creds-host run` starts a wrapper, which starts QEMU.
pub fn sent_through(machine: Machine, directory: &Path, wrapper: &[&str]) -> Machine {
    let host = crate::program("smbios-creds-host");
    let run = [host.to_str().unwrap(), "run", "--log-level=trace", "--hypervisor=qemu", "--all"];
    let directory = ["--credentials", directory.to_str().unwrap(), "--"];
    machine.launcher(&[&run[..], &directory, wrapper].concat())
}

/// Returns the digests that `sha256sum` printed in the guest, by file name.
pub fn digests(results: &Results, name: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (digest, path) = line.trim_start_matches('\\').split_once("  ").unwrap();
        (path.rsplit('/').next().unwrap().to_owned(), digest.to_owned())
    };
    results[name].text().lines().map(line).collect()
}

/// Returns the digests that the secrets should have in the guest, by name.
pub fn expected(secrets: &BTreeMap<&'static str, Vec<u8>>) -> BTreeMap<String, String> {
    let hex = |value: &[u8]| {
        Sha256::digest(value).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    };
    secrets.iter().map(|(name, value)| ((*name).to_owned(), hex(value))).collect()
}
