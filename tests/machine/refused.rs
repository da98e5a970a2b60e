//! What the sandbox of the units refuses, tried from within it.

use std::process::Command;

use testkit::machine::{Machine, Outcome, Release};

/// The program that tries. It needs no library.
fn refused() -> tempfile::TempPath {
    let program = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let source = testkit::project("tests/machine/refused.c");
    let options = ["-O1", "-static", "-D_GNU_SOURCE", "-o"];
    let built = Command::new("cc").args(options).arg(&program).arg(source).status();
    assert!(built.is_ok_and(|status| status.success()), "cc is needed, ./tests/prepare installs it");
    program
}

/// A drop-in that has the unit run the program instead. Every capability is back: what refuses is the filters, and the
/// kernel itself would not.
fn instead(arguments: &str) -> String {
    format!(
        "[Service]\nRemainAfterExit=no\nExecStart=\nExecStart=/usr/bin/refused {arguments}\n\
         StandardOutput=append:/run/%N.said\nCapabilityBoundingSet=~\n"
    )
}

/// A drop-in that takes the filters away.
const OPEN: &str = "[Service]\nSystemCallFilter=\nSystemCallArchitectures=\nRestrictAddressFamilies=\n\
                    RestrictSUIDSGID=no\nLockPersonality=no\nMemoryDenyWriteExecute=no\nNoNewPrivileges=no\n";

/// What an import needs. The mount fails, since there is nothing to mount.
const ALLOWED: [(&str, &str); 4] =
    [("open", "done"), ("vsock", "done"), ("mount", "ENOENT"), ("fchmod_600", "done")];

fn calls(said: &Outcome) -> Vec<(&str, &str)> {
    let (calls, end) = said.text().split_once("end\n").unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(end, "", "it runs once");
    calls.lines().map(|line| line.split_once(' ').unwrap()).collect()
}

fn sandbox_refuses(name: &str, release: Release) {
    let program = refused();
    let text = std::fs::read_to_string(testkit::project("integration/systemd/smbios-creds.service")).unwrap();
    let text = text.replace("StandardError=journal+console", "StandardError=null");
    let mut machine = Machine::new(name)
        .release(release)
        .modules()
        .systemd("")
        .program("usr/bin/refused", program.to_path_buf());
    for (unit, arguments, open) in [
        ("closed", "", false),
        ("closed-i386", "i386", false),
        ("open", "", true),
        ("open-i386", "i386", true),
    ] {
        let drop_ins = format!("etc/systemd/system/{unit}.service.d");
        machine = machine
            .file(&format!("etc/systemd/system/{unit}.service"), text.clone())
            .file(&format!("{drop_ins}/instead.conf"), instead(arguments));
        if open {
            machine = machine.file(&format!("{drop_ins}/open.conf"), OPEN);
        }
    }
    let results = machine.boot(
        "modprobe vsock
         for unit in closed closed-i386 open open-i386; do
             systemctl start $unit.service
             result $unit cat /run/$unit.said
             rm -rf /run/refused /run/refused-suid /run/refused-sgid /run/refused-node
         done\n",
    );

    let (closed, open) = (calls(&results["closed"]), calls(&results["open"]));
    assert_eq!(closed.len(), open.len());
    assert!(closed.len() > 60, "{closed:?}");
    for (&(call, with), &(_, without)) in closed.iter().zip(&open) {
        // Else the test would show nothing.
        assert!(!["EPERM", "ENOSYS"].contains(&without), "without filters, {call} ends with {without}");
        if let Some((_, expected)) = ALLOWED.iter().find(|(allowed, _)| *allowed == call) {
            assert_eq!(&with, expected, "{call}");
        } else {
            // A socket of another family, and since Linux 6.3 memory, are refused by another word.
            let refused = ["EPERM", "EAFNOSUPPORT", "EACCES"];
            assert!(
                refused.contains(&with) && with != without,
                "{call} ends with {with}, and {without} without filters"
            );
        }
    }
    assert_eq!(results["open-i386"].text(), "i386 done\n");
    assert_ne!(results["closed-i386"].text(), "i386 done\n");
}

#[test]
fn sandbox_of_systemd_254_refuses_what_no_import_needs() {
    sandbox_refuses("refused-254", Release::Backports);
}

#[test]
fn sandbox_of_the_newest_systemd_refuses_what_no_import_needs() {
    sandbox_refuses("refused-newest", Release::Newest);
}
