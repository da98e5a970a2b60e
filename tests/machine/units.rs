//! The units of `integration/systemd/`, where verification fails.

use testkit::machine::{Machine, Release};

#[test]
fn services_that_require_the_unit_do_not_start_with_a_cut_table_and_the_machine_still_boots() {
    // Behind a 64-bit entry point, SeaBIOS up to 1.16 copies the size of a table modulo 64 KiB.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("io.systemd.credential:large={}", "x".repeat(66_000))).unwrap();
    let needy = "[Unit]\nDefaultDependencies=no\nRequires=smbios-creds.service\nAfter=smbios-creds.service\n\
                 [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n";
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
            .file("etc/systemd/system/needy.service", needy)
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
            // The firmware of the machine that tests carries it.
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
        // What systemd took from the cut table by itself is neither mended nor removed.
        assert!(results["files"].text().contains("small"), "{:?}", results["files"]);
    }
}
