//! QEMU's machine type `microvm`, which has no SMBIOS: all credentials go by `fw_cfg`.

use std::collections::BTreeMap;
use std::fs;

use smbios_creds::format::fw_cfg::MANIFEST;
use smbios_creds::format::manifest::{Manifest, PREFIX};
use testkit::credential;
use testkit::machine::{Machine, Release};
use testkit::sent::{digests, directory, expected, sent};

/// Secrets with the sizes of the incident that led to this project (44, 44 and 88 bytes), values that no command line
/// can carry, and a value of 300,000 bytes.
fn secrets() -> BTreeMap<&'static str, Vec<u8>> {
    let every: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
    let sized = |size| (0..size).map(|n: u8| b'0' + n % 75).collect::<Vec<u8>>();
    BTreeMap::from([
        ("a-44", sized(44)),
        ("b-44", sized(44).into_iter().rev().collect()),
        ("c-88", sized(88)),
        ("every-byte", every),
        ("hostile,name", b"line 1\nline 2,x\"]},file=a,,string=b\n".to_vec()),
        ("large", large),
    ])
}

const PROVEN: &str = "passed: 6 credentials, the manifest proves that the set is complete";

#[test]
fn microvm_with_busybox_has_every_byte_and_the_manifest_proves_it() {
    let secrets = secrets();
    let directory = directory(&secrets);
    let results = sent(Machine::new("microvm-busybox").microvm(), directory.path()).boot(
        "result before smbios-creds check
         result dmi ls /sys/firmware/dmi
         modprobe qemu_fw_cfg
         result check smbios-creds check --manifest=require
         result list smbios-creds list
         result import smbios-creds import --manifest=require --require a-44 b-44 c-88
         result sums sh -c 'sha256sum /run/credentials/@system/*'
         result record smbios-creds record /tmp/recorded
         result replay smbios-creds check --manifest=require --from /tmp/recorded
         result secret grep -r 'line 2' /tmp/recorded",
    );
    let before = &results["before"];
    assert_eq!(before.code, 4, "{before:?}");
    assert!(before.stderr.contains("\nsmbios-creds: help: run 'modprobe qemu_fw_cfg' first"), "{before:?}");
    assert_ne!(results["dmi"].code, 0, "it has SMBIOS");
    for check in ["check", "replay"] {
        assert!(
            results[check].code == 0 && results[check].text().starts_with(PROVEN),
            "{:?}",
            results[check]
        );
    }
    assert_eq!(results["list"].text().matches("qemu_fw_cfg/by_key/").count(), 6, "{:?}", results["list"]);
    assert_eq!(results["import"].code, 0, "{:?}", results["import"]);
    assert_eq!(digests(&results, "sums"), expected(&secrets));
    assert_eq!((results["record"].code, results["secret"].code), (0, 1), "{:?}", results["record"]);
}

#[test]
fn microvm_with_systemd_254_has_every_byte_and_the_manifest_proves_it() {
    let secrets = secrets();
    let directory = directory(&secrets);
    let machine = with_systemd(Machine::new("microvm-254").release(Release::Backports));
    let machine = machine.import("--manifest=require --require c-88 large");
    let results = sent(machine, directory.path()).boot(
        "result check smbios-creds check --manifest=require
         result list smbios-creds list
         result version systemctl --version
         result sums sh -c 'sha256sum $CREDENTIALS_DIRECTORY/*'",
    );
    assert!(results["version"].text().starts_with("systemd 254"), "{:?}", results["version"]);
    let check = &results["check"];
    assert!(check.code == 0 && check.text().starts_with(PROVEN), "{check:?}");
    assert_eq!(results["list"].text().matches("imported").count(), 6, "{:?}", results["list"]);
    assert_eq!(digests(&results, "sums"), expected(&secrets));
}

/// Makes systemd PID 1, executed by a script of the initramfs that has loaded the driver for `fw_cfg`.
fn with_systemd(machine: Machine) -> Machine {
    let script =
        "#!/bin/sh\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmodprobe qemu_fw_cfg\nexec \"$@\"\n";
    // The kernel passes words after `--` to init, so the kernel arguments of `microvm` must come before `--`.
    machine.file("load", script).systemd_behind("/load --", "ImportCredential=*").microvm()
}

/// Returns a machine to which another program sends the manifest and all secrets except `c-88` and the last byte of
/// `large`.
fn damaged(name: &str, directory: &tempfile::TempDir) -> Machine {
    let secrets = secrets();
    let set: Vec<_> = secrets.iter().map(|(name, value)| credential(name, value)).collect();
    let manifest = Manifest::new(&set, [3; 16]).unwrap().encode();
    fs::write(directory.path().join("manifest"), manifest.strip_prefix(PREFIX).unwrap()).unwrap();
    let mut arguments = Vec::new();
    let mut pass = |item: &str, file: &str| {
        let file = directory.path().join(file);
        let option = format!("name={item},file={}", file.to_str().unwrap().replace(',', ",,"));
        arguments.extend(["-fw_cfg".to_owned(), option]);
    };
    pass(MANIFEST, "manifest");
    for (name, value) in &secrets {
        let cut = usize::from(*name == "large");
        fs::write(directory.path().join(name), &value[..value.len() - cut]).unwrap();
        if *name != "c-88" {
            pass(&format!("opt/io.systemd.credentials/{}", name.replace(',', ",,")), name);
        }
    }
    Machine::new(name).arguments(&arguments)
}

fn assert_damage_is_named(text: &str) {
    assert!(text.contains("credential c-88: missing: sent with 88 bytes, but did not arrive"), "{text}");
    let cut = text.lines().find(|line| line.contains("credential large: ")).unwrap();
    assert!(cut.contains("300000") && cut.contains("299999"), "{cut}");
}

#[test]
fn microvm_with_busybox_names_a_value_that_was_cut_and_one_that_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let results = damaged("microvm-busybox-damaged", &directory).microvm().boot(
        "modprobe qemu_fw_cfg
         result check smbios-creds check --manifest=require
         result import smbios-creds import --manifest=require
         result left ls /run/credentials/@system",
    );
    assert_eq!((results["check"].code, results["import"].code), (3, 3), "{:?}", results["check"]);
    assert_damage_is_named(results["check"].text());
    assert_damage_is_named(&results["import"].stderr);
    let left = results["left"].text();
    assert!(!left.contains("large") && !left.contains("c-88"), "{left}");
}

#[test]
fn microvm_with_systemd_254_names_a_value_that_was_cut_and_one_that_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let machine = damaged("microvm-254-damaged", &directory).release(Release::Backports);
    // systemd itself imports the cut value, and does not notice the cut.
    let results = with_systemd(machine).boot(
        "result size sh -c 'stat -c %s $CREDENTIALS_DIRECTORY/large'
         result check smbios-creds check --manifest=require",
    );
    assert_eq!(results["size"].text(), "299999\n");
    assert_eq!(results["check"].code, 3);
    assert_damage_is_named(results["check"].text());
}
