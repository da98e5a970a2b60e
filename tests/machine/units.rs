//! The units of `integration/systemd/`, where verification fails.

use testkit::machine::{Machine, Release, Results};

/// A service that does not start without the unit `smbios-creds.service`.
const NEEDY: &str = "[Unit]\nDefaultDependencies=no\nRequires=smbios-creds.service\nAfter=smbios-creds.service\n\
                     [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n";

#[test]
fn services_that_require_the_unit_do_not_start_with_a_cut_table_and_the_machine_still_boots() {
    // With a 64-bit entry point, SeaBIOS up to 1.16 copies only the table's size modulo 64 KiB.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("io.systemd.credential:large={}", "x".repeat(66_000))).unwrap();
    let login = "[Unit]\nDefaultDependencies=no\nAfter=smbios-creds.service\n\
                 [Service]\nStandardInput=null\nStandardOutput=null\nExecStart=busybox getty 115200 ttyS0\n";
    let machine = |name, options| {
        Machine::new(name)
            .release(Release::Backports)
            .kind("pc-i440fx-7.2,smbios-entry-point-type=64")
            .oem_string("io.systemd.credential:small=value")
            .oem_string_file(file.path())
            .systemd("")
            .unit("smbios-creds.service", options)
            .file("etc/systemd/system/needy.service", NEEDY)
            .file("etc/systemd/system/login.service", login)
            .file(
                "etc/systemd/system/probe.service.d/wants.conf",
                "[Unit]\nWants=needy.service login.service\nAfter=needy.service login.service\n",
            )
    };
    let look = "result size stat -c %s /sys/firmware/dmi/tables/DMI
                result unit systemctl is-failed smbios-creds.service
                result status systemctl show --property=ExecMainStatus smbios-creds.service
                result needy systemctl is-active needy.service
                sleep 2
                result login systemctl is-active login.service
                result check smbios-creds check --json=short
                result files ls -A /run/credentials/@system
                result credstore ls -A /run/credstore
                result report cat /run/smbios-creds/report.json";
    for (name, options) in [("needy", "--require large"), ("needy-strict", "--strict")] {
        let (results, console) = machine(name, options).boot_to_console(look);
        let size: u64 = results["size"].text().trim().parse().unwrap();
        if size > 66_000 {
            // The firmware on the host that runs the tests passes the whole table.
            assert_eq!(results["check"].code, 0);
            return;
        }
        assert_eq!(results["unit"].text(), "failed\n", "{results:?}");
        assert_eq!(results["status"].text(), "ExecMainStatus=3\n");
        assert_ne!(results["needy"].text(), "active\n");
        assert_eq!(results["login"].text(), "active\n");
        assert!(console.contains(" login: "), "whoever can log in still can: {console}");
        let report: serde_json::Value = serde_json::from_slice(&results["report"].stdout).unwrap();
        assert_eq!(report["exit"], 3);
        let findings = report["delivery"]["findings"].as_array().unwrap();
        let cut = findings.iter().find(|finding| finding["code"] == "table-cut").unwrap();
        assert_eq!(cut["found_bytes"], size, "{cut}");
        assert!(cut["announced_bytes"].as_u64().unwrap() > 66_000, "{cut}");
        assert_ne!(results["credstore"].code, 0, "nothing is left there");
        // Credentials that systemd itself imported from the cut table are neither repaired nor removed.
        assert!(results["files"].text().contains("small"), "{:?}", results["files"]);
    }
}

/// Boots with the project's own unit, and returns the results that the machine sent before it powered off.
fn without_credentials(machine: Machine, options: &str) -> (Results, String) {
    machine
        .release(Release::Backports)
        .systemd("")
        .unit("smbios-creds.service", options)
        .file("etc/systemd/system/needy.service", NEEDY)
        // These machines have no journal, so the unit logs to a file.
        .file(
            "etc/systemd/system/smbios-creds.service.d/log.conf",
            "[Service]\nStandardError=file:/tmp/log\n",
        )
        .file(
            "etc/systemd/system/probe.service.d/later.conf",
            "[Unit]\nWants=needy.service smbios-creds.service\nAfter=needy.service smbios-creds.service\n\
             [Service]\nType=exec\n",
        )
        .boot_to_console(
            "for n in $(seq 60); do
                 [ \"$(systemctl is-system-running)\" = starting ] || break
                 sleep 1
             done
             result system systemctl is-system-running
             result failed systemctl list-units --failed --plain --no-legend
             result unit systemctl is-active smbios-creds.service
             result status systemctl show --property=ExecMainStatus smbios-creds.service
             result needy systemctl is-active needy.service
             result log cat /tmp/log",
        )
}

/// Returns a machine that has no SMBIOS. Without `tsc_early_khz`, the kernel finds no clock to calibrate the TSC, and
/// hangs in one of two boots.
fn microvm(name: &str) -> Machine {
    Machine::new(name)
        .kind("microvm,pit=on,pic=on,rtc=on,isa-serial=on")
        .kernel_arguments("tsc_early_khz=2600000")
}

fn assert_running(results: &Results, console: &str, message: &str) {
    assert!(results.contains_key("@end"), "{console}");
    assert_eq!(results["system"].text(), "running\n", "{results:?}");
    assert_eq!(results["unit"].text(), "active\n");
    assert_eq!(results["needy"].text(), "active\n", "it asks for no credential by name");
    assert!(results["log"].text().contains(message), "{:?}", results["log"]);
    assert!(
        results["log"].text().contains("no credential is required, so this is not an error"),
        "{:?}",
        results["log"]
    );
}

fn assert_degraded(results: &Results, console: &str, status: i32, message: &str) {
    assert!(results.contains_key("@end"), "{console}");
    assert_eq!(results["system"].text(), "degraded\n", "{results:?}");
    assert!(results["failed"].text().starts_with("smbios-creds.service "), "{:?}", results["failed"]);
    assert_eq!(results["unit"].text(), "failed\n");
    assert_eq!(results["status"].text(), format!("ExecMainStatus={status}\n"));
    assert_ne!(results["needy"].text(), "active\n");
    assert!(results["log"].text().contains(message), "{:?}", results["log"]);
}

#[test]
fn unit_that_requires_nothing_does_not_fail_where_nothing_can_have_been_sent() {
    let (results, console) = without_credentials(microvm("unit-microvm"), "");
    assert_running(&results, &console, "no SMBIOS, and fw_cfg cannot be read: ");
    let (results, console) = without_credentials(Machine::new("unit-nothing-sent"), "");
    assert_running(&results, &console, "the host sent no credentials");
}

#[test]
fn unit_that_requires_a_credential_fails_where_nothing_can_have_been_sent() {
    let (results, console) = without_credentials(microvm("unit-microvm-required"), "--require text");
    assert_degraded(&results, &console, 4, "no SMBIOS, and fw_cfg cannot be read: ");
    let (results, console) = without_credentials(Machine::new("unit-nothing-required"), "--manifest=require");
    assert_degraded(&results, &console, 3, "a manifest is required, but none was sent");
}

#[test]
fn unit_that_requires_nothing_fails_where_the_kernel_refused_the_table() {
    // The kernel refuses a table above 256 KiB, which it cannot map so early in the boot.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("io.systemd.credential:huge={}", "x".repeat(300_000))).unwrap();
    let machine = Machine::new("unit-huge")
        .kind("pc-i440fx-7.2,smbios-entry-point-type=64")
        .oem_string_file(file.path());
    let (results, console) = without_credentials(machine, "");
    assert_degraded(&results, &console, 4, "the firmware has one, but /sys/firmware/dmi does not exist");
}
