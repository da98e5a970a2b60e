//! The static agent in real virtual machines, on the table that a real hypervisor and firmware made.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod machine;

use machine::Machine;

#[test]
fn text_and_binary_credentials_arrive_byte_for_byte() {
    let results = Machine::new("arrive")
        .oem_string("io.systemd.credential:text=a,b=c \"d\" [e]\nline 2")
        .oem_string("io.systemd.credential.binary:binary=AP8Kgf/+AA==")
        .oem_string("io.systemd.boot.loglevel=debug")
        .boot(
            "result import smbios-creds import --require text binary
             result again smbios-creds import
             result list smbios-creds list
             result text cat /run/credentials/@system/text
             result binary cat /run/credentials/@system/binary
             result cat smbios-creds cat text
             result modes stat -c '%a %u %g' /run/credentials /run/credentials/@system /run/credentials/@system/text
             result mount grep @system /proc/mounts
             result write touch /run/credentials/@system/new
             result left ls -A /run /run/credentials /run/smbios-creds /run/credentials/@system
             result mounts cat /proc/mounts
             result missing smbios-creds check --require other
             result unprivileged su nobody -s /bin/sh -c 'smbios-creds list'
             result exec smbios-creds exec -- sh -c 'cat $CREDENTIALS_DIRECTORY/text'
             result record smbios-creds record /tmp/recorded
             result replay smbios-creds list --from /tmp/recorded
             smbios-creds list --from /nowhere 2>/dev/kmsg
             result kmsg sh -c 'dmesg -r | grep nowhere'
             result raw grep -c 'line 2' /tmp/recorded/DMI",
        );
    let text = b"a,b=c \"d\" [e]\nline 2";
    let binary = [0, 0xff, 0x0a, 0x81, 0xff, 0xfe, 0];
    assert_eq!(results["import"].code, 0, "{:?}", results["import"]);
    assert!(results["import"].stderr.contains("materialized in /run/credentials/@system: 2 credentials"));
    assert!(results["again"].code == 0 && results["again"].stderr.contains("nothing to do"));
    let list = "NAME   SIZE ENCODING STATE    SOURCE\n\
                text    20B text     imported 11-0:1\n\
                binary   7B binary   imported 11-0:2\n";
    assert_eq!((results["list"].text(), results["list"].code), (list, 0), "{:?}", results["list"]);
    assert_eq!(results["text"].stdout, text);
    assert_eq!(results["binary"].stdout, binary);
    assert_eq!(results["cat"].stdout, text);
    assert_eq!(results["exec"].stdout, text);
    assert_eq!(results["modes"].text(), "755 0 0\n700 0 0\n400 0 0\n");
    // Linux 6.1 has no 'noswap', so it is a ramfs, which is never swapped.
    let mount = results["mount"].text();
    assert!(mount.contains(" ramfs ro,nosuid,nodev,noexec,") && mount.contains("nosymfollow"), "{mount}");
    assert_eq!(mount.lines().count(), 1);
    assert_ne!(results["write"].code, 0, "it is read-only");
    assert!(!results["mounts"].text().contains("staging"), "nothing else stays mounted");
    assert!(!results["left"].text().contains("staging"), "{}", results["left"].text());
    assert_eq!(results["missing"].code, 3);
    assert!(results["missing"].text().contains("credential other: missing: required"));
    let unprivileged = &results["unprivileged"];
    assert_eq!(unprivileged.code, 1);
    let message = "cannot read /sys/firmware/dmi/tables/smbios_entry_point: permission denied";
    assert!(unprivileged.stderr.contains(message), "{unprivileged:?}");
    assert_eq!(results["record"].code, 0);
    assert_eq!(
        results["replay"].text().replace("STATE  ", "STATE   ").replace("differs", "imported"),
        list,
        "a redacted recording reads the same"
    );
    assert_eq!(results["raw"].text(), "0\n", "and holds no value");
    // 11 is an error (3) of a user process (8).
    assert!(results["kmsg"].text().starts_with("<11>"), "{:?}", results["kmsg"]);
    assert!(results["kmsg"].text().contains("] no recording in /nowhere"), "{:?}", results["kmsg"]);
}

#[test]
fn as_pid_1_it_imports_and_becomes_the_program() {
    let results = Machine::new("pid-1")
        .oem_string("io.systemd.credential:text=value")
        .kernel_arguments("rdinit=/bin/smbios-creds -- exec --require=text /init an-argument")
        .boot(
            "result pid echo $$
             result argument echo $argument
             result folder echo $CREDENTIALS_DIRECTORY
             result text cat $CREDENTIALS_DIRECTORY/text
             result mounts grep -E ' /(proc|sys|run) ' /proc/mounts",
        );
    assert_eq!(results["pid"].text(), "1\n");
    assert_eq!(results["argument"].text(), "an-argument\n");
    assert_eq!(results["folder"].text(), "/run/credentials/@system\n");
    assert_eq!(results["text"].text(), "value");
    let mounts = results["mounts"].text();
    for mount in [
        "proc /proc proc rw,nosuid,nodev,noexec",
        "sysfs /sys sysfs rw,nosuid,nodev,noexec",
        "tmpfs /run tmpfs rw,nosuid,nodev",
    ] {
        assert!(mounts.contains(mount), "{mounts}");
    }
    assert_eq!(mounts.lines().count(), 3, "{mounts}");
}

#[test]
fn as_pid_1_it_boots_on_without_credentials_but_not_without_what_is_required() {
    let results = Machine::new("pid-1-nothing")
        .kernel_arguments("rdinit=/bin/smbios-creds -- exec /init")
        .boot("result folder echo ${CREDENTIALS_DIRECTORY-unset}");
    assert_eq!(results["folder"].text(), "unset\n");

    let console = Machine::new("pid-1-required")
        .kernel_arguments("rdinit=/bin/smbios-creds -- exec --require=text /init")
        .boot_to_console("");
    assert!(console.contains("error: credential text: missing: required, and not in the table"), "{console}");
    assert!(console.contains("error: the program is not started"), "{console}");
    assert!(console.contains("Attempted to kill init! exitcode=0x00000300"), "{console}");
    assert!(!console.contains("@end"), "{console}");
}

#[test]
fn as_pid_1_in_front_of_systemd_its_services_get_everything() {
    // More than a page: what systemd 252 would cut by itself, losing the next one.
    let large = "x".repeat(6000);
    let results = Machine::new("pid-1-systemd")
        .oem_string(&format!("io.systemd.credential:large={large}"))
        .oem_string("io.systemd.credential:next=value")
        .systemd("/bin/smbios-creds -- exec --require=next", "", "LoadCredential=large\nLoadCredential=next")
        .boot(
            "result pid1 cat /proc/1/comm
             result large wc -c $CREDENTIALS_DIRECTORY/large
             result next cat $CREDENTIALS_DIRECTORY/next
             result own echo $CREDENTIALS_DIRECTORY
             result mounts grep -c ' /run/credentials/@system ' /proc/mounts
             result list smbios-creds list --no-legend
             result import smbios-creds import",
        );
    assert_eq!(results["pid1"].text(), "systemd\n");
    assert_eq!(results["own"].text(), "/run/credentials/probe.service\n");
    assert!(results["large"].text().starts_with("6000 "), "{:?}", results["large"]);
    assert_eq!(results["next"].text(), "value");
    assert_eq!(results["mounts"].text(), "1\n");
    assert_eq!(results["list"].text().matches(" imported ").count(), 2);
    assert!(results["import"].code == 0 && results["import"].stderr.contains("nothing to do"));
}

/// systemd 252 to 256 read one page of a structure; a newer one on the machine that tests would have everything.
fn cuts() -> bool {
    let version = std::process::Command::new("/lib/systemd/systemd").arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    version.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap() < 257
}

#[test]
fn what_systemd_cut_and_lost_is_whole_in_the_services_that_come_after() {
    let large = "x".repeat(6000);
    let machine = |name, import| {
        Machine::new(name)
            .oem_string(&format!("io.systemd.credential:large={large}"))
            .oem_string("io.systemd.credential:next=value")
            .systemd("", import, "LoadCredential=large\nLoadCredential=next")
            .boot(
                "result large wc -c $CREDENTIALS_DIRECTORY/large
                 result next cat $CREDENTIALS_DIRECTORY/next
                 result mount grep ' /run/credentials/@system ' /proc/mounts
                 result files ls -A /run/credentials/@system
                 result list smbios-creds list --no-legend
                 result again smbios-creds import",
            )
    };
    if cuts() {
        let alone = machine("systemd-alone", "");
        // 4096 bytes less the header, the prefix and the name; the next one is lost.
        assert!(alone["large"].text().starts_with("4063 "), "{:?}", alone["large"]);
        assert_ne!(alone["next"].code, 0);
        let states: Vec<_> =
            alone["list"].text().lines().map(|line| line.split_whitespace().nth(3).unwrap()).collect();
        assert_eq!(states, ["differs", "missing"]);
        assert!(
            alone["again"]
                .stderr
                .contains("credential large: repaired: 4063 bytes were there, 6000 bytes are now")
        );
    }
    let repaired = machine("systemd-repaired", "/bin/smbios-creds import --require next");
    assert!(repaired["large"].text().starts_with("6000 "), "{:?}", repaired["large"]);
    assert_eq!(repaired["next"].text(), "value");
    let mount = repaired["mount"].text();
    assert!(mount.contains(" ro,nosuid,nodev,noexec,") && mount.lines().count() == 1, "{mount}");
    assert_eq!(repaired["files"].text(), "large\nnext\n");
    assert_eq!(repaired["list"].text().matches(" imported ").count(), 2);
    assert!(repaired["again"].code == 0 && repaired["again"].stderr.contains("nothing to do"));
}

#[test]
fn three_hundred_credentials_are_all_there_beside_systemd() {
    let mut machine = Machine::new("systemd-300");
    for n in 0..300 {
        machine = machine.oem_string(&format!("io.systemd.credential:c{n}=value {n}"));
    }
    let results = machine.systemd("", "/bin/smbios-creds import", "LoadCredential=c299").boot(
        "result last cat $CREDENTIALS_DIRECTORY/c299
         result count sh -c 'ls /run/credentials/@system | wc -l'
         result list smbios-creds list --no-legend
         result mount grep ' /run/credentials/@system ' /proc/mounts",
    );
    assert_eq!(results["last"].text(), "value 299");
    assert_eq!(results["count"].text(), "300\n");
    assert_eq!(results["list"].text().matches(" imported ").count(), 300);
    assert!(results["mount"].text().contains(" ro,"), "{}", results["mount"].text());
}

#[test]
fn where_systemd_can_import_nothing_its_services_find_everything() {
    let results = Machine::new("systemd-nothing")
        .oem_string("io.systemd.credential:text=value")
        .systemd("", "/bin/smbios-creds import", "LoadCredential=text")
        .kernel_arguments("initcall_blacklist=dmi_sysfs_init")
        .boot(
            "result text cat $CREDENTIALS_DIRECTORY/text
             result system ls -A /run/credentials/@system
             result list smbios-creds list --no-legend",
        );
    assert_eq!(results["text"].text(), "value");
    assert_ne!(results["system"].code, 0, "systemd has imported nothing, and so it stays");
    assert!(results["list"].text().contains(" imported "), "{:?}", results["list"]);
}

#[test]
fn a_table_that_firmware_cut_is_reported_with_both_sizes_and_strict_leaves_nothing() {
    // Behind a 64-bit entry point, SeaBIOS up to 1.16 copies the size of a table modulo 64 KiB.
    let value = "x".repeat(66_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("io.systemd.credential:large={value}")).unwrap();
    let results = Machine::new("cut")
        .kind("pc-i440fx-7.2,smbios-entry-point-type=64")
        .oem_string("io.systemd.credential:small=value")
        .oem_string_file(file.path())
        .boot(
            "result size stat -c %s /sys/firmware/dmi/tables/DMI
             result strict smbios-creds import --strict
             result left ls -A /run
             result import smbios-creds import
             result files ls -A /run/credentials/@system
             result check smbios-creds check --json=short",
        );
    let size: u64 = results["size"].text().trim().parse().unwrap();
    if size > 66_000 {
        // The firmware of the machine that tests carries it.
        assert_eq!(results["check"].code, 0);
        return;
    }
    for name in ["strict", "import", "check"] {
        assert_eq!(results[name].code, 3, "{:?}", results[name]);
    }
    let check: serde_json::Value = serde_json::from_slice(&results["check"].stdout).unwrap();
    let cut =
        check["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == "table-cut").unwrap();
    assert_eq!(cut["found_bytes"], size);
    assert!(cut["announced_bytes"].as_u64().unwrap() > 66_000 && size < 2000, "{cut}");
    assert!(!results["left"].text().contains("credentials"), "{}", results["left"].text());
    assert_eq!(results["files"].text(), "small\n", "what is left of the large one is not handed out");
    assert!(results["import"].stderr.contains("credential large: the table breaks next to it"));
}

#[test]
fn a_table_that_the_kernel_refuses_exits_4() {
    // Above 256 KiB the kernel cannot map it so early.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("io.systemd.credential:huge={}", "x".repeat(300_000))).unwrap();
    let results = Machine::new("huge")
        .kind("pc-i440fx-7.2,smbios-entry-point-type=64")
        .oem_string_file(file.path())
        .boot("result import smbios-creds import\nresult left ls -A /run");
    assert_eq!(results["import"].code, 4, "{:?}", results["import"]);
    assert!(results["import"].stderr.contains("larger than 256 KiB and the kernel refused it"));
    assert!(!results["left"].text().contains("credentials"));
}

#[test]
fn killed_at_any_system_call_system_is_never_half_filled_or_writable() {
    let results = Machine::new("killed")
        .oem_string("io.systemd.credential:text=value")
        .oem_string("io.systemd.credential.binary:binary=AAECAwQ=")
        .program("/usr/bin/strace")
        .boot(
            r#"
            here() { grep -q ' /run/credentials/@system ' /proc/mounts; }
            complete() {
                grep -qE ' /run/credentials/@system (ramfs|tmpfs) ro,' /proc/mounts &&
                [ "$(cat /run/credentials/@system/text)" = value ] &&
                [ "$(wc -c < /run/credentials/@system/binary)" = 5 ]
            }
            attempts() {
                total=0
                for call in $2; do
                    n=0
                    while n=$((n + 1)); do
                        rm -f /tmp/trace
                        strace -qq -o /tmp/trace -e "inject=$call:$1:when=$n" smbios-creds import >/dev/null 2>/tmp/message
                        code=$?
                        grep -qE 'INJECTED|killed by SIGKILL' /tmp/trace || break
                        if here && ! complete; then echo "$call $n: half filled or writable"; fi
                        [ $code != 101 ] && [ $code != 134 ] || { echo "$call $n: a panic"; cat /tmp/message; }
                        smbios-creds import >/dev/null 2>/tmp/message ||
                            { echo "$call $n: not completed"; cat /tmp/message; }
                        complete || echo "$call $n: not complete after the next import"
                        grep staging /proc/mounts && echo "$call $n: staging is still mounted"
                        umount /run/credentials/@system
                        rm -r /run/credentials
                        total=$((total + 1))
                    done
                    # The last one went through.
                    umount /run/credentials/@system 2>/dev/null
                    rm -rf /run/credentials
                done
                echo "$total calls"
            }
            result killed attempts signal=KILL "openat openat2 mkdirat write close mount umount2 flock unlinkat fstat stat getdents64 munmap exit_group"
            result full attempts error=ENOSPC "write openat mkdirat mount"
            result denied attempts error=EPERM "mount umount2 mkdirat openat openat2 unlinkat flock"
            "#,
        );
    for (name, fewest) in [("killed", 60), ("full", 20), ("denied", 20)] {
        let text = results[name].text();
        let calls = text.trim().strip_suffix(" calls").and_then(|calls| calls.parse::<u32>().ok());
        assert!(calls.is_some_and(|calls| calls > fewest), "{name}: {text}");
    }
}

#[test]
fn killed_while_it_repairs_every_value_is_the_old_or_the_new_one_and_the_folder_read_only() {
    let large = "x".repeat(6000);
    let results = Machine::new("repair-killed")
        .oem_string(&format!("io.systemd.credential:large={large}"))
        .oem_string("io.systemd.credential:next=value")
        .program("/usr/bin/strace")
        .systemd("", "", "")
        .boot(
            r#"
            system=/run/credentials/@system
            spoil() {
                mount -o remount,bind,rw $system
                rm -f $system/large $system/next
                (umask 277; printf xx > $system/large)
                mount -o remount,bind,ro $system
            }
            read_only() { grep -qE " $system (ramfs|tmpfs) ro," /proc/mounts; }
            size() { wc -c 2>/dev/null < $system/$1; }
            attempts() {
                total=0
                for call in $2; do
                    n=0
                    while n=$((n + 1)); do
                        spoil
                        rm -f /tmp/trace
                        strace -qq -o /tmp/trace -e "inject=$call:$1:when=$n" smbios-creds import >/dev/null 2>/tmp/message
                        grep -qE 'INJECTED|killed by SIGKILL' /tmp/trace || break
                        grep -q 'internal error' /tmp/message && { echo "$call $n: a panic"; cat /tmp/message; }
                        read_only || echo "$call $n: writable"
                        case "$(size large):$(size next)" in 2:|6000:|2:5|6000:5) ;; *) echo "$call $n: a part of a value" ;; esac
                        smbios-creds import >/dev/null 2>/tmp/message || { echo "$call $n: not completed"; cat /tmp/message; }
                        [ "$(size large):$(size next)" = 6000:5 ] || echo "$call $n: not complete after the next import"
                        [ "$(ls -A $system)" = "$(printf 'large\nnext')" ] || { echo "$call $n: something is left"; ls -A $system; }
                        read_only || echo "$call $n: writable after the next import"
                        grep staging /proc/mounts && echo "$call $n: staging is still mounted"
                        total=$((total + 1))
                    done
                done
                echo "$total calls"
            }
            result killed attempts signal=KILL "openat openat2 mkdirat write close mount umount2 flock renameat unlinkat read getdents64 exit_group"
            result full attempts error=ENOSPC "write openat mkdirat mount renameat"
            "#,
        );
    for (name, fewest) in [("killed", 50), ("full", 20)] {
        let text = results[name].text();
        let calls = text.trim().strip_suffix(" calls").and_then(|calls| calls.parse::<u32>().ok());
        assert!(calls.is_some_and(|calls| calls > fewest), "{name}: {text}");
    }
}
