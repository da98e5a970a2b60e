//! Boots in two stages: systemd in the initrd, a real switch-root, and systemd after switch-root. In some tests, a
//! script replaces the systemd of the initrd.

use testkit::machine::{Machine, Release};

const LOOK: &str = "result text cat $CREDENTIALS_DIRECTORY/text
    result next cat $CREDENTIALS_DIRECTORY/next
    result pid1 cat /proc/1/cmdline
    result stage sh -c '[ -e /etc/initrd-release ] || echo host'
    result initrd ls -A /run/credentials/@initrd
    result system sh -c 'ls -A /run/credentials/@system; grep /@system /proc/mounts'
    result list smbios-creds list --no-legend
    result import smbios-creds import";

const BOTH: &str = "LoadCredential=text\nLoadCredential=next";

fn machine(name: &str, release: Release, init: Option<&str>) -> Machine {
    Machine::new(name)
        .release(release)
        .oem_string("io.systemd.credential:text=value")
        .oem_string("io.systemd.credential.binary:next=AAECAwQ=")
        .two_stages(init, BOTH)
}

fn across(machine: Machine, left: &str) {
    let results = machine.boot(LOOK);
    assert_eq!(results["stage"].text(), "host\n");
    assert_eq!(results["text"].text(), "value", "{results:?}");
    assert_eq!(results["next"].stdout, [0, 1, 2, 3, 4], "{results:?}");
    assert_eq!(results["initrd"].text(), left, "no duplicate in plain text is left");
    assert_eq!(results["list"].text().matches(" imported ").count(), 2, "{results:?}");
    assert!(results["import"].code == 0 && results["import"].stderr.contains("nothing to do"), "{results:?}");
}

#[test]
fn across_a_switch_root_services_of_systemd_252_see_everything() {
    across(machine("switch-252", Release::Bookworm, None).import_in_initrd("").import(""), "");
}

#[test]
fn across_a_switch_root_services_of_systemd_254_see_everything() {
    across(machine("switch-254", Release::Backports, None).import_in_initrd("").import(""), "");
}

#[test]
fn across_a_switch_root_services_of_the_newest_systemd_see_everything_without_a_unit_in_the_host_stage() {
    across(machine("switch-newest", Release::Newest, None).import_in_initrd(""), "");
}

#[test]
fn a_switch_root_with_an_explicit_init_loses_no_credential() {
    // Without the agent, systemd imports again after switch-root, finds every name taken, and passes no credential to
    // services.
    let alone = machine("explicit-alone", Release::Newest, Some("/stage2")).boot(LOOK);
    assert_ne!(alone["text"].code, 0, "{alone:?}");
    assert!(alone["system"].text().contains(" rw,"), "{:?}", alone["system"]);
    // With the agent, one name that systemd has not seen is enough for systemd to pass on all credentials.
    across(machine("explicit-newest", Release::Newest, Some("/stage2")).import_in_initrd(""), "");
}

#[test]
fn a_switch_root_with_an_explicit_init_of_systemd_254_loses_no_credential() {
    across(machine("explicit-254", Release::Backports, Some("/stage2")).import_in_initrd("").import(""), "");
}

#[test]
fn a_switch_root_with_an_explicit_init_of_systemd_252_loses_no_credential() {
    // systemd 252 does not merge @initrd. The unit of the stage after switch-root sees that systemd passes on no
    // credentials.
    across(
        machine("explicit-252", Release::Bookworm, Some("/stage2")).import_in_initrd("").import(""),
        "smbios-creds.report\n",
    );
}

fn imports_nothing(name: &str, release: Release) {
    let results = machine(name, release, None)
        .import_in_initrd("")
        .import("")
        .initrd_service(
            "result initrd_text cat $CREDENTIALS_DIRECTORY/text
             result initrd_system ls -A /run/credentials/@system
             result initrd_drop ls -A /run/credentials/@initrd
             result initrd_mode stat -c '%a %u' /run/credentials/@initrd /run/credstore
             result initrd_again smbios-creds import",
            BOTH,
        )
        .kernel_arguments("initcall_blacklist=dmi_sysfs_init")
        .boot(LOOK);
    assert_eq!(results["initrd_text"].text(), "value", "{results:?}");
    assert_eq!(results["initrd_drop"].text(), "next\nsmbios-creds.report\ntext\n");
    assert_eq!(results["initrd_mode"].text(), "700 0\n700 0\n");
    assert_ne!(results["initrd_system"].code, 0);
    assert!(results["initrd_again"].stderr.contains("nothing to do"), "{:?}", results["initrd_again"]);
    assert_eq!(results["text"].text(), "value", "{results:?}");
    assert_eq!(results["next"].stdout, [0, 1, 2, 3, 4]);
    assert_eq!(results["initrd"].text(), "", "no duplicate in plain text is left");
    if release.imports() {
        assert!(results["system"].text().starts_with("next\nsmbios-creds.report\ntext\n"), "{results:?}");
    }
}

#[test]
fn where_systemd_252_can_import_nothing_the_services_of_both_stages_find_everything() {
    imports_nothing("switch-nothing-252", Release::Bookworm);
}

#[test]
fn where_the_newest_systemd_can_import_nothing_the_services_of_both_stages_find_everything() {
    imports_nothing("switch-nothing-newest", Release::Newest);
}

#[test]
fn three_hundred_credentials_are_handed_over_and_no_duplicate_is_left_in_the_initrds_folder() {
    // PID 1 merges 256 credentials from @initrd and leaves the others there.
    let machine = Machine::new("switch-300").release(Release::Newest).three_hundred();
    let results = machine
        .two_stages(None, "LoadCredential=c0\nLoadCredential=c299")
        .import_in_initrd("")
        .import("")
        .kernel_arguments("initcall_blacklist=dmi_sysfs_init")
        .boot(
            "result first cat $CREDENTIALS_DIRECTORY/c0
             result last cat $CREDENTIALS_DIRECTORY/c299
             result initrd ls -A /run/credentials/@initrd
             result list smbios-creds list --no-legend",
        );
    assert_eq!((results["first"].text(), results["last"].text()), ("value 0", "value 299"));
    assert_eq!(results["initrd"].text(), "", "no duplicate in plain text is left");
    assert_eq!(results["list"].text().matches(" imported ").count(), 300);
}

/// Returns a machine whose PID 1 is a script, as in an initramfs without systemd. The script imports, runs
/// `hand-over` for the next PID 1, and executes systemd. This systemd cannot import any credential by itself.
fn hand_over(name: &str, options: &str, before: &str, after: &str) -> Machine {
    let hook = testkit::project("integration/initramfs/initramfs");
    let first = format!(
        "#!/bin/sh
        mount -t proc proc /proc
        mount -t sysfs sysfs /sys
        mount -t tmpfs -o mode=755,nr_inodes=64 tmpfs /run
        hook=/usr/lib/smbios-creds/initramfs
        $hook import
        {before}
        $hook hand-over '' \"$1\" 2>/said
        echo \"exit $?\" >>/said
        {after}
        exec \"$@\""
    );
    Machine::new(name)
        .release(Release::Newest)
        .oem_string("io.systemd.credential:text=value")
        .file("usr/lib/smbios-creds/initramfs", std::fs::read_to_string(hook).unwrap())
        .file("etc/smbios-creds/options", format!("OPTIONS=\"{options}\"\n"))
        .file("first", first)
        .systemd_behind("/first --", "LoadCredential=text")
        .kernel_arguments("initcall_blacklist=dmi_sysfs_init")
}

const LOOK_AFTER_HAND_OVER: &str = "result said cat /said
    result text cat $CREDENTIALS_DIRECTORY/text
    result copy cat /run/credentials/@system/text
    result mounted grep ' /run/credentials/@system ' /proc/mounts";

#[test]
fn hand_over_that_cannot_copy_keeps_the_only_copy() {
    // There is no room in /run for another copy.
    let fill = "i=0; while touch /run/fill-$i; do i=$((i + 1)); done 2>/dev/null";
    let empty = "rm /run/fill-*; mount -o remount,nr_inodes=10000 /run";
    let results = hand_over("hand-over-full", "", fill, empty).import("").boot(LOOK_AFTER_HAND_OVER);
    let said = results["said"].text();
    assert!(said.contains("No space left on device") && said.ends_with("exit 1\n"), "{said}");
    assert!(said.contains("so /run/credentials/@system stays mounted"), "{said}");
    assert_eq!(results["copy"].text(), "value", "{results:?}");
    // The unit of the stage after switch-root then places the credential where services look.
    assert_eq!(results["text"].text(), "value", "{results:?}");
}

#[test]
fn hand_over_goes_to_initrd_whatever_into_is_in_the_options() {
    let results = hand_over("hand-over-into", "--into system", "", "").boot(LOOK_AFTER_HAND_OVER);
    assert!(results["said"].text().ends_with("exit 0\n"), "{results:?}");
    assert_eq!(results["text"].text(), "value", "systemd has merged it: {results:?}");
    assert_eq!(results["mounted"].text().lines().count(), 1, "systemd's own: {results:?}");
}
