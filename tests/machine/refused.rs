//! Tests which system calls the sandbox of the units and the seccomp filter of an import refuse together: a program
//! inside both tries the calls.

use smbios_creds::cli::agent::filter;
use testkit::machine::{Machine, Release};
use testkit::syscalls::{filter_file, tried, trying};

/// Returns a drop-in that has the unit run the program `refused` instead of the agent. The drop-in gives the unit
/// every capability, so that the kernel itself refuses no call, and only the filters do.
fn instead(arguments: &str) -> String {
    format!(
        "[Service]\nRemainAfterExit=no\nExecStart=\nExecStart=/usr/bin/refused {arguments}\n\
         WorkingDirectory=/run\nStandardOutput=append:/run/%N.said\nCapabilityBoundingSet=~\n"
    )
}

/// A drop-in that has the program set the agent's filter first, as an import does.
const FILTER: &str = "[Service]\nEnvironment=FILTER=/usr/share/refused.filter\n";

/// A drop-in that removes the filters of the unit.
const OPEN: &str = "[Service]\nSystemCallFilter=\nSystemCallArchitectures=\nRestrictAddressFamilies=\n\
                    RestrictSUIDSGID=no\nLockPersonality=no\nMemoryDenyWriteExecute=no\nNoNewPrivileges=no\n";

/// Calls that an import needs, and how each ends. The mount fails, since its mount point does not exist.
const ALLOWED: [(&str, &str); 8] = [
    ("open", "done"),
    ("vsock", "done"),
    ("mount", "ENOENT"),
    ("fchmod_600", "done"),
    ("mkdirat_700", "done"),
    ("openat_existing", "done"),
    ("openat_directory", "done"),
    ("open_existing", "done"),
];

fn sandbox_refuses(name: &str, release: Release) {
    let (program, filter) =
        (trying(), filter_file(filter::PROGRAM.iter().map(|at| (at.code, at.jt, at.jf, at.k))));
    let text = std::fs::read_to_string(testkit::project("integration/systemd/smbios-creds.service")).unwrap();
    let text = text.replace("StandardError=journal+console", "StandardError=null");
    let mut machine = Machine::new(name)
        .release(release)
        .modules()
        .systemd("")
        .program("usr/bin/refused", program.to_path_buf())
        .program("usr/share/refused.filter", filter.to_path_buf());
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
        let (name, drop_in) = if open { ("open", OPEN) } else { ("filter", FILTER) };
        machine = machine.file(&format!("{drop_ins}/{name}.conf"), drop_in);
    }
    let results = machine.boot(
        "modprobe vsock
         for unit in closed closed-i386 open open-i386; do
             systemctl start $unit.service
             result $unit cat /run/$unit.said
             rm -rf /run/refused /run/refused-*
         done\n",
    );

    let (closed, open) = (tried(results["closed"].text()), tried(results["open"].text()));
    assert_eq!(closed.len(), open.len());
    assert!(closed.len() > 80, "{closed:?}");
    for (&(call, with), &(_, without)) in closed.iter().zip(&open) {
        // A call that fails without filters too would show nothing about the filters.
        assert!(!["EPERM", "ENOSYS"].contains(&without), "without filters, {call} ends with {without}");
        if let Some((_, expected)) = ALLOWED.iter().find(|(allowed, _)| *allowed == call) {
            assert_eq!(&with, expected, "{call}");
        } else {
            // Sockets of other families, openat2(2) and, since Linux 6.3, executable memory are refused with another
            // error than EPERM.
            let refused = ["EPERM", "EAFNOSUPPORT", "EACCES", "ENOSYS"];
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
