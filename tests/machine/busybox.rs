//! Guests without systemd: an initramfs of busybox, and the agent as PID 1.

use std::fmt::Write as _;
use std::io::Write as _;

use sha2::{Digest as _, Sha256};

use testkit::machine::{CAT_THREE_HUNDRED, Machine, Release, three_hundred_values};

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
             smbios-creds cat other 2>/dev/kmsg
             result kmsg-help sh -c 'dmesg -r | grep -A1 \"credential other: missing\"'
             result raw grep -c 'line 2' /tmp/recorded/DMI",
        );
    let text = b"a,b=c \"d\" [e]\nline 2";
    let binary = [0, 0xff, 0x0a, 0x81, 0xff, 0xfe, 0];
    assert_eq!(results["import"].code, 0, "{:?}", results["import"]);
    assert!(results["import"].stderr.contains("imported into /run/credentials/@system: 2 credentials"));
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
    // Linux 6.1 has no mount option 'noswap', so the agent mounts a ramfs, which is never swapped.
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
        results["replay"].text().replace("STATE  ", "STATE    ").replace("intact", "imported"),
        list,
        "a redacted recording reads the same"
    );
    assert_eq!(results["raw"].text(), "0\n", "and holds no value");
    // In the kernel's log, the prefix <11> is the facility 'user' (8) plus the severity 'error' (3).
    assert!(results["kmsg"].text().starts_with("<11>"), "{:?}", results["kmsg"]);
    assert!(results["kmsg"].text().contains("] no recording in /nowhere"), "{:?}", results["kmsg"]);
    let help = results["kmsg-help"].text();
    let [finding, help] = help.lines().collect::<Vec<_>>()[..] else { panic!("{help}") };
    assert!(
        finding.starts_with("<11>") && finding.contains("] credential other: missing: required"),
        "{finding}"
    );
    assert!(help.starts_with("<11>") && help.contains("] help: check the credential's name"), "{help}");
}

fn digest(value: &[u8]) -> String {
    Sha256::digest(value).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn file_of(prefix: &str, value: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(prefix.as_bytes()).unwrap();
    file.write_all(value).unwrap();
    file
}

#[test]
fn every_byte_and_sixty_thousand_of_them_arrive() {
    let every: Vec<u8> = (0..=255).collect();
    let high: Vec<u8> = b"line 1\nline 2,,a=b==\t\"]['".iter().copied().chain(0x80..=0xff).collect();
    let large: Vec<u8> = (0..60_000_u32).map(|n| b'!' + u8::try_from(n * 7 % 90).unwrap()).collect();
    let high_file = file_of("io.systemd.credential:high=", &high);
    let large_file = file_of("io.systemd.credential:large=", &large);
    let results = Machine::new("every-byte")
        .oem_string(&format!(
            "io.systemd.credential.binary:every={}",
            *smbios_creds::format::base64::encode(&every)
        ))
        .oem_string_file(high_file.path())
        .oem_string_file(large_file.path())
        .boot(
            "result import smbios-creds import --require every high large
             cd /run/credentials/@system
             result sums sha256sum every high large
             result modes stat -c '%a %F' . every high large
             result again smbios-creds import
             result report cat /run/smbios-creds/report.json
             result mode stat -c '%a %u' /run/smbios-creds/report.json",
        );
    assert_eq!(results["import"].code, 0, "{:?}", results["import"]);
    let sums: Vec<_> = results["sums"]
        .text()
        .lines()
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect();
    assert_eq!(sums, [digest(&every), digest(&high), digest(&large)]);
    assert_eq!(
        results["modes"].text(),
        "700 directory\n400 regular file\n400 regular file\n400 regular file\n"
    );
    assert!(results["again"].stderr.contains("nothing to do"), "{:?}", results["again"]);
    // The report still describes the first import, since the second import did nothing.
    let report: serde_json::Value = serde_json::from_slice(&results["report"].stdout).unwrap();
    assert!(report["summary"].as_str().unwrap().starts_with("imported into /run/credentials/@system: 3"));
    assert_eq!((&report["exit"], &report["delivery"]["verdict"]), (&0.into(), &"passed".into()));
    assert_eq!(report["delivery"]["credentials"][2]["size"], 60_000);
    assert!(!results["report"].text().contains("line 1"), "no value");
    assert_eq!(results["mode"].text(), "400 0\n");
}

#[test]
fn three_hundred_credentials_arrive_in_a_tmpfs_that_is_never_swapped() {
    let machine = Machine::new("three-hundred").release(Release::Newest).three_hundred();
    let results = machine.boot(&format!(
        "result import smbios-creds import
             {CAT_THREE_HUNDRED}
         result count sh -c 'ls -A /run/credentials/@system | wc -l'
         result mount grep ' /run/credentials/@system ' /proc/mounts
         result again smbios-creds import
         result list smbios-creds list --no-legend"
    ));
    assert_eq!(results["import"].code, 0, "{:?}", results["import"]);
    assert_eq!(
        (results["values"].text(), results["count"].text()),
        (three_hundred_values().as_str(), "300\n")
    );
    let mount = results["mount"].text();
    for option in ["tmpfs ro,nosuid,nodev,noexec,", "nosymfollow", "noswap", "mode=700"] {
        assert!(mount.contains(option), "{mount}");
    }
    assert!(results["again"].stderr.contains("nothing to do"));
    assert_eq!(results["list"].text().matches(" imported ").count(), 300);
    let last = concat!(
        "the last import (version ",
        env!("CARGO_PKG_VERSION"),
        "): imported into /run/credentials/@system: 300 credentials"
    );
    assert!(results["list"].stderr.contains(last), "{}", results["list"].stderr);
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

    // The boot also goes on without credentials if no table can be read.
    let results = Machine::new("pid-1-failure")
        .kernel_arguments("rdinit=/bin/smbios-creds -- exec --from=/nowhere /init")
        .boot("result folder echo ${CREDENTIALS_DIRECTORY-unset}");
    assert_eq!(results["folder"].text(), "unset\n");

    let (_, console) = Machine::new("pid-1-required")
        .kernel_arguments("rdinit=/bin/smbios-creds -- exec --require=text /init")
        .boot_to_console("");
    assert!(console.contains("error: credential text: missing: required, but did not arrive"), "{console}");
    assert!(console.contains("error: the program is not started"), "{console}");
    assert!(console.contains("Attempted to kill init! exitcode=0x00000300"), "{console}");
}

#[test]
fn a_table_that_firmware_cut_is_reported_with_both_sizes_and_strict_leaves_nothing() {
    // With a 64-bit entry point, SeaBIOS up to 1.16 copies only the table's size modulo 64 KiB.
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
        // The firmware on the host that runs the tests passes the whole table.
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
    assert!(results["import"].stderr.contains("credential large: the table is damaged after it"));
}

#[test]
fn a_table_that_the_kernel_refuses_exits_4() {
    // The kernel refuses a table above 256 KiB, which it cannot map so early in the boot.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("io.systemd.credential:huge={}", "x".repeat(300_000))).unwrap();
    let results = Machine::new("huge")
        .kind("pc-i440fx-7.2,smbios-entry-point-type=64")
        .oem_string_file(file.path())
        .boot(
            "result import smbios-creds import
             result unit smbios-creds import --allow-none
             result left ls -A /run",
        );
    // The agent finds the firmware's entry point in memory, so a unit does not take this machine for one that was
    // sent nothing.
    assert_eq!(results["unit"].code, 4, "{:?}", results["unit"]);
    assert_eq!(results["import"].code, 4, "{:?}", results["import"]);
    assert!(results["import"].stderr.contains("the firmware has one, but /sys/firmware/dmi does not exist"));
    assert!(!results["left"].text().contains("credentials"));
}

#[test]
fn a_machine_without_smbios_exits_4_and_names_the_cause() {
    // Without this argument, the kernel finds no clock to calibrate the TSC, and hangs in one of two boots.
    let results = Machine::new("microvm")
        .kind("microvm,pit=on,pic=on,rtc=on,isa-serial=on")
        .oem_string("io.systemd.credential:text=value")
        .kernel_arguments("tsc_early_khz=2600000")
        .boot(
            "result import smbios-creds import
             result left ls -A /run
             result report cat /run/smbios-creds/report.json",
        );
    assert_eq!(results["import"].code, 4, "{:?}", results["import"]);
    assert!(results["import"].stderr.contains("modprobe qemu_fw_cfg"), "{:?}", results["import"]);
    assert_eq!(results["left"].text(), "smbios-creds\n");
    let report: serde_json::Value = serde_json::from_slice(&results["report"].stdout).unwrap();
    assert_eq!(report["exit"], 4);
    assert!(report["summary"].as_str().unwrap().starts_with("no SMBIOS, and fw_cfg cannot be read: "));
}
