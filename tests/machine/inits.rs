//! Guests with Debian's `OpenRC` and runit, in which the files of `integration/` for these inits are installed
//! unchanged.

use std::fs;
use std::path::Path;

use smbios_creds::format::credential::{Credential, Name};
use smbios_creds::format::manifest::Manifest;
use smbios_creds::format::oem_string::{Encoding, encode};

use testkit::machine::{Machine, Outcome, Results};

const PASSWORD: &[u8] = b"a,b=c \"d\" [e]\nline 2";

/// A service that copies the credentials that it finds, and (`OTHER`) a service that needs no secret.
const APP: &str =
    "#!/bin/sh\ncp -r \"$CREDENTIALS_DIRECTORY\" /tmp/app.new\nmv /tmp/app.new /tmp/app\nexec sleep 1000\n";
const OTHER: &str = "#!/bin/sh\ntouch /tmp/other\nexec sleep 1000\n";

/// Waits for the services that start beside the script, until `/tmp/other` exists and the shell function `awaited`
/// succeeds. Then waits two more seconds for a service that must not start.
const WAIT: &str = "for n in $(seq 60); do [ -e /tmp/other ] && awaited && break; sleep 1; done; sleep 2
     result app ls -A /tmp/app
     result other ls /tmp/other
     result report cat /run/smbios-creds/report.json
     result credentials ls -A /run/credentials/@system\n";

fn every_byte() -> Vec<u8> {
    (0..=255).collect()
}

fn integration(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("integration").join(path)).unwrap()
}

/// Returns the project's file of options with these options in it, as a user would edit the file.
fn options(file: &str, options: &str) -> String {
    assert!(file.contains("OPTIONS=\"\"\n"), "{file}");
    file.replace("OPTIONS=\"\"\n", &format!("OPTIONS=\"{options}\"\n"))
}

/// Sends two credentials and a manifest of them.
fn send(machine: Machine) -> Machine {
    let credential = |name, value| Credential::new(Name::new(name).unwrap(), value);
    let set = [credential("db-password", PASSWORD.to_vec()), credential("tls-key", every_byte())];
    let manifest = Manifest::new(set.iter(), [7; 16]).unwrap().encode();
    let machine = set.iter().fold(machine, |machine, credential| {
        let string = encode(credential, Encoding::Binary).unwrap();
        machine.oem_string(std::str::from_utf8(string.expose()).unwrap())
    });
    machine.oem_string(&manifest)
}

/// Returns a machine with Debian's `OpenRC` as PID 1, and the first of Debian's own scripts.
fn openrc(name: &str, import: &str) -> Machine {
    let service = |name: &str, body: &str| format!("#!/sbin/openrc-run\ndescription={name}\n{body}\n");
    let machine = Machine::new(name)
        .inits("/sbin/openrc-init")
        .file("etc/init.d/smbios-creds", integration("openrc/smbios-creds"))
        .file("etc/conf.d/smbios-creds", options(&integration("openrc/smbios-creds.confd"), import))
        .file("etc/init.d/app", integration("openrc/app"))
        .file(
            "etc/init.d/other",
            service("other", "command=/usr/local/bin/other\ncommand_background=yes\npidfile=/run/other.pid"),
        )
        .file("etc/init.d/probe", service("probe", "depend() {\n\tafter *\n}\nstart() {\n\t/init\n}"))
        .file("usr/local/bin/app", APP)
        .file("usr/local/bin/other", OTHER);
    let enabled = [
        ("sysinit", ["mountkernfs.sh", "hostname.sh", "smbios-creds"].as_slice()),
        ("default", ["app", "other", "probe"].as_slice()),
    ];
    enabled.iter().fold(machine, |machine, (level, services)| {
        services.iter().fold(machine, |machine, service| {
            machine.link(&format!("etc/runlevels/{level}/{service}"), &format!("/etc/init.d/{service}"))
        })
    })
}

/// Returns a machine with Debian's runit as PID 1, and Debian's stages.
fn runit(name: &str, import: &str) -> Machine {
    let machine = Machine::new(name)
        .inits("/sbin/init")
        .file("etc/default/smbios-creds", format!("OPTIONS=\"{import}\"\n"))
        .file("etc/sv/app/run", integration("runit/app/run"))
        .file("etc/sv/other/run", "#!/bin/sh\nexec /usr/local/bin/other\n")
        .file("etc/sv/probe/run", "#!/bin/sh\nexec /init\n")
        .file("usr/local/bin/app", APP)
        .file("usr/local/bin/other", OTHER)
        .link("etc/runit/runsvdir/current", "default")
        .link("etc/rcS.d/S01mountkernfs.sh", "../init.d/mountkernfs.sh")
        .link("etc/rcS.d/S03hostname.sh", "../init.d/hostname.sh");
    ["app", "other", "probe"].iter().fold(machine, enable)
}

fn enable(machine: Machine, service: &&str) -> Machine {
    machine.link(&format!("etc/runit/runsvdir/default/{service}"), &format!("/etc/sv/{service}"))
}

/// Imports in stage 1.
fn in_stage_1(machine: Machine) -> Machine {
    machine
        .file("etc/init.d/smbios-creds", integration("runit/smbios-creds.sh"))
        .link("etc/rcS.d/S02smbios-creds", "../init.d/smbios-creds")
}

/// Imports in a service that other services wait for.
fn as_a_service(machine: Machine) -> Machine {
    enable(machine.file("etc/sv/smbios-creds/run", integration("runit/smbios-creds/run")), &"smbios-creds")
}

fn assert_delivered(results: &Results, console: &str) {
    assert!(results.contains_key("@end"), "{console}");
    assert_eq!(results["app"].text(), "db-password\ntls-key\n", "{:?}\n{console}", results["app"]);
    assert_eq!(results["password"].stdout, PASSWORD);
    assert_eq!(results["key"].stdout, every_byte());
    assert_eq!(results["other"].code, 0, "{console}");
    assert_eq!(results["check"].code, 0, "{:?}", results["check"]);
    assert!(console.contains("the manifest proves that the set is complete"), "{console}");
}

/// Asserts that the service is down, that the reason is on the console, and that the boot went on.
fn assert_down(results: &Results, console: &str, reasons: &[&str]) {
    assert!(results.contains_key("@end"), "{console}");
    let missing = |outcome: &Outcome| outcome.code != 0 && outcome.stdout.is_empty();
    assert!(missing(&results["app"]), "{:?}\n{console}", results["app"]);
    assert_eq!(results["other"].code, 0, "{console}");
    for reason in reasons {
        assert!(console.contains(reason), "{reason}: {console}");
    }
    let report: serde_json::Value = serde_json::from_slice(&results["report"].stdout).unwrap();
    assert_eq!(report["exit"], 3, "{report}");
}

const VALUES: &str = "result password cat /tmp/app/db-password
     result key cat /tmp/app/tls-key
     result check smbios-creds check --manifest=require --require db-password tls-key\n";

/// The script of runit's third stage, which ends the machine.
const STAGE_3: &str = "echo @end >&3\nexec /sbin/init 0\n";

#[test]
fn openrc_starts_a_service_that_needs_credentials_with_them() {
    let (results, console) = send(openrc("openrc", "--require db-password tls-key --manifest=require"))
        .boot_to_console(&format!(
            "awaited() {{ [ -e /tmp/app ]; }}\n{WAIT}{VALUES}result status rc-service app status"
        ));
    assert_delivered(&results, &console);
    assert!(results["status"].text().contains("started"), "{:?}", results["status"]);
    let place = |text| console.find(text).unwrap_or_else(|| panic!("{text}: {console}"));
    assert!(place("Importing credentials from SMBIOS") < place("Starting boot runlevel"), "{console}");
}

#[test]
fn runit_starts_a_service_that_needs_credentials_with_them_and_ends_in_its_third_stage() {
    for (name, import) in [("runit", in_stage_1 as fn(Machine) -> Machine), ("runit-service", as_a_service)] {
        let machine = import(send(runit(name, "--require db-password tls-key --manifest=require")));
        let (results, console) = machine.boot_to_console(&format!(
            "awaited() {{ [ -e /tmp/app ]; }}\n{WAIT}{VALUES}result status sv status app smbios-creds\n{STAGE_3}"
        ));
        assert_delivered(&results, &console);
        assert!(results["status"].text().contains("run: app: "), "{:?}", results["status"]);
        assert!(console.contains("Running shutdown tasks..."), "{console}");
        let once = results["status"].text().contains("down: smbios-creds: ");
        assert_eq!(once, name == "runit-service", "{:?}", results["status"]);
    }
}

#[test]
fn openrc_leaves_a_service_down_without_what_is_required_and_the_boot_goes_on() {
    let (results, console) = send(openrc("openrc-missing", "--require db-password other"))
        .boot_to_console(&format!("awaited() {{ true; }}\n{WAIT}result status rc-service app status"));
    assert_down(
        &results,
        &console,
        &["credential other: missing: required", "cannot start app as smbios-creds would not start"],
    );
    assert!(results["status"].text().contains("stopped"), "{:?}", results["status"]);
    // The intact credentials are there nevertheless, for services that need no others.
    assert_eq!(results["credentials"].text(), "db-password\ntls-key\n");
}

#[test]
fn runit_leaves_a_service_down_without_what_is_required_and_the_boot_goes_on() {
    for (name, import) in
        [("runit-missing", in_stage_1 as fn(Machine) -> Machine), ("runit-service-missing", as_a_service)]
    {
        let (results, console) =
            import(send(runit(name, "--require db-password other"))).boot_to_console(&format!(
                "awaited() {{ sv status app | grep -q ^down; }}\n{WAIT}result status sv status app\n{STAGE_3}"
            ));
        let reasons = [
            "credential other: missing: required",
            "app: not started: smbios-creds import ended with exit code 3",
        ];
        assert_down(&results, &console, &reasons);
        assert!(results["status"].text().contains("down: app: "), "{:?}", results["status"]);
        assert_eq!(console.matches(reasons[1]).count(), 1, "it is not tried again and again: {console}");
    }
}

#[test]
fn openrc_and_runit_leave_a_service_down_behind_a_cut_table() {
    // With a 64-bit entry point, SeaBIOS up to 1.16 copies only the table's size modulo 64 KiB.
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("io.systemd.credential:large={}", "x".repeat(66_000))).unwrap();
    for machine in
        [openrc("openrc-cut", "--require large"), in_stage_1(runit("runit-cut", "--require large"))]
    {
        let (results, console) = machine
            .kind("pc-i440fx-7.2,smbios-entry-point-type=64")
            .oem_string("io.systemd.credential:small=value")
            .oem_string_file(file.path())
            .boot_to_console(&format!(
                "result size stat -c %s /sys/firmware/dmi/tables/DMI\nawaited() {{ true; }}\n{WAIT}"
            ));
        let size: u64 = results["size"].text().trim().parse().unwrap();
        if size > 66_000 {
            // The firmware on the host that runs the tests passes the whole table.
            return;
        }
        assert_down(&results, &console, &["credential large: the table is damaged after it"]);
        assert_eq!(results["credentials"].text(), "small\n");
    }
}

#[test]
fn openrc_and_runit_start_a_service_where_nothing_was_sent_and_nothing_is_required() {
    let machines = [
        openrc("openrc-nothing", ""),
        in_stage_1(runit("runit-nothing", "")),
        as_a_service(runit("runit-service-nothing", "")),
    ];
    for machine in machines {
        // Without credentials, there is no directory that the service could copy.
        let machine = machine.file("usr/local/bin/app", "#!/bin/sh\ntouch /tmp/app\nexec sleep 1000\n");
        let (results, console) =
            machine.boot_to_console(&format!("awaited() {{ [ -e /tmp/app ]; }}\n{WAIT}"));
        assert!(results.contains_key("@end"), "{console}");
        assert_eq!(results["app"].text(), "/tmp/app\n", "{console}");
        assert!(console.contains("no credential is required, so this is not an error"), "{console}");
    }
}
