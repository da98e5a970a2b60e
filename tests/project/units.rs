//! The units, as systemd reads them.

use std::fs::{read_dir, read_to_string, write};
use std::path::Path;
use std::process::Command;

use testkit::machine::unit_on_page;
use testkit::syscalls::{allowed, calls_of};
use testkit::{code, project, run, stderr};

/// What `systemd-analyze verify` says of units. The programs of the units need not be installed.
fn said_of(units: &[(String, String)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["verify", "--man=no"]);
    for (name, text) in units {
        let path = directory.path().join(name);
        let text = text.replace("/usr/bin/smbios-creds-host", "/bin/true");
        write(&path, text.replace("/usr/bin/smbios-creds", "/bin/true")).unwrap();
        analyze.arg(path);
    }
    let output = run(&mut analyze);
    format!("{}{}", if code(&output) == 0 { "" } else { "failed\n" }, stderr(&output))
}

/// The units of a directory.
fn units(directory: &Path) -> Vec<(String, String)> {
    let files = read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let units = files.filter(|path| path.extension().is_some_and(|extension| extension == "service"));
    units
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let units = units(&project("integration/systemd"));
    assert_eq!(units.len(), 2);
    assert_eq!(said_of(&units), "");
}

#[test]
fn unit_on_the_hosts_page_is_complete_and_valid() {
    let unit = unit_on_page("docs/host.md");
    for section in ["[Unit]\n", "[Service]\n", "[Install]\n"] {
        assert!(unit.contains(section), "{section}{unit}");
    }
    assert_eq!(said_of(&[("vm-web.service".to_owned(), unit.clone())]), "");
    let command = unit.replace("\\\n", " ");
    let command = command.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    crate::engines::takes(command).unwrap_or_else(|error| panic!("{command}: {error}"));
    // Each secret of the unit is expected, so that a unit without one of them does not start the machine.
    let expected = command.split("--expect ").nth(1).unwrap().split(" --").next().unwrap();
    let loaded: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("LoadCredentialEncrypted=")?.split(':').next())
        .collect();
    assert_eq!(loaded, expected.split(' ').collect::<Vec<_>>());
}

#[test]
fn option_that_systemd_ignores_is_found_in_a_unit() {
    let (name, text) = units(&project("integration/systemd")).remove(0);
    let said = said_of(&[(name, text.replace("NoNewPrivileges=", "NoNewPrivilege="))]);
    assert!(said.contains("Unknown key"), "{said}");
    let unit = unit_on_page("docs/host.md").replace("ProtectHome=", "ProtectHomes=");
    let said = said_of(&[("vm-web.service".to_owned(), unit)]);
    assert!(said.contains("Unknown key"), "{said}");
}

#[test]
fn list_of_system_calls_has_no_dangerous_group() {
    for (name, text) in units(&project("integration/systemd")) {
        let allowed = allowed(&text);
        assert!(allowed.contains("openat2") && allowed.len() < 70, "{name}: {allowed:?}");
        // The calls that the units allowed before they listed each call by name.
        let mut general = calls_of("@system-service @mount");
        let refused = calls_of("@network-io @keyring @setuid @ipc");
        general.retain(|call| !refused.contains(call));
        general.extend(calls_of("socket connect getsockopt sendto recvfrom shutdown"));
        // `seccomp` is allowed in addition: a process can only add filters, not remove one.
        general.extend(calls_of("seccomp"));
        let more: Vec<_> = allowed.difference(&general).collect();
        assert!(more.is_empty(), "{name} allows {more:?}");
        // The list of calls replaces RestrictNamespaces= and RestrictRealtime=, so it must not allow what they
        // refuse.
        for call in
            ["clone", "clone3", "fork", "vfork", "unshare", "setns", "sched_setscheduler", "sched_setattr"]
        {
            assert!(!allowed.contains(call), "{name} allows {call}");
        }
    }
}

#[test]
fn both_units_have_the_same_sandbox() {
    let sandboxes: Vec<String> = units(&project("integration/systemd"))
        .iter()
        .map(|(_, text)| text.split_once("StandardError=").unwrap().1.to_owned())
        .collect();
    assert_eq!(sandboxes.len(), 2);
    assert_eq!(sandboxes[0], sandboxes[1]);
}
