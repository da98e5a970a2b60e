//! Domains of `KubeVirt` with what the hook `on-define-domain` adds to them, in a real libvirt.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use testkit::host::host_with;
use testkit::sent::directory;
use testkit::{canary, code, holds, run, stderr, stdout};

use super::host::{Host, User};
use super::{assert_arrived, secrets};

/// Returns a recorded domain with QEMU's own emulation, emulator and machine type instead of those that only its
/// cluster has.
fn recorded(name: &str) -> String {
    let text = fs::read_to_string(testkit::testdata("kubevirt").join(format!("{name}.xml"))).unwrap();
    [
        ("type='kvm'", "type='qemu'"),
        ("type=\"kvm\"", "type=\"qemu\""),
        ("/usr/libexec/qemu-kvm", "/usr/bin/qemu-system-x86_64"),
        ("pc-q35-rhel8.4.0", "q35"),
        ("pc-q35-rhel8.6.0", "q35"),
    ]
    .into_iter()
    .fold(text, |text, (from, to)| text.replace(from, to))
}

/// Returns the domain XML that the hook makes of a domain whose machine has this many files.
fn hooked(domain: &str, files: usize) -> String {
    let machine = format!(
        r#"{{"metadata":{{"annotations":{{"smbios-creds.io/secret":"web","smbios-creds.io/files":"{files}"}}}}}}"#
    );
    let arguments = ["on-define-domain", "--vmi", &machine, "--domain", domain];
    let output = run(std::process::Command::new(testkit::program("smbios-creds-host")).args(arguments));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    stdout(&output)
}

fn define(host: &Host, domain: &str) {
    fs::write(host.path("/mnt/domain.xml"), domain).unwrap();
    host.asked(User::System, &["define", "--file", "/mnt/domain.xml"]);
}

/// Returns the lines of a domain as libvirt stores it, without the MAC addresses that libvirt invents for interfaces.
fn kept(host: &Host, name: &str) -> Vec<String> {
    let xml = host.asked(User::System, &["dumpxml", "--inactive", name]);
    xml.lines().filter(|line| !line.contains("<mac address=")).map(str::to_owned).collect()
}

/// Returns the lines of domain XML for the arguments that the hook adds.
fn arguments(files: usize) -> Vec<String> {
    let arg = |value: &str| format!("    <qemu:arg value='{value}'/>");
    let file = |number| [arg("-smbios"), arg(&format!("file=/var/run/smbios-creds/{number}"))];
    let mut lines = vec!["  <qemu:commandline>".to_owned()];
    lines.extend((0..files).flat_map(file));
    lines.push("  </qemu:commandline>".to_owned());
    lines
}

#[test]
fn libvirt_takes_kubevirt_domains_with_their_arguments() {
    let Some(host) = Host::start() else { return };
    for (file, name) in
        [("hook", "mynamespace_testvmi"), ("openshift", "default_fedora02"), ("lun", "default_vmi-lun")]
    {
        define(&host, &hooked(&recorded(file), 2));
        let lines = kept(&host, name);
        let found = lines.windows(arguments(2).len()).any(|lines| lines == arguments(2));
        assert!(found, "{file}: {lines:?}");
    }
}

#[test]
fn libvirt_sees_no_other_change_in_a_kubevirt_domain() {
    let Some(host) = Host::start() else { return };
    let domain = recorded("hook");
    let of = |domain: &str| {
        define(&host, domain);
        kept(&host, "mynamespace_testvmi")
    };
    let (mut before, mut after) = (of(&domain), of(&hooked(&domain, 2)));
    for lines in [&mut before, &mut after] {
        lines[0] = lines[0].replace(" xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'", "");
    }
    let own = arguments(2);
    let all = after.len();
    after.retain(|line| !own.contains(line));
    assert_eq!((after.len(), after), (all - own.len(), before));
}

/// Returns the domain without these elements.
fn without(mut domain: String, elements: &[&str]) -> String {
    for element in elements {
        while let Some(start) = domain.find(&format!("<{element} ")) {
            let end = format!("</{element}>");
            let length = domain[start..].find(&end).unwrap() + end.len();
            domain.replace_range(start..start + length, "");
        }
    }
    domain
}

/// Returns the domain that was recorded in a cluster, without its disks and network, and with a guest of this test.
fn bootable() -> String {
    let folder = "/var/lib/libvirt/qemu";
    let own = format!(
        "<serial type='file'><source path='{folder}/web.console'/><target port='0'/></serial>
         <serial type='file'><source path='{folder}/web.results'/><target port='1'/></serial></devices>"
    );
    let domain =
        without(recorded("openshift"), &["disk", "interface", "graphics", "serial", "console", "cpu"]);
    [
        (
            "<boot dev='hd'/>",
            "<kernel>/mnt/kernel</kernel><initrd>/mnt/initrd</initrd>
             <cmdline>console=ttyS0 quiet panic=-1 no_timer_check</cmdline>",
        ),
        ("<clock ", "<cpu mode='custom' match='exact' check='none'><model>Nehalem</model></cpu><clock "),
        ("</devices>", &own),
    ]
    .into_iter()
    .fold(domain, |domain, (from, to)| {
        assert_eq!(domain.matches(from).count(), 1, "{from}");
        domain.replace(from, to)
    })
}

#[test]
fn kubevirt_domain_boots_and_its_guest_verifies_the_secret() {
    let Some(host) = Host::start() else { return };
    let canary = canary();
    let secrets = secrets(&canary);
    let credentials = directory(&BTreeMap::clone(&secrets));
    let target = tempfile::tempdir_in("/dev/shm").unwrap();
    let target = target.path().join("structures");
    let emit =
        ["emit", "--all", "--format=structures", "--files=16", "--output-dir", target.to_str().unwrap()];
    let output = run(&mut host_with(credentials.path(), &emit));
    assert_eq!(code(&output), 0, "{}", stderr(&output));

    // The kubelet mounts a Secret for KubeVirt's group as symbolic links to files that the group may read.
    let mounted = host.path("/run/smbios-creds");
    fs::create_dir_all(mounted.join("..data")).unwrap();
    for number in 0..16 {
        let (name, data) = (number.to_string(), mounted.join("..data").join(number.to_string()));
        fs::copy(target.join(&name), &data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o440)).unwrap();
        std::os::unix::fs::symlink(format!("..data/{name}"), mounted.join(&name)).unwrap();
    }
    let own = ["chgrp", "-R", "libvirt-qemu", "/run/smbios-creds"];
    assert!(host.command(User::System, &own).status().unwrap().success());

    let domain = hooked(&bootable(), 16);
    assert!(!holds(domain.as_bytes(), &canary));
    define(&host, &domain);
    host.asked(User::System, &["start", "default_fedora02"]);
    assert_arrived(&host.results_after(User::System, "web", (1, 0)), &secrets);
    // Only the files that stand for the Secret contain a value.
    fs::remove_dir_all(mounted.join("..data")).unwrap();
    assert_eq!(host.search(&canary), Vec::<std::path::PathBuf>::new());
}

#[test]
fn kubevirt_domain_without_its_secret_does_not_start() {
    let Some(host) = Host::start() else { return };
    define(&host, &hooked(&bootable(), 2));
    let output = host.virsh(User::System, &["start", "default_fedora02"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("/var/run/smbios-creds/0"), "{}", stderr(&output));
    assert_eq!(host.asked(User::System, &["domstate", "default_fedora02"]).trim(), "shut off");
}
