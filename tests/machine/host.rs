//! Both ends: `smbios-creds-host run` starts QEMU, and the guest gets the credentials of the directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use testkit::machine::{Machine, Release, log_of};
use testkit::sent::{digests, directory, expected, sent, sent_through};
use testkit::{canary, holds};

/// Secrets with the sizes of the incident that led to this project (44, 44 and 88 bytes), values that no command line
/// can carry, and a large value.
fn secrets() -> BTreeMap<&'static str, Vec<u8>> {
    let every: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..20_000_u32).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
    let sized = |size| (0..size).map(|n: u8| b'0' + n % 75).collect::<Vec<u8>>();
    BTreeMap::from([
        ("a-44", sized(44)),
        ("b-44", sized(44).into_iter().rev().collect()),
        ("c-88", sized(88)),
        ("every-byte", every),
        ("hostile", b"line 1\nline 2,x\"]},oem_strings=[a=b',,type=11\n".to_vec()),
        ("large", large),
        ("name,with\"odd[bytes]", b"value".to_vec()),
    ])
}

fn every_byte_arrives(name: &str, kind: &'static str) {
    every_byte_of(&secrets(), Machine::new(name).kind(kind));
}

/// Sends the secrets to a machine, asserts that every byte arrives, and returns what `check` prints in the guest.
fn every_byte_of(secrets: &BTreeMap<&'static str, Vec<u8>>, machine: Machine) -> String {
    let directory = directory(secrets);
    every_byte_in(secrets, sent(machine, directory.path()))
}

/// Does the same for a machine that is already set up to be sent the secrets.
fn every_byte_in(secrets: &BTreeMap<&'static str, Vec<u8>>, machine: Machine) -> String {
    let results = machine.boot(
        "result check smbios-creds check --manifest=require
         result import smbios-creds import --manifest=require --require a-44 b-44 c-88
         result sums sh -c 'sha256sum /run/credentials/@system/*'",
    );
    assert_eq!(results["check"].code, 0, "{:?}", results["check"]);
    assert!(
        results["check"]
            .text()
            .starts_with("passed: 7 credentials, the manifest proves that the set is complete")
    );
    assert_eq!(results["import"].code, 0, "{:?}", results["import"]);
    assert_eq!(digests(&results, "sums"), expected(secrets));
    results["check"].text().to_owned()
}

#[test]
fn every_byte_of_a_directory_arrives_in_a_pc() {
    every_byte_arrives("sent-pc", "pc");
}

#[test]
fn every_byte_of_a_directory_arrives_in_a_q35() {
    every_byte_arrives("sent-q35", "q35");
}

#[test]
fn every_byte_of_a_directory_arrives_through_wrappers_of_qemu() {
    let (secrets, scripts) = (secrets(), tempfile::tempdir().unwrap());
    let (directory, script) = (directory(&secrets), scripts.path().join("script"));
    testkit::write_program(&script, "#!/bin/sh\nsleep 1 &\nexport WRAPPED=yes\nexec \"$@\"\n", 0o755);
    let wrapper = ["nice", "-n", "1", script.to_str().unwrap(), "env", "A=b"];
    every_byte_in(&secrets, sent_through(Machine::new("sent-wrapped"), directory.path(), &wrapper));
}

#[test]
fn every_byte_of_a_directory_arrives_in_a_pc_of_machine_type_2_0() {
    let mut secrets = secrets();
    // For this machine type, SeaBIOS makes a table of at most 32 KiB.
    secrets.get_mut("large").unwrap().truncate(12_000);
    every_byte_of(&secrets, Machine::new("sent-old-pc").kind("pc-i440fx-2.0"));
}

#[test]
fn newest_qemu_delivers_every_byte_of_a_directory() {
    every_byte_of(&secrets(), Machine::new("sent-newest-qemu").kind("q35").newest_qemu());
}

#[test]
fn aarch64_with_uefi_gets_every_byte_of_a_directory() {
    let check = every_byte_of(&secrets(), Machine::new("sent-aarch64").aarch64());
    assert!(check.contains("machine: QEMU (virt-") && check.contains("EDK II"), "{check}");
}

/// QEMU 9 and newer start a machine without any OEM string if the table is larger than 65,535 bytes, and print no
/// message.
#[test]
fn set_that_the_newest_qemu_drops_is_missed_in_the_guest() {
    let mut string = tempfile::NamedTempFile::new().unwrap();
    write!(string, "io.systemd.credential:large={}", "x".repeat(66_000)).unwrap();
    let machine = Machine::new("newest-qemu-drops").kind("q35").newest_qemu();
    let results = machine
        .oem_string("io.systemd.credential:small=value")
        .oem_string_file(string.path())
        .boot("result check smbios-creds check --require small");
    assert_eq!(results["check"].code, 3, "{:?}", results["check"]);
    let check = results["check"].text();
    assert!(
        check.contains("2 OEM strings are announced, but none arrived: the hypervisor dropped"),
        "{check}"
    );
}

/// Sends the secrets to a guest that does not have the agent. An old systemd reads structures of up to a page whole,
/// and the one value that is larger than a page comes by `fw_cfg` too. If the guest's kernel has no module for
/// `fw_cfg`, this value is cut, as the host's program has warned.
fn without_our_agent(name: &str, release: Release, modules: bool) {
    let secrets = secrets();
    let directory = directory(&secrets);
    let service = if release.imports() {
        "ImportCredential=*".to_owned()
    } else {
        secrets
            .keys()
            .map(|name| format!("LoadCredential={}", name.replace('"', "\\\"")))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let machine = sent(Machine::new(name).release(release).systemd(&service), directory.path());
    let machine = if modules { machine.modules() } else { machine };
    let results = machine.boot("result sums sh -c 'sha256sum $CREDENTIALS_DIRECTORY/*'");
    let (mut found, mut expected) = (digests(&results, "sums"), expected(&secrets));
    if release.cuts() && !modules {
        assert_ne!(found.remove("large"), expected.remove("large"));
    }
    assert_eq!(found, expected);
    let output = fs::read_to_string(log_of(name, "output")).unwrap();
    assert!(output.contains("warning: systemd 256 and older in the guest"), "{output}");
    assert!(output.contains("if its kernel has qemu_fw_cfg (credentials large)"), "{output}");
}

#[test]
fn systemd_252_alone_has_every_byte() {
    without_our_agent("sent-252", Release::Bookworm, true);
}

#[test]
fn systemd_254_alone_has_every_byte() {
    without_our_agent("sent-254", Release::Backports, true);
}

#[test]
fn systemd_252_alone_and_without_fw_cfg_has_every_value_that_fits_a_page() {
    without_our_agent("sent-252-no-module", Release::Bookworm, false);
}

#[test]
fn the_newest_systemd_alone_has_every_byte() {
    without_our_agent("sent-newest", Release::Newest, true);
}

/// Searches the files that were written since the machine was started for the canary.
fn search_files(folder: &Path, since: SystemTime, except: &Path, canary: &[u8], seen: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let written = || metadata.modified().is_ok_and(|time| time >= since);
        if path == except {
            continue;
        }
        if metadata.is_dir() {
            search_files(&path, since, except, canary, seen);
        } else if metadata.is_file() && written() && holds(&fs::read(&path).unwrap_or_default(), canary) {
            seen.push(path.display().to_string());
        }
    }
}

#[test]
fn while_the_machine_runs_no_secret_is_in_any_argument_environment_file_or_output() {
    let canary = canary();
    let secrets = BTreeMap::from([("canary", canary.clone()), ("large", canary.repeat(500))]);
    let since = SystemTime::now();
    let directory = directory(&secrets);
    let mut looked = 0;
    let results = sent(Machine::new("sent-leaks"), directory.path()).boot_watched(
        "result running true
         sleep 6
         result check smbios-creds check --manifest=require",
        |pid, so_far| {
            if looked > 0 || !so_far.contains("@result running") {
                return;
            }
            looked += 1;
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
            assert!(name.starts_with("qemu-system"), "the hypervisor has our PID: {name}");
            let mut seen = Vec::new();
            for process in fs::read_dir("/proc").unwrap().flatten() {
                for file in ["cmdline", "environ"] {
                    let path = process.path().join(file);
                    if fs::read(&path).is_ok_and(|bytes| holds(&bytes, &canary)) {
                        seen.push(path.display().to_string());
                    }
                }
            }
            let mut memfds = 0;
            for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
                let Ok(target) = fs::read_link(descriptor.path()) else { continue };
                let memfd = target.to_string_lossy().starts_with("/memfd:smbios-creds");
                memfds += usize::from(memfd);
                let file = target.is_absolute() && fs::metadata(&target).is_ok_and(|file| file.is_file());
                if file && !memfd && holds(&fs::read(descriptor.path()).unwrap_or_default(), &canary) {
                    seen.push(format!("{} -> {}", descriptor.path().display(), target.display()));
                }
            }
            assert!(memfds > 0, "it has files in memory, which are looked at by their names alone");
            for folder in ["/tmp", "/var", "/run"] {
                search_files(Path::new(folder), since, directory.path(), &canary, &mut seen);
            }
            assert_eq!(seen, Vec::<String>::new());
        },
    );
    assert_eq!((looked, results["check"].code), (1, 0), "{:?}", results["check"]);
    for kind in ["output", "log"] {
        let output = fs::read(log_of("sent-leaks", kind)).unwrap();
        assert!(!holds(&output, &canary), "{kind}: {}", String::from_utf8_lossy(&output));
    }
    let output = fs::read_to_string(log_of("sent-leaks", "output")).unwrap();
    assert!(output.contains("starts qemu with 2 credentials: canary, large"), "{output}");
}
