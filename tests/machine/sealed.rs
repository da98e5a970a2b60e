//! Sealed (encrypted) credentials in machines with a virtual TPM: the agent writes the ciphertexts that were sent,
//! and systemd decrypts them for a service, in the initrd and after a switch-root.

use std::fs;

use testkit::host::directory;
use testkit::machine::{Machine, Release, Tpm};
use testkit::{holds, program};

/// A value that only the service may see.
const CANARY: &[u8] = b"CANARY-of-the-sealed-value";

const INITRD: &str = "result value.initrd sh -c 'cat $CREDENTIALS_DIRECTORY/tls-key'
    result list.initrd smbios-creds list
    result stage.initrd ls -A /run/credstore.encrypted
";

const HOST: &str = "result value.host sh -c 'cat $CREDENTIALS_DIRECTORY/tls-key'
    result again smbios-creds import
    result list.host smbios-creds list
    result modes stat -c '%a %n' /run/credstore.encrypted /run/credstore.encrypted/tls-key
    result plain ls -A /run/credentials/@system /run/credstore
    result other systemctl start other.service
    result status systemctl show --property=ExecMainStatus other.service
    result check smbios-creds check --json=short
    smbios-creds record --with-secrets /tmp/recorded
    result leaks grep -rla CANARY /tmp/recorded /sys/firmware/dmi/tables /run/credentials/@system /run/credstore.encrypted \
        /run/smbios-creds
";

/// A unit that cannot start, since the credential that it needs is sealed to another TPM.
const OTHER: &str = "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nLoadCredentialEncrypted=other-key\n\
                     ExecStart=/bin/true\n";

/// Seals one credential to each of two TPMs with these options of `systemd-creds`, and boots a machine that has the
/// first TPM. The key of the first credential must be of one of these kinds.
fn boot(name: &str, release: Release, options: &[&str], kinds: &[&str]) {
    let (tpm, other) = (Tpm::new(), Tpm::new());
    let sealed = tpm.seal(release, "tls-key", CANARY, options);
    let elsewhere = other.seal(release, "other-key", CANARY, options);
    let folder = directory(&[("db", b"plain"), ("tls-key", &sealed), ("other-key", &elsewhere)]);
    let host = program("smbios-creds-host");
    let run = [host.to_str().unwrap(), "run", "--hypervisor=qemu", "--credentials"];
    let set = [folder.path().to_str().unwrap(), "--all", "--encrypted", "tls-key", "other-key", "--"];
    let (machine, _running) = Machine::new(name)
        .release(release)
        .two_stages(None, "ImportCredential=tls-*")
        .import_in_initrd("--require tls-key --manifest=require")
        .initrd_service(INITRD, "LoadCredentialEncrypted=tls-key")
        .import("--require tls-key --manifest=require")
        .file("etc/systemd/system/other.service", OTHER)
        .launcher(&[&run[..], &set].concat())
        .tpm(&tpm);
    let mut seen = Vec::new();
    let results = machine.boot_watched(HOST, |qemu, _| {
        if seen.is_empty() {
            seen = fs::read(format!("/proc/{qemu}/cmdline")).unwrap_or_default();
        }
    });

    for stage in ["initrd", "host"] {
        assert_eq!(results[&format!("value.{stage}")].stdout, CANARY, "{stage}: {results:?}");
        let list = results[&format!("list.{stage}")].text();
        let row = list.lines().find(|line| line.starts_with("tls-key")).unwrap();
        let is_of_kind = kinds.iter().any(|kind| row.contains(&format!("encrypted:{kind} ")));
        assert!(is_of_kind && row.contains("imported"), "{list}");
    }
    assert_eq!(results["stage.initrd"].text(), "other-key\ntls-key\n");
    assert_eq!(results["again"].code, 0, "{:?}", results["again"]);
    assert!(results["again"].stderr.contains("already contains 2 encrypted"), "{:?}", results["again"]);
    assert_eq!(
        results["modes"].text(),
        "700 /run/credstore.encrypted\n400 /run/credstore.encrypted/tls-key\n"
    );
    assert!(!results["plain"].text().contains("-key"), "{:?}", results["plain"]);
    // The other credential is sealed to another TPM, so its unit fails, but the machine boots.
    assert_ne!(results["other"].code, 0);
    assert_eq!(results["status"].text(), "ExecMainStatus=243\n");
    let check: serde_json::Value = serde_json::from_slice(&results["check"].stdout).unwrap();
    let findings = check["findings"].as_array().unwrap();
    let closed: Vec<_> = findings.iter().filter(|finding| finding["code"] == "cannot-open").collect();
    assert_eq!((results["check"].code, closed.len()), (3, 1), "{check}");
    assert_eq!(closed[0]["credential"], "other-key");
    assert_eq!(results["leaks"].text(), "");
    assert!(!seen.is_empty() && !holds(&seen, CANARY), "{}", seen.escape_ascii());
}

#[test]
fn systemd_254_opens_what_was_sealed_to_this_tpm_only() {
    // systemd 254 cannot open a credential that it sealed to no PCR, so the test seals to PCR 23, into which nothing
    // is measured.
    boot("sealed-254", Release::Backports, &["--tpm2-pcrs=23"], &["tpm2"]);
}

#[test]
fn newest_systemd_opens_what_was_sealed_to_this_tpm_only() {
    // From systemd 262 on, a ciphertext names the storage root key of its TPM.
    boot("sealed-newest", Release::Newest, &["--tpm2-pcrs="], &["tpm2", "tpm2-pinned"]);
}
