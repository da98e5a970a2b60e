//! The hooks for mkinitcpio, which Debian does not package. The tests call the hooks' functions. Stand-ins for
//! mkinitcpio's functions record how the hooks call them.

use std::path::Path;
use std::process::Command;

use crate::hand_over::Initramfs;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/mkinitcpio");

/// Runs `build` of a hook, and returns its calls of the functions of mkinitcpio.
fn build(hook: &str, with_options: bool) -> Vec<String> {
    // Like mkinitcpio, this script sources the hook in bash, and then calls 'build'.
    let script = "set -eu
        for function in add_module add_binary add_file add_runscript add_systemd_unit add_symlink; do
            eval \"$function() { printf '%s' $function; printf ' <%s>' \\\"\\$@\\\"; echo; }\"
        done
        sed -e \"s:/etc/smbios-creds/options:$2:g\" -e \"s:/etc/smbios-creds/trusted:${2%/*}/trusted:g\" \"$1\" >\"$3\"
        . \"$3\"
        build
        [[ $(help) == *SMBIOS* ]]";
    let folder = tempfile::tempdir().unwrap();
    let (options, hooked) = (folder.path().join("options"), folder.path().join("hook"));
    if with_options {
        std::fs::write(&options, "OPTIONS=\n").unwrap();
        std::fs::create_dir(folder.path().join("trusted")).unwrap();
        std::fs::write(folder.path().join("trusted/owner.pub"), "").unwrap();
    }
    let output = Command::new("bash")
        .args(["-c", script, "bash", &format!("{FOLDER}/install/{hook}")])
        .args([&options, &hooked])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{hook}: {output:?}");
    let calls = String::from_utf8(output.stdout).unwrap();
    let keys = folder.path().join("trusted");
    let shown = |line: &str| {
        line.replace(options.to_str().unwrap(), "OPTIONS").replace(keys.to_str().unwrap(), "TRUSTED")
    };
    calls.lines().map(shown).collect()
}

#[test]
fn the_hook_for_busybox_adds_the_agent_and_the_scripts() {
    let mut calls = vec![
        "add_module <dmi-sysfs?>",
        "add_module <qemu_fw_cfg?>",
        "add_binary </usr/bin/smbios-creds>",
        "add_binary </usr/lib/smbios-creds/initramfs>",
        "add_runscript <>",
    ];
    assert_eq!(build("smbios-creds", false), calls);
    calls.insert(4, "add_file <OPTIONS>");
    calls.insert(5, "add_file <TRUSTED/owner.pub>");
    assert_eq!(build("smbios-creds", true), calls);
}

#[test]
fn the_hook_for_systemd_adds_the_unit_and_enables_it() {
    let mut calls = vec![
        "add_module <dmi-sysfs?>",
        "add_module <qemu_fw_cfg?>",
        "add_systemd_unit <smbios-creds-initrd.service>",
        "add_symlink </usr/lib/systemd/system/sysinit.target.wants/smbios-creds-initrd.service> \
         <../smbios-creds-initrd.service>",
    ];
    assert_eq!(build("sd-smbios-creds", false), calls);
    calls.extend(["add_file <OPTIONS>", "add_file <TRUSTED/owner.pub>"]);
    assert_eq!(build("sd-smbios-creds", true), calls);
    // add_systemd_unit of mkinitcpio adds the program that this line of the unit executes.
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/systemd/smbios-creds-initrd.service");
    assert!(std::fs::read_to_string(unit).unwrap().contains("\nExecStart=/usr/bin/smbios-creds "));
}

/// Runs a function of the hook as mkinitcpio's `/init` does (`run_hookfunctions`): a POSIX shell sources the hook.
fn run(initramfs: &Initramfs, function: &str) {
    let script = "sed \"s:/usr/lib/smbios-creds:$1&:; s: /new_root: $1/new-root:\" \"$2\" >\"$1/hook\"
        init=/sbin/init
        . \"$1/hook\"
        \"$3\"
        echo goes on";
    let path = format!("{}:/usr/bin:/bin", initramfs.path().join("bin").display());
    let output = Command::new("sh")
        .args(["-ec", script, "sh"])
        .arg(initramfs.path())
        .args([Path::new(&format!("{FOLDER}/hooks/smbios-creds")), Path::new(function)])
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{function}: {output:?}");
    assert_eq!(output.stdout, b"goes on\n", "{function}: {output:?}");
}

#[test]
fn its_scripts_import_early_hand_over_last_and_never_stop_the_boot() {
    for exit in [0, 3] {
        let initramfs = Initramfs::new(exit);
        run(&initramfs, "run_earlyhook");
        assert_eq!(
            initramfs.calls(),
            [
                "modprobe <-q> <dmi-sysfs>",
                "modprobe <-q> <qemu_fw_cfg>",
                "smbios-creds <import> <--allow-none>"
            ]
        );

        let initramfs = Initramfs::new(exit).systemd_root();
        run(&initramfs, "run_cleanuphook");
        assert_eq!(
            initramfs.calls(),
            [
                "smbios-creds <import> <--allow-none> <--into> <initrd>",
                "umount <-l> </run/credentials/@system>"
            ]
        );
    }
}
