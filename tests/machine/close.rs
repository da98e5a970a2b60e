//! `import --close` on real kernels: who is kept out, and what still works.

use testkit::machine::{Machine, Outcome, Release};

/// A text that no program may print after the table is closed.
const CANARY: &str = "canary-6f1d0c2ab7";

/// A command for the guest: the dmidecode of the host that runs the tests, with the libraries of that host.
const DMIDECODE: &str = "/dmi/ld --library-path /dmi /dmi/dmidecode";

fn closes(name: &str, release: Release) {
    let results = Machine::new(name)
        .release(release)
        .modules()
        .oem_string(&format!("io.systemd.credential:db={CANARY}"))
        .arguments(&["-fw_cfg".into(), format!("name=opt/io.systemd.credentials/by-fw-cfg,string={CANARY}")])
        .program("dmi/dmidecode", "/usr/sbin/dmidecode")
        .program("dmi/ld", "/lib64/ld-linux-x86-64.so.2")
        .program("dmi/libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6")
        .systemd("LoadCredential=db")
        .import("--close")
        .boot(&format!(
            "cd /sys/firmware
             result id id -u
             result table cat dmi/tables/DMI
             result entry cat dmi/entries/11-0/raw
             result entry_point cat dmi/tables/smbios_entry_point
             result product cat /sys/class/dmi/id/sys_vendor
             modprobe qemu_fw_cfg
             result rest smbios-creds import --close
             result item cat qemu_fw_cfg/by_name/opt/io.systemd.credentials/by-fw-cfg/raw
             result copy cat qemu_fw_cfg/by_name/etc/smbios/smbios-tables/raw
             result other cat qemu_fw_cfg/by_name/etc/smbios/smbios-anchor/raw
             mkdir -p /tmp/second /tmp/third
             mount -t sysfs sysfs /tmp/second
             result second sh -c 'cat /tmp/second/firmware/dmi/tables/DMI || cat /tmp/second/firmware/dmi/entries/11-0/raw'
             umount /tmp/second
             result rootless unshare -U -r -n -m mount -t sysfs sysfs /tmp/third
             result dmidecode {DMIDECODE}
             result again smbios-creds import
             result list smbios-creds list
             result check smbios-creds check
             result mounts grep -c ' /sys/firmware' /proc/mounts
             mount --bind /dev/null dmi/tables/DMI
             result overmounted unshare -U -r -n -m mount -t sysfs sysfs /tmp/third
             umount dmi/tables/DMI
             chmod 400 dmi/tables/DMI dmi/entries/11-*/raw qemu_fw_cfg/by_key/*/raw
             result value cat $CREDENTIALS_DIRECTORY/db
             result opened cat dmi/tables/DMI
             result dmidecode_opened {DMIDECODE}
             result list_opened smbios-creds list --no-legend"
        ));
    let holds = |outcome: &Outcome| testkit::holds(&outcome.stdout, CANARY.as_bytes());
    assert_eq!(results["id"].text(), "0\n", "{results:?}");
    for refused in ["table", "entry", "item", "copy", "second"] {
        let refused = &results[refused];
        assert!(refused.code != 0 && refused.stderr.contains("Permission denied"), "{refused:?}");
    }
    for works in ["entry_point", "product", "other", "rootless", "rest", "again", "list", "check"] {
        assert_eq!(results[works].code, 0, "{works}: {:?}", results[works]);
    }
    // The agent must never mount over sysfs, since the kernel then refuses rootless mounts of sysfs.
    assert_eq!(results["mounts"].text(), "0\n", "{results:?}");
    assert_ne!(results["overmounted"].code, 0, "rootless mounts of sysfs would survive a mount over it");
    assert!(results["dmidecode"].stderr.contains("Permission denied"), "{:?}", results["dmidecode"]);
    assert!(results["list"].text().contains(" closed "), "{:?}", results["list"]);
    assert!(results["check"].text().starts_with("closed: the table is closed (mode 0000) by smbios-creds"));
    let opened = ["value", "opened", "dmidecode_opened"];
    for (name, outcome) in results.iter().filter(|(name, _)| !opened.contains(&name.as_str())) {
        assert!(!holds(outcome) && !outcome.stderr.contains(CANARY), "{name}: {outcome:?}");
    }
    for opened in opened {
        assert!(holds(&results[opened]), "{opened}: {:?}", results[opened]);
    }
    assert!(results["list_opened"].text().contains(" imported "), "{:?}", results["list_opened"]);
}

#[test]
fn closed_table_is_refused_to_root_under_linux_6_1() {
    closes("close-6.1", Release::Bookworm);
}

#[test]
fn closed_table_is_refused_to_root_under_the_newest_linux() {
    closes("close-newest", Release::Newest);
}
