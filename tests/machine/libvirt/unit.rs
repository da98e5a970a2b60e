//! The template unit `smbios-creds-domain@.service`, in a machine whose PID 1 is systemd: the emulator takes the
//! credentials that the unit has loaded.

use testkit::machine::{Machine, Release, Results, prepared};

const UNIT: &str = include_str!("../../../integration/libvirt/smbios-creds-domain@.service");

/// The domain's name, `a-b,c`, must be escaped in the name of the unit.
const SCRIPT: &str = r"
    systemctl start systemd-journald.socket systemd-journald.service
    emulator() { su -s /bin/sh libvirt-qemu -c '/usr/bin/qemu-with-credentials -name guest=a-b,,c -machine q35'; }
    result without emulator
    result start systemctl start 'smbios-creds-domain@a\x2db\x2cc.service'
    result with emulator
    result others su -s /bin/sh nobody -c 'cat /run/credentials/smbios-creds-domain@*/*'
    rm /secrets/key
    result stop systemctl stop 'smbios-creds-domain@a\x2db\x2cc.service'
    result missing systemctl start 'smbios-creds-domain@a\x2db\x2cc.service'
    result stopped emulator
";

/// Encrypts a credential of the unit. The image of the newest systemd lacks the library that `systemd-creds encrypt`
/// needs.
const ENCRYPT: &str = r"
    result encrypt sh -c 'printf hunter2 | systemd-creds encrypt --with-key=host --name=db - /secrets/db'
    printf 'LoadCredentialEncrypted=db:/secrets/db\n' >>/etc/systemd/system/smbios-creds-domain@.service.d/load.conf
    systemctl daemon-reload
";

fn booted(name: &str, release: Release, before: &str) -> Results {
    let load = "[Service]\nLoadCredential=key:/secrets/key\n";
    Machine::new(name)
        .release(release)
        .systemd("")
        .program("usr/bin/qemu-with-credentials", prepared("smbios-creds-host"))
        // busybox stands in for QEMU: the emulator executes it, and its error message shows this.
        .link("usr/bin/qemu-system-x86_64", "busybox")
        .file(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\nlibvirt-qemu:x:64055:64055::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        )
        .file("etc/group", "root:x:0:\nsystemd-journal:x:101:\nlibvirt-qemu:x:64055:\nnogroup:x:65534:\n")
        .file("etc/systemd/system/smbios-creds-domain@.service", UNIT)
        .file("etc/systemd/system/smbios-creds-domain@.service.d/load.conf", load)
        .file("secrets/key", "hunter3")
        .boot(&[before, SCRIPT].concat())
}

fn assert_taken(results: &Results, names: &str) {
    for step in ["start", "stop"] {
        assert_eq!(results[step].code, 0, "{step}: {:?}", results[step]);
    }
    let with = &results["with"];
    assert!(with.stderr.contains(&format!("starts qemu with {names}\n")), "{with:?}");
    assert!(with.stderr.contains("qemu-system-x86_64: applet not found"), "{with:?}");
    for step in ["without", "stopped"] {
        let refused = &results[step];
        assert_eq!(refused.code, 3, "{step}: {refused:?}");
        assert!(refused.stderr.contains("domain 'a-b,c' has no credentials"), "{step}: {refused:?}");
    }
    assert_ne!(results["missing"].code, 0, "{:?}", results["missing"]);
    assert_ne!(results["others"].code, 0, "{:?}", results["others"]);
    for outcome in results.values() {
        assert!(!outcome.text().contains("hunter") && !outcome.stderr.contains("hunter"), "{outcome:?}");
    }
}

#[test]
fn libvirt_unit_of_systemd_252_gives_the_emulator_its_credentials() {
    let results = booted("libvirt-unit-252", Release::Bookworm, ENCRYPT);
    assert_eq!(results["encrypt"].code, 0, "{:?}", results["encrypt"]);
    assert_taken(&results, "2 credentials: db, key");
}

#[test]
fn libvirt_unit_of_the_newest_systemd_gives_the_emulator_its_credentials() {
    assert_taken(&booted("libvirt-unit-newest", Release::Newest, ""), "1 credential: key");
}
