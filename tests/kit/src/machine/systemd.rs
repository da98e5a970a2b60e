//! Machines whose PID 1 is systemd, in one stage or two, with the project's units.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Machine;

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Returns the unit that a documentation page tells its reader to copy: the first `ini` block of the page.
pub fn unit_on_page(page: &str) -> String {
    let text = fs::read_to_string(crate::project(page)).unwrap();
    let block = text.split("```ini\n").nth(1).unwrap().split("```").next().unwrap();
    block.lines().map(|line| line.strip_prefix("   ").unwrap_or(line).to_owned() + "\n").collect()
}

impl Machine {
    /// Makes systemd PID 1. The script is the main process of a service with these settings.
    pub fn systemd(self, service: &str) -> Self {
        self.systemd_behind("", service)
    }

    /// Does the same as [`Self::systemd`], but the program `first` is started as PID 1 and executes systemd.
    pub fn systemd_behind(mut self, first: &str, service: &str) -> Self {
        service.clone_into(&mut self.service);
        let init = if first.is_empty() { SYSTEMD.to_owned() } else { format!("{first} {SYSTEMD}") };
        self.full().kernel_arguments(&format!("systemd.unit=probe.target rdinit={init}"))
    }

    /// Boots in two stages: systemd in the initrd, a real switch-root, and the script in a service of the stage after
    /// switch-root. `init` is the program that the switch-root starts, if the command line names one.
    pub fn two_stages(mut self, init: Option<&str>, service: &str) -> Self {
        service.clone_into(&mut self.service);
        self.two_stages = true;
        let init = init.map(|init| format!(" init={init}")).unwrap_or_default();
        self.full().kernel_arguments(&format!("systemd.unit=probe.target rdinit={SYSTEMD}{init}"))
    }

    /// Has the project's own unit import before the script of the stage after switch-root runs, with these options.
    pub fn import(self, options: &str) -> Self {
        self.unit("smbios-creds.service", options).require("smbios-creds.service")
    }

    /// Has the project's own unit import in the initrd, with these options.
    pub fn import_in_initrd(self, options: &str) -> Self {
        let unit = "smbios-creds-initrd.service";
        let wants = format!("[Unit]\nRequires={unit}\nAfter={unit}\n");
        self.unit(unit, options).file("etc/systemd/system/initrd-root-fs.target.d/creds.conf", wants)
    }

    /// Runs a script in a service of the initrd, after the import.
    pub fn initrd_service(self, script: &str, service: &str) -> Self {
        let before = "[Unit]\nRequires=initrd-probe.service\nAfter=initrd-probe.service\n";
        let import = "Requires=smbios-creds-initrd.service\nAfter=smbios-creds-initrd.service";
        let unit = format!(
            "[Unit]\nDefaultDependencies=no\n{import}\n[Service]\nType=oneshot\nExecStart=/init\n\
             RemainAfterExit=yes\nEnvironment=SCRIPT=initrd\nStandardOutput=null\n{service}\n"
        );
        self.script("initrd", script)
            .file("etc/systemd/system/initrd-probe.service", unit)
            .file("etc/systemd/system/initrd-root-fs.target.d/probe.conf", before)
    }

    /// Installs a unit of the project.
    pub fn unit(self, unit: &str, options: &str) -> Self {
        let text = crate::project("integration/systemd").join(unit);
        let text = fs::read_to_string(text).unwrap();
        assert!(text.contains("Environment=OPTIONS=\n"));
        let options = format!("Environment=\"OPTIONS={options}\"\n");
        self.file(&format!("etc/systemd/system/{unit}"), text.replace("Environment=OPTIONS=\n", &options))
    }

    /// Makes the script's service start after this unit, and not start if the unit fails.
    pub fn require(mut self, unit: &str) -> Self {
        self.after.push(unit.to_owned());
        self
    }

    pub(super) fn units(&self, write: &impl Fn(&str, &str)) {
        let mut text = "[Unit]\nDefaultDependencies=no\n".to_owned();
        for unit in &self.after {
            write!(text, "Requires={unit}\nAfter={unit}\n").unwrap();
        }
        let service = format!(
            "{text}\n[Service]\nType=oneshot\nExecStart=/init\nStandardOutput=null\n{}\n",
            self.service
        );
        write("etc/systemd/system/probe.service", &service);
        // If the boot fails, the machine must power off.
        write(
            "etc/systemd/system/emergency.service",
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=busybox poweroff -f\n",
        );
        write(
            "etc/systemd/system/probe.target",
            "[Unit]\nDefaultDependencies=no\nWants=probe.service\nAfter=probe.service\nAllowIsolate=yes\n",
        );
    }
}

/// Makes the image an initrd, and has a service copy the image's content into the root file system of the stage after
/// switch-root.
pub(super) fn two_stages(root: &Path, write: &impl Fn(&str, &str)) {
    write("etc/initrd-release", "ID=debian\n");
    write(
        "etc/systemd/system/sysroot.mount",
        "[Unit]\nDefaultDependencies=no\nBefore=initrd-root-fs.target\n\
         [Mount]\nWhat=tmpfs\nWhere=/sysroot\nType=tmpfs\nOptions=mode=0755\n",
    );
    write(
        "etc/systemd/system/populate.service",
        "[Unit]\nDefaultDependencies=no\nRequires=sysroot.mount\nAfter=sysroot.mount\nBefore=initrd-root-fs.target\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh /populate\n",
    );
    write(
        "populate",
        "set -e\n\
         cp -a /usr /etc /bin /sbin /lib /lib64 /init /scripts /stage2 /sysroot/\n\
         rm /sysroot/etc/initrd-release\n\
         mkdir -p /sysroot/dev /sysroot/proc /sysroot/sys /sysroot/run /sysroot/tmp /sysroot/var\n",
    );
    write("stage2", &format!("#!/bin/sh\nexec {SYSTEMD} \"$@\"\n"));
    let wants = root.join("etc/systemd/system/initrd-root-fs.target.requires");
    fs::create_dir_all(&wants).unwrap();
    for unit in ["sysroot.mount", "populate.service"] {
        symlink(format!("../{unit}"), wants.join(unit)).unwrap();
    }
}
