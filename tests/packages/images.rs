//! Boots initramfs images of initramfs-tools and dracut with the agent: the credentials are imported before the switch
//! to the real root, and still available after it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::debian::{Debian, packages};
use testkit::machine::{Machine, Results, prepared};
use testkit::sent::{digests, directory, expected, sent};

/// Shell function that sends the result of a command in the guest over the second serial line.
const RESULT: &str = r#"
result() {
    name=$1; shift
    "$@" >/run/probe.out 2>/run/probe.err; code=$?
    echo "@result $name $code :$(base64 -w0 </run/probe.out) :$(base64 -w0 </run/probe.err)" >/dev/ttyS1
    rm /run/probe.out /run/probe.err
}
"#;

/// Commands that run in the initramfs, before or after the root is mounted.
const EARLY: &str = "
result early_check smbios-creds check --manifest=require
result early_report cat /run/smbios-creds/report.json
result early_sums sh -c 'sha256sum /run/credentials/@system/*'
result early_mount grep ' /run/credentials/@system ' /proc/mounts
";

/// Commands that run after the switch to the real root.
const LATE: &str = "
result late_check smbios-creds check --manifest=require
result late_pid1 cat /proc/1/comm
result late_sums sh -c 'sha256sum ${CREDENTIALS_DIRECTORY:-/run/credentials/@system}/*'
result late_folder sh -c 'echo ${CREDENTIALS_DIRECTORY-unset}'
result late_states smbios-creds list --no-legend
result late_initrd sh -c 'ls -A /run/credentials/@initrd || :'
result late_again smbios-creds import
echo '@end' >/dev/ttyS1
";

/// A service that does not start without its secrets.
const SERVICE: &str = "[Unit]\nRequires=smbios-creds.service\nAfter=smbios-creds.service\n\
    [Service]\nType=oneshot\nExecStart=/probe\nExecStopPost=systemctl poweroff --force --force\n\
    LoadCredential=every-byte\nLoadCredential=large\nLoadCredential=text\n";

/// Script that runs as init instead of systemd.
const INIT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ -c /dev/ttyS1 ] || mount -t devtmpfs devtmpfs /dev
/probe
echo o >/proc/sysrq-trigger
sleep 60
";

/// Adds another module under the name dmi-sysfs, because Debian's kernels have dmi-sysfs built in. The tests only check
/// that images contain a module of this name.
const MODULE: &str = "cd /lib/modules/*
    module=$(echo kernel/drivers/net/dummy.ko*)
    mkdir updates && cp $module updates/dmi-sysfs${module#*/dummy} && depmod $(basename $PWD)";

fn secrets() -> BTreeMap<&'static str, Vec<u8>> {
    let large: Vec<u8> = (0..20_000_u32).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect();
    BTreeMap::from([
        ("every-byte", (0..=255).collect()),
        // systemd 252 reads less than 20,000 bytes of a structure.
        ("large", large),
        ("text", b"a,b=c \"d\"\nline 2".to_vec()),
    ])
}

/// Adds the scripts and units that inspect the credentials to a fresh Debian. It installs neither of our packages.
fn with_probes(debian: Debian) -> Debian {
    debian.write("probe", &format!("#!/bin/sh\n{RESULT}{LATE}"));
    debian.write("probe-init", INIT);
    debian.write("etc/systemd/system/probe.service", SERVICE);
    debian.run(MODULE);
    // dpkg makes this log with the first installation, and `snapshot` would report it as new.
    debian.run("touch /var/log/dpkg.log");
    debian
}

fn boot(debian: &Debian, name: &str, disk: &Path, arguments: &str) -> Results {
    let secrets = secrets();
    let directory = directory(&secrets);
    let (kernel, image) = debian.kernel_and_image(name);
    let drive = format!("file={},format=raw,if=virtio,snapshot=on", disk.display());
    let machine = Machine::new(name)
        .image(&kernel, &image, &["-drive", &drive])
        .kernel_arguments(&format!("root=/dev/vda ro printk.devkmsg=on {arguments}"));
    let results = sent(machine, directory.path()).boot("");
    for check in ["early_check", "late_check"] {
        assert_eq!(results[check].code, 0, "{name}: {check}: {:?}", results[check]);
        let text = results[check].text();
        assert!(
            text.starts_with("passed: 3 credentials, the manifest proves that the set is complete"),
            "{text}"
        );
    }
    assert_eq!(digests(&results, "early_sums"), expected(&secrets), "{name}: before the root is switched");
    let report: serde_json::Value = serde_json::from_slice(&results["early_report"].stdout).unwrap();
    assert_eq!(report["exit"], 0);
    // Exactly one mount, which is read-only and never swapped out: ramfs, or tmpfs with noswap (Linux 6.4 and newer).
    let mount = results["early_mount"].text();
    let is = |kind: &str| mount.contains(&format!(" {kind} ro,nosuid,nodev,noexec,"));
    assert!(
        mount.lines().count() == 1 && (is("ramfs") || is("tmpfs") && mount.contains(",noswap")),
        "{name}: {mount}"
    );
    assert_eq!(digests(&results, "late_sums"), expected(&secrets), "{name}: after it");
    assert_eq!(results["late_states"].text().matches(" imported ").count(), 3, "{name}: {results:?}");
    assert!(results["late_again"].stderr.contains("nothing to do"), "{name}: {:?}", results["late_again"]);
    assert_eq!(results["late_initrd"].text(), "", "{name}: no duplicate in plain text is left");
    results
}

/// Boots with systemd as the init of the root. systemd 252 imports only a page of a large credential by itself, and
/// does not read `@initrd`.
fn boot_systemd(debian: &Debian, name: &str, disk: &Path) {
    let results = boot(debian, name, disk, "systemd.unit=probe.service");
    assert_eq!(results["late_pid1"].text(), "systemd\n");
    assert_eq!(results["late_folder"].text(), "/run/credentials/probe.service\n");
}

/// Boots with another init, which finds the credentials that the initramfs has imported.
fn boot_other(debian: &Debian, name: &str, disk: &Path) {
    let results = boot(debian, name, disk, "init=/probe-init");
    assert_eq!(results["late_pid1"].text(), "probe-init\n");
    assert_eq!(results["late_folder"].text(), "unset\n");
}

/// Returns the paths in the listing of an image that belong to smbios-creds.
fn ours(listing: &str) -> Vec<&str> {
    let mut ours: Vec<&str> = listing
        .lines()
        .map(|line| {
            line.split_whitespace().nth(if line.starts_with(['-', 'd', 'l']) { 8 } else { 0 }).unwrap_or("")
        })
        .filter(|path| path.contains("smbios-creds") || path.contains("dmi-sysfs"))
        .collect();
    ours.sort_unstable();
    ours
}

const LIST_INITRAMFS: &str = "lsinitramfs /boot/initrd.img-*";

/// Asserts that the image of initramfs-tools has all files of smbios-creds.
fn assert_in_initramfs(debian: &Debian) {
    let listing = debian.run(LIST_INITRAMFS);
    for file in [
        "usr/bin/smbios-creds",
        "usr/lib/smbios-creds/initramfs",
        "etc/smbios-creds/options",
        "scripts/init-top/smbios-creds",
        "scripts/init-bottom/smbios-creds",
        "updates/dmi-sysfs.ko",
    ] {
        let has = |path: &&str| path.trim_end_matches(".xz").ends_with(file);
        assert!(ours(&listing).iter().any(has), "{file}: {:?}", ours(&listing));
    }
}

/// Makes later images of initramfs-tools inspect the credentials.
fn look_early(debian: &Debian) {
    debian.write(
        "etc/initramfs-tools/scripts/init-premount/probe",
        &format!("#!/bin/sh\n[ \"$1\" = prereqs ] && exit 0\n{RESULT}{EARLY}"),
    );
    debian.write(
        "etc/initramfs-tools/hooks/probe",
        "#!/bin/sh\n[ \"$1\" = prereqs ] && exit 0\n. /usr/share/initramfs-tools/hook-functions\n\
         copy_exec /usr/bin/base64\ncopy_exec /usr/bin/sha256sum\n",
    );
}

#[test]
fn package_installs_and_its_image_boots_on_debian_13() {
    let debian = with_probes(Debian::fresh_13());
    look_early(&debian);
    let printed = debian.install(&[], &packages());
    assert!(printed.contains("update-initramfs: Generating /boot/initrd.img-"), "{printed}");
    assert_in_initramfs(&debian);
    assert!(debian.run("systemctl --version").starts_with("systemd 257 "));
    boot_systemd(&debian, "debian-13", &debian.disk());
}

#[test]
fn the_package_installs_its_image_boots_and_purging_it_leaves_no_trace() {
    let debian = with_probes(Debian::fresh());
    let before = debian.snapshot();
    let printed = debian.install(&[], &packages());
    assert!(printed.contains("update-initramfs: Generating /boot/initrd.img-"), "{printed}");
    assert_in_initramfs(&debian);
    // These files are added after the first snapshot and removed before the second, which would report them as traces.
    look_early(&debian);
    debian.run("update-initramfs -u");
    let disk = debian.disk();
    boot_systemd(&debian, "initramfs-tools", &disk);
    boot_other(&debian, "initramfs-tools-other", &disk);

    debian.run("rm /etc/initramfs-tools/scripts/init-premount/probe /etc/initramfs-tools/hooks/probe");
    let printed = debian.run("dpkg --purge smbios-creds smbios-creds-host");
    assert!(printed.contains("update-initramfs: Generating /boot/initrd.img-"), "{printed}");
    assert_eq!(ours(&debian.run(LIST_INITRAMFS)), Vec::<&str>::new());
    let after = debian.snapshot();
    let differs = |(path, what): &(&String, &String)| before.get(*path) != Some(*what);
    assert_eq!(after.iter().filter(differs).collect::<Vec<_>>(), [], "more than before");
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    assert!(gone.is_empty(), "less than before: {gone:?}");
}

/// Returns a Debian with dracut instead of initramfs-tools. The last hook of its image inspects the credentials.
fn with_dracut(settings: &str) -> Debian {
    let debian = with_probes(Debian::fresh());
    debian.run("dpkg --purge --force-depends initramfs-tools");
    debian.write("early.sh", &format!("{RESULT}{EARLY}"));
    debian.write(
        "etc/dracut.conf.d/test.conf",
        &format!(
            "hostonly=no\ncompress=cat\ndrivers=\" virtio_blk virtio_pci ext4 \"\ninstall_items+=\" /usr/bin/base64 /usr/bin/sha256sum \
             /usr/bin/cat /usr/bin/grep \"\n{settings}\n"
        ),
    );
    debian.write(
        "usr/lib/dracut/modules.d/99probe/module-setup.sh",
        "#!/bin/bash\ncheck() { return 0; }\ninstall() { inst_hook pre-pivot 50 /early.sh; }\n",
    );
    // dracut and the agent are installed together, so that dracut makes one image only.
    let [_, agent] = packages();
    let printed = debian.install(&["/var/tmp/dracut_*.deb"], &[agent]);
    assert!(printed.contains("dracut: Generating /boot/initrd.img-"), "{printed}");
    debian
}

const LIST: &str = "lsinitrd $(echo /boot/initrd.img-*)";

#[test]
fn an_image_of_dracut_with_systemd_boots_with_its_credentials() {
    let debian = with_dracut("");
    let listing = debian.run(LIST);
    for file in
        ["usr/bin/smbios-creds", "sysinit.target.wants/smbios-creds-initrd.service", "updates/dmi-sysfs.ko"]
    {
        assert!(ours(&listing).iter().any(|path| path.ends_with(file)), "{file}: {:?}", ours(&listing));
    }
    boot_systemd(&debian, "dracut-systemd", &debian.disk());
}

#[test]
fn an_image_of_dracut_without_systemd_boots_with_its_credentials() {
    let debian = with_dracut("omit_dracutmodules+=\" systemd systemd-initrd dracut-systemd \"");
    let listing = debian.run(LIST);
    assert!(!listing.contains("smbios-creds-initrd.service"), "{:?}", ours(&listing));
    let disk = debian.disk();
    boot_systemd(&debian, "dracut", &disk);
    boot_other(&debian, "dracut-other", &disk);
}

#[test]
fn what_is_tested_is_the_version_that_is_built() {
    for package in packages() {
        let version = format!("_{}_", env!("CARGO_PKG_VERSION"));
        assert!(package.to_str().unwrap().contains(&version), "{}: see debian/changelog", package.display());
    }
    for archive in ["debian-12.tar", "debian-13.tar"] {
        assert!(prepared(archive).is_file(), "{archive}");
    }
}
