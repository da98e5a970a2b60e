//! Signed sets alongside systemd: with the kernel parameter under which PID 1 imports nothing itself, and without
//! this parameter.

use std::fs;

use testkit::machine::{Machine, Release};

const PARAMETER: &str = "CREDENTIALS_DIRECTORY=/run/credentials/@system";

/// A credential on the kernel's command line. PID 1 imports it without any check, unless it is told to import
/// nothing.
const EVIL: &str = "systemd.set_credential=evil:x";

fn file(name: &str) -> String {
    fs::read_to_string(testkit::testdata("signed").join(name)).unwrap()
}

/// Returns a machine that trusts the owner's key and is sent a set that the owner signed for this machine.
fn machine(name: &str, release: Release, service: &str) -> Machine {
    let strings = file("good.strings");
    let machine = Machine::new(name).release(release).two_stages(None, service);
    let machine = strings.lines().fold(machine, Machine::oem_string);
    machine
        .file("etc/smbios-creds/trusted/owner.pub", file("owner.pub"))
        .file("etc/smbios-creds/options", "OPTIONS=\"--audience web01\"\n")
        .kernel_arguments(EVIL)
}

/// Asserts that units of both stages get the signed credentials, by name and by a pattern, and that no unit gets the
/// unsigned credential.
fn told_to_import_nothing(name: &str, release: Release) {
    let service = "LoadCredential=db-password\nImportCredential=*\nConditionCredential=!evil";
    let look = "result password cat $CREDENTIALS_DIRECTORY/db-password
        result all ls -A $CREDENTIALS_DIRECTORY
        result system ls -A /run/credentials/@system
        result report cat /run/smbios-creds/report.json";
    let results = machine(name, release, service)
        .import_in_initrd("")
        .import("")
        .initrd_service(&look.replace("result ", "result initrd_"), service)
        .kernel_arguments(PARAMETER)
        .boot(&format!(
            "{look}
             mkdir -p /var/lib
             result again smbios-creds import --audience web01
             result serial cat /var/lib/smbios-creds/serial
             result check smbios-creds check --audience web01"
        ));
    for stage in ["initrd_", ""] {
        let result = |name: &str| &results[&format!("{stage}{name}")];
        assert_eq!(result("password").text(), "correct horse", "{results:?}");
        assert_eq!(result("all").text(), "db-password\ntls-key\n", "{results:?}");
        assert_eq!(result("system").text(), "db-password\ntls-key\n", "{results:?}");
    }
    let report = results["initrd_report"].text();
    assert!(report.contains("which imports nothing itself") && report.contains(r#""exit":0"#), "{report}");
    assert!(results["again"].code == 0 && results["again"].stderr.contains("nothing to do"), "{results:?}");
    assert_eq!(results["serial"].text(), "7\n", "{results:?}");
    let check = &results["check"];
    assert!(check.code == 0 && check.text().contains(" for web01, serial 7"), "{check:?}");
}

#[test]
fn systemd_254_that_is_told_to_import_nothing_passes_on_a_signed_set() {
    told_to_import_nothing("signed-254", Release::Backports);
}

#[test]
fn newest_systemd_that_is_told_to_import_nothing_passes_on_a_signed_set() {
    told_to_import_nothing("signed-newest", Release::Newest);
}

/// Returns a machine that starts the unit of the stage after switch-root only; the unit of the initrd is installed, but
/// nothing starts it.
fn host_stage_only(name: &str, release: Release) -> Machine {
    machine(name, release, "")
        .unit("smbios-creds-initrd.service", "")
        .unit("smbios-creds.service", "")
        .link("etc/systemd/system/probe.target.wants/smbios-creds.service", "../smbios-creds.service")
}

const START: &str = "result system ls -A /run/credentials/@system
    result start systemctl start smbios-creds.service
    result after ls -A /run/credentials/@system
    result report cat /run/smbios-creds/report.json
    result store ls -A /run/credstore";

/// Asserts that the unit fails and names the parameter, and that the agent places nothing. The credentials that
/// systemd imported are in `@system`.
fn imports_by_itself(name: &str, release: Release) {
    let results = host_stage_only(name, release).boot(START);
    assert!(results["system"].text().contains("evil"), "{results:?}");
    assert_ne!(results["start"].code, 0, "{results:?}");
    let report = results["report"].text();
    assert!(report.contains(r#""exit":3"#) && report.contains("imported-by-systemd"), "{report}");
    assert!(report.contains(PARAMETER), "{report}");
    assert_ne!(results["store"].code, 0, "nothing is placed elsewhere: {results:?}");
}

#[test]
fn systemd_254_that_imports_by_itself_fails_a_signed_set_and_names_the_parameter() {
    imports_by_itself("signed-refused-254", Release::Backports);
}

#[test]
fn newest_systemd_that_imports_by_itself_fails_a_signed_set_and_names_the_parameter() {
    imports_by_itself("signed-refused-newest", Release::Newest);
}

/// An unsigned credential is sent by SMBIOS beside a signed set. Then neither systemd nor the agent imports any
/// credential.
#[test]
fn unsigned_string_beside_a_signed_set_is_nowhere() {
    let machine = host_stage_only("signed-evil", Release::Backports);
    let machine = machine.oem_string("io.systemd.credential:evil=x").kernel_arguments(PARAMETER);
    let results = machine.boot(START);
    assert_ne!(results["start"].code, 0, "{results:?}");
    for place in ["system", "after", "store"] {
        assert_eq!(results[place].text(), "", "{place}: {results:?}");
    }
    let report = results["report"].text();
    assert!(report.contains(r#""exit":3"#) && report.contains("not-listed"), "{report}");
}
