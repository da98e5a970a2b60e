//! The agent beside a systemd that is PID 1: credentials that systemd cuts, loses or cannot import are whole in its
//! units.

use testkit::machine::{CAT_THREE_HUNDRED, Machine, Release, Results, three_hundred_values};

/// Returns a machine that is sent a value larger than a page, which systemd 252 to 256 cut, and a second value after
/// it, which they lose.
fn two(name: &str, release: Release) -> Machine {
    Machine::new(name)
        .release(release)
        .oem_string(&format!("io.systemd.credential:large={}", "x".repeat(6000)))
        .oem_string("io.systemd.credential:next=value")
}

fn read(release: Release) -> &'static str {
    let import = "LoadCredential=large\nImportCredential=next";
    if release.imports() { import } else { "LoadCredential=large\nLoadCredential=next" }
}

const LOOK: &str = "result large wc -c $CREDENTIALS_DIRECTORY/large
    result next cat $CREDENTIALS_DIRECTORY/next
    result mount grep ' /run/credentials/@system ' /proc/mounts
    result files ls -A /run/credentials/@system
    result list smbios-creds list --no-legend
    result way smbios-creds check next
    result again smbios-creds import";

fn states(results: &Results) -> Vec<String> {
    let lines = results["list"].text().lines();
    lines.map(|line| line.split_whitespace().nth(3).unwrap().to_owned()).collect()
}

fn cut_and_lost(name: &str, release: Release) {
    let machine = two(name, release).systemd(read(release));
    if release.cuts() {
        let alone = machine.clone().boot(LOOK);
        // 4063 bytes are a page of 4096 bytes less the header, the prefix and the name. The next credential is lost.
        assert!(alone["large"].text().starts_with("4063 "), "{:?}", alone["large"]);
        assert_ne!(alone["next"].code, 0);
        assert_eq!(states(&alone), ["differs", "missing"]);
        let message = "repaired credential large (it had 4063 bytes; now it has 6000 bytes)";
        assert!(alone["again"].stderr.contains(message), "{:?}", alone["again"]);
    }
    let repaired = machine.import("--require next").boot(LOOK);
    assert!(repaired["large"].text().starts_with("6000 "), "{:?}", repaired["large"]);
    assert_eq!(repaired["next"].text(), "value");
    let mount = repaired["mount"].text();
    assert!(mount.contains(" ro,nosuid,nodev,noexec,") && mount.lines().count() == 1, "{mount}");
    assert_eq!(repaired["files"].text(), "large\nnext\n");
    assert_eq!(states(&repaired), ["imported", "imported"]);
    // `check next` shows each place of the credential `next`, up to this service, which asked for it.
    let directive = if release.imports() { "ImportCredential" } else { "LoadCredential" };
    let way = repaired["way"].text();
    for line in [
        "whole: credential next arrived".to_owned(),
        "in place   /run/credentials/@system/next: 5 bytes, mode 0400, the bytes that were sent".to_owned(),
        "in place   /run/credentials/probe.service/next: 5 bytes, mode 0400, the bytes that were sent"
            .to_owned(),
        format!("asked by   probe.service ({directive}=)"),
    ] {
        assert!(way.lines().any(|found| found == line), "{line}: {way}");
    }
    assert!(repaired["again"].code == 0 && repaired["again"].stderr.contains("nothing to do"));
    // A later `check` or `list` still tells what the import at boot did.
    let last = if release.cuts() {
        concat!(
            "the last import (version ",
            env!("CARGO_PKG_VERSION"),
            "): repaired in /run/credentials/@system: 2 of 2 credentials"
        )
    } else {
        concat!(
            "the last import (version ",
            env!("CARGO_PKG_VERSION"),
            "): nothing to do: /run/credentials/@system already contains every credential"
        )
    };
    assert!(repaired["list"].stderr.contains(last), "{}", repaired["list"].stderr);
}

#[test]
fn what_systemd_252_cut_and_lost_is_whole_in_the_services_that_come_after() {
    cut_and_lost("cut-252", Release::Bookworm);
}

#[test]
fn what_systemd_254_cut_and_lost_is_whole_in_the_services_that_come_after() {
    cut_and_lost("cut-254", Release::Backports);
}

#[test]
fn beside_the_newest_systemd_nothing_is_done_where_nothing_was_lost() {
    cut_and_lost("cut-newest", Release::Newest);
}

#[test]
fn what_is_only_named_like_a_leftover_survives_repair_and_import() {
    let results = Machine::new("leftover-names")
        .release(Release::Backports)
        .oem_string("io.systemd.credential:.smbios-creds-key=kept")
        .oem_string(&format!("io.systemd.credential:large={}", "x".repeat(6000)))
        .systemd("LoadCredential=large\nLoadCredential=.smbios-creds-key")
        .import("")
        .boot(
            "result key cat $CREDENTIALS_DIRECTORY/.smbios-creds-key
             result large wc -c $CREDENTIALS_DIRECTORY/large
             result list smbios-creds list --no-legend
             mkdir -p /run/mine/.smbios-creds-2026-11
             echo backup >/run/mine/.smbios-creds-2026-11/file
             result into smbios-creds import --into /run/mine/creds
             result backup cat /run/mine/.smbios-creds-2026-11/file",
        );
    assert!(results["large"].text().starts_with("6000 "), "it was repaired: {results:?}");
    assert_eq!(results["key"].text(), "kept", "{results:?}");
    assert_eq!(states(&results), ["imported", "imported"]);
    assert_eq!(results["into"].code, 0, "{:?}", results["into"]);
    assert_eq!(results["backup"].text(), "backup\n", "{results:?}");
}

fn three_hundred(name: &str, release: Release) {
    let machine = Machine::new(name).release(release).three_hundred();
    let results = machine.systemd("LoadCredential=c299").import("").boot(&format!(
        "result last cat $CREDENTIALS_DIRECTORY/c299
             {CAT_THREE_HUNDRED}
         result list smbios-creds list --no-legend
         result mount grep ' /run/credentials/@system ' /proc/mounts
         result report cat /run/smbios-creds/report.json"
    ));
    assert_eq!(results["last"].text(), "value 299");
    assert_eq!(results["values"].text(), three_hundred_values());
    assert_eq!(results["list"].text().matches(" imported ").count(), 300);
    let mount = results["mount"].text();
    assert!(mount.contains(" ro,"), "{mount}");
    // Linux 6.1 has no mount option 'noswap', so systemd mounts a ramfs, which has no size limit.
    assert!(mount.contains("ramfs") == (release == Release::Bookworm), "{mount}");
    assert!(!mount.contains("size=1024k"), "it has grown: {mount}");
    let report: serde_json::Value = serde_json::from_slice(&results["report"].stdout).unwrap();
    let repaired = report["repaired"].as_array().unwrap();
    assert!(repaired.len() >= 44, "{} were lost", repaired.len());
    assert!(repaired.iter().any(|one| one["name"] == "c299" && one["found"].is_null() && one["size"] == 9));
}

#[test]
fn three_hundred_credentials_are_all_there_beside_systemd_252() {
    three_hundred("300-252", Release::Bookworm);
}

#[test]
fn three_hundred_credentials_are_all_there_beside_systemd_254() {
    three_hundred("300-254", Release::Backports);
}

#[test]
fn three_hundred_credentials_are_all_there_beside_the_newest_systemd() {
    three_hundred("300-newest", Release::Newest);
}

#[test]
fn a_whole_copy_in_credstore_does_not_mend_what_systemd_cut() {
    let results = two("credstore-alone", Release::Backports)
        .systemd("LoadCredential=large\nLoadCredential=next")
        .file(
            "etc/systemd/system/credstore.service",
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n\
             ExecStart=/usr/bin/smbios-creds import --into credstore\n",
        )
        .require("credstore.service")
        .boot(
            "result unit wc -c $CREDENTIALS_DIRECTORY/large
             result file wc -c /run/credstore/large
             result next cat $CREDENTIALS_DIRECTORY/next",
        );
    assert!(results["file"].text().starts_with("6000 "), "{:?}", results["file"]);
    assert!(results["unit"].text().starts_with("4063 "), "units look into @system first");
    assert_eq!(results["next"].text(), "value", "and into credstore for what is not there");
}

#[test]
fn where_systemd_imported_everything_nothing_is_written() {
    let results = Machine::new("systemd-everything")
        .release(Release::Newest)
        .oem_string("io.systemd.credential:text=value")
        .oem_string("io.systemd.credential:next=value")
        .systemd("ImportCredential=*")
        .file(
            "etc/systemd/system/later.service",
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nLoadCredential=text\n\
             ExecStart=/bin/sh -c 'cat $CREDENTIALS_DIRECTORY/text >/tmp/seen'\n",
        )
        .boot(
            "look() { stat -c '%n %i %Y %Z %a' /run/credentials/@system /run/credentials/@system/*; grep @system /proc/mounts; }
             result before look
             result import strace -o /tmp/trace smbios-creds import
             result after look
             result calls grep -E '^(mount|umount2|renameat2?|unlinkat|linkat|mkdirat)' /tmp/trace
             result opened grep -E 'O_WRONLY|O_RDWR' /tmp/trace
             result left ls -A /run/credstore /run/credentials
             systemctl start later.service
             result unit cat /tmp/seen",
        );
    assert_eq!(results["import"].code, 0, "{:?}", results["import"]);
    let reason = "credentials go to /run/credentials/@system: PID 1 is systemd, and passes on the credentials that \
                  it imported";
    assert!(results["import"].stderr.contains(reason), "{:?}", results["import"]);
    assert_eq!(results["before"].text(), results["after"].text());
    assert!(results["after"].text().contains(" ro,nosuid,"), "{:?}", results["after"]);
    for line in results["calls"].text().lines() {
        let own = line.contains("\"smbios-creds\"") || line.contains("report.json");
        let asked = line.contains("\"run\"") || line.contains("EEXIST");
        assert!(own || asked, "{line}");
    }
    for line in results["opened"].text().lines() {
        assert!(line.contains("\"lock\"") || line.contains("report.json"), "{line}");
    }
    assert!(!results["left"].text().contains("initrd"), "{:?}", results["left"]);
    assert_eq!(results["unit"].text(), "value", "{:?}", results["unit"]);
}

fn imports_nothing(name: &str, release: Release) {
    let results = Machine::new(name)
        .release(release)
        .oem_string("io.systemd.credential:text=value")
        .oem_string("io.systemd.credential:system.hostname=sent-by-the-host")
        .oem_string("io.systemd.credential:systemd.extra-unit.sent.service=[Service]")
        .systemd("LoadCredential=text")
        .import("")
        .kernel_arguments("initcall_blacklist=dmi_sysfs_init")
        .boot(
            "result text cat $CREDENTIALS_DIRECTORY/text
             result system ls -A /run/credentials/@system
             result hostname cat /proc/sys/kernel/hostname
             result unit systemctl cat sent.service
             result report cat /run/smbios-creds/report.json
             result check smbios-creds check
             result list smbios-creds list --no-legend",
        );
    assert_eq!(results["text"].text(), "value");
    // A credential that only PID 1 and generators read has no effect, and the agent does not call it imported.
    assert_ne!(results["hostname"].text().trim(), "sent-by-the-host");
    assert_ne!(results["unit"].code, 0, "{:?}", results["unit"]);
    for name in ["system.hostname", "systemd.extra-unit.sent.service"] {
        let list = results["list"].text();
        assert!(list.lines().any(|line| line.contains(name) && line.contains(" ineffective ")), "{list}");
        let finding = format!("credential {name}: no effect in this boot");
        for said in ["check", "report"] {
            assert!(results[said].text().contains(&finding), "{:?}", results[said]);
        }
        assert!(results["list"].stderr.contains(&finding), "{:?}", results["list"]);
    }
    assert_ne!(results["system"].code, 0, "systemd has imported nothing, and so it stays");
    assert!(results["list"].text().contains(" imported "), "{:?}", results["list"]);
}

#[test]
fn where_systemd_252_can_import_nothing_its_services_find_everything() {
    imports_nothing("nothing-252", Release::Bookworm);
}

#[test]
fn where_the_newest_systemd_can_import_nothing_its_services_find_everything() {
    imports_nothing("nothing-newest", Release::Newest);
}

/// A script that fills `@system` before systemd starts. This seems right, but then systemd passes no credentials to
/// services.
const TRAP: &str = "#!/bin/sh
    mount -t tmpfs tmpfs /run
    mkdir -p /run/credentials/@system
    mount -t tmpfs -o mode=0700 tmpfs /run/credentials/@system
    (umask 377; printf value >/run/credentials/@system/text)
    exec \"$@\"";

#[test]
fn a_naive_mount_on_system_hides_everything_from_the_services_and_ours_does_not() {
    let look = "result text cat $CREDENTIALS_DIRECTORY/text
                result file cat /run/credentials/@system/text
                result mount grep ' /run/credentials/@system ' /proc/mounts
                result system smbios-creds import --into system
                result list smbios-creds list --no-legend";
    let machine = |name| {
        Machine::new(name)
            .release(Release::Newest)
            .oem_string("io.systemd.credential:text=value")
            .file("trap", TRAP)
    };
    let trapped = machine("trap").systemd_behind("/trap --", "LoadCredential=text");
    // rdinit= names only one program, so the trap is the init, and gets systemd's path as its argument.
    let alone = trapped.clone().boot(look);
    assert_eq!(alone["file"].text(), "value");
    assert_ne!(alone["text"].code, 0, "its service does not see it");
    assert!(alone["mount"].text().contains(" rw,"), "PID 1 has left it writable: {:?}", alone["mount"]);
    assert_eq!(alone["system"].code, 1);
    assert!(alone["system"].stderr.contains("does not pass on credentials from /run/credentials/@system"));

    // The project's unit notices the trap, and places the credential where services look.
    let mended = trapped.import("").boot(look);
    assert_eq!(mended["text"].text(), "value");
    assert!(mended["list"].text().contains(" imported "), "{:?}", mended["list"]);

    // systemd takes over a credential that the agent places in `@system` before systemd starts.
    let ours =
        machine("no-trap").systemd_behind("/bin/smbios-creds -- exec", "LoadCredential=text").boot(look);
    assert_eq!(ours["text"].text(), "value");
    assert!(ours["mount"].text().contains(" ro,"), "{:?}", ours["mount"]);
}

#[test]
fn as_pid_1_in_front_of_systemd_its_services_get_everything() {
    // The first value is larger than a page. Without the agent, systemd 252 would cut this value and lose the next
    // one.
    let results = two("pid-1-systemd", Release::Bookworm)
        .systemd_behind(
            "/bin/smbios-creds -- exec --require=next",
            "LoadCredential=large\nLoadCredential=next",
        )
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
