//! `integration/libvirt`: what the hook does in each operation, with a stand-in for `systemd-creds`, and the files for
//! libvirt in the host's package.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output};

use tempfile::TempDir;
use testkit::{code, run, stderr, write_program};

use crate::debian::{Debian, packages};

const SYSTEMD_CREDS: &str = "#!/bin/sh\ngrep -q damaged \"$4\" && exit 1\ncat \"$4\" >\"$5\"\n";

/// Makes a host directory in which the domain `web` has these credential files.
fn host(files: &[(&str, &str)]) -> TempDir {
    let host = tempfile::tempdir_in("/dev/shm").unwrap();
    let sources = host.path().join("etc/smbios-creds/domains/web");
    fs::create_dir_all(&sources).unwrap();
    fs::create_dir(host.path().join("run")).unwrap();
    for (name, value) in files {
        fs::write(sources.join(name), value).unwrap();
    }
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/libvirt/smbios-creds");
    let root = host.path().to_str().unwrap();
    let hook = fs::read_to_string(hook).unwrap();
    let hook = hook.replace("=/etc/", &format!("={root}/etc/")).replace("=/run/", &format!("={root}/run/"));
    let hook = hook.replace("owner=libvirt-qemu", "owner=$(id -u)");
    for (name, text) in [("hook", hook.as_str()), ("systemd-creds", SYSTEMD_CREDS)] {
        write_program(&host.path().join(name), text, 0o755);
    }
    host
}

fn call(host: &TempDir, domain: &str, operation: &str) -> Output {
    let path = format!("{}:/usr/bin:/bin", host.path().display());
    let arguments = [domain, operation, "begin", "-"];
    run(Command::new(host.path().join("hook")).args(arguments).env("PATH", path))
}

#[test]
fn hook_gives_a_domain_its_credentials_while_it_starts() {
    let host = host(&[("db", "hunter2"), (".a b", "hunter3"), ("..c", "hunter4")]);
    let directory = host.path().join("run/smbios-creds/domains/web");
    for end in ["started", "release", "reconnect"] {
        let output = call(&host, "web", "prepare");
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        for (name, value) in [("db", b"hunter2"), (".a b", b"hunter3"), ("..c", b"hunter4")] {
            assert_eq!(fs::read(directory.join(name)).unwrap(), value);
        }
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(directory.clone()), mode(directory.join("db"))), (0o500, 0o400));
        assert_eq!(code(&call(&host, "web", end)), 0);
        assert!(!directory.exists(), "{end}");
    }
}

#[test]
fn hook_refuses_what_is_empty_or_damaged_by_its_name_and_leaves_nothing() {
    for (files, words) in [
        (&[("a", "hunter2"), ("db", "")][..], "credential db of domain web is empty"),
        (&[("a", "hunter2"), ("db", "damaged")], "credential db of domain web cannot be decrypted"),
        (&[], "domain web has no credentials"),
    ] {
        let host = host(files);
        let output = call(&host, "web", "prepare");
        assert_eq!(code(&output), 1, "{words}");
        assert!(stderr(&output).contains(words), "{words}: {}", stderr(&output));
        assert!(!stderr(&output).contains("hunter"), "{}", stderr(&output));
        assert!(!host.path().join("run/smbios-creds/domains/web").exists(), "{words}");
    }
}

#[test]
fn hook_refuses_what_is_not_a_file_by_its_name() {
    for (target, name) in [("db", ".link"), ("missing", "link"), ("..", "directory")] {
        let host = host(&[("db", "hunter2")]);
        symlink(target, host.path().join("etc/smbios-creds/domains/web").join(name)).unwrap();
        let output = call(&host, "web", "prepare");
        let words = format!("credential {name} of domain web is not a regular file");
        assert!(code(&output) == 1 && stderr(&output).contains(&words), "{}", stderr(&output));
        assert!(!host.path().join("run/smbios-creds/domains/web").exists(), "{name}");
    }
}

#[test]
fn hook_leaves_other_domains_and_other_directories_as_they_are() {
    let host = host(&[("db", "hunter2")]);
    for domain in ["mail", "../domains/web", "..", "web/", ""] {
        assert_eq!(code(&call(&host, domain, "prepare")), 0, "{domain}");
        assert_eq!(code(&call(&host, domain, "release")), 0, "{domain}");
    }
    assert!(!host.path().join("run/smbios-creds").exists());
    assert!(host.path().join("etc/smbios-creds/domains/web/db").exists());
}

/// Shell commands that make and install a package with the program `$1` of QEMU.
const INSTALL_QEMU: &str = "
    install -D -m 755 /bin/true /tmp/$1/usr/bin/$1
    mkdir /tmp/$1/DEBIAN
    printf '%s\n' \"Package: $(echo $1 | tr _ -)\" 'Version: 1' 'Architecture: all' 'Maintainer: x <x@localhost>' \
        'Description: x' >/tmp/$1/DEBIAN/control
    dpkg-deb --build /tmp/$1 /tmp/$1.deb
    dpkg --install /tmp/$1.deb
";

#[test]
fn host_package_has_a_new_time_after_each_change_of_qemu() {
    let debian = Debian::fresh();
    let [host, _] = packages();
    debian.install(&[], &[host]);
    let time = || debian.run("stat --dereference --format=%z /usr/bin/qemu-with-credentials");
    let mut before = time();
    for (package, changes) in
        [("qemu-img", false), ("qemu-system-x86_64", true), ("qemu-system-aarch64", true)]
    {
        debian.run(&format!("set -- {package}; {INSTALL_QEMU}"));
        let now = time();
        assert_eq!(now != before, changes, "{package}: {before} {now}");
        before = now;
    }
}

#[test]
fn template_unit_has_no_fault_and_the_emulator_its_page() {
    let debian = Debian::fresh();
    let [host, _] = packages();
    debian.install(&[], &[host]);
    debian.run("useradd --system libvirt-qemu");
    let examples = "/usr/share/doc/smbios-creds-host/examples/libvirt";
    let verified = debian.run(&format!(
        "cp {examples}/smbios-creds-domain@.service /etc/systemd/system/
         systemd-analyze verify --man=no /etc/systemd/system/smbios-creds-domain@.service"
    ));
    assert_eq!(verified, "");
    debian.run(&format!("test -x {examples}/smbios-creds; test -f {examples}/apparmor"));
    debian.run("test -f /usr/share/man/man1/qemu-with-credentials.1.gz");
    assert_eq!(debian.run("readlink /usr/bin/qemu-with-credentials"), "smbios-creds-host\n");
}
