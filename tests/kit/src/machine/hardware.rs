//! What QEMU emulates, and which QEMU: the one that is installed, or that of the newest release.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Machine, Release, prepared};
use crate::deadline;

#[derive(Clone)]
pub(super) struct Hardware {
    pub(super) emulator: String,
    pub(super) arguments: Vec<String>,
    pub(super) processor: &'static str,
    pub(super) processors: &'static str,
    pub(super) memory: &'static str,
    pub(super) time_limit: Duration,
    /// Serial lines of the console and of results, which may be the same.
    pub(super) lines: [&'static str; 2],
    /// Another kernel than the release's.
    pub(super) kernel: Option<PathBuf>,
    /// Another image than the release's.
    pub(super) image: Option<&'static str>,
    pub(super) agent: &'static str,
}

impl Hardware {
    pub(super) fn new() -> Self {
        Self {
            emulator: "qemu-system-x86_64".to_owned(),
            arguments: vec![],
            // A processor without AVX, with which QEMU 7.2 makes kernels and programs stumble now and then.
            processor: "Nehalem",
            processors: "1",
            memory: "1024",
            time_limit: deadline::MACHINE,
            lines: ["ttyS0", "ttyS1"],
            kernel: None,
            image: None,
            agent: "smbios-creds",
        }
    }

    /// QEMU's arguments for the serial lines. Its machine `microvm` has the second one as a device only.
    pub(super) fn serial_lines(&self, console: &Path, results: &Path) -> Vec<String> {
        let [console, results] = [console, results].map(|file| file.display().to_string());
        let [first, second] = self.lines;
        if first == second {
            return vec!["-serial".to_owned(), format!("file:{results}")];
        }
        let chardev = format!("file,id=results,path={results}");
        ["-serial", &format!("file:{console}"), "-chardev", &chardev, "-device", "isa-serial,chardev=results"]
            .map(str::to_owned)
            .to_vec()
    }

    /// A script for a PC, as this hardware needs it.
    pub(super) fn with_lines(&self, script: &str) -> String {
        let [console, results] = self.lines;
        script.replace("ttyS1", results).replace("ttyS0", console)
    }

    /// The newest QEMU, with its own libraries and firmware.
    fn newer(&mut self, program: &str) {
        let path = |file: &str| prepared(&qemu(file)).to_str().unwrap().to_owned();
        self.emulator = path(&format!("bin/{program}"));
        self.arguments = vec!["-L".to_owned(), path("share")];
    }
}

/// A file of the newest QEMU.
fn qemu(file: &str) -> String {
    format!("qemu-{}/{file}", Release::Newest.folder())
}

impl Machine {
    /// Has the QEMU of [`Release::Newest`](super::Release::Newest).
    pub fn newest_qemu(mut self) -> Self {
        self.hardware.newer("qemu-system-x86_64");
        self
    }

    /// Has QEMU's instruction clock: a nanosecond of the machine is an instruction, and where the machine waits, the time
    /// until its next timer passes at once. What it measures does not depend on what else the host does. The kernel takes
    /// the TSC, which counts the same clock, since it is told that it may.
    pub fn instruction_clock(mut self) -> Self {
        self.hardware.arguments.extend(
            ["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
                .map(str::to_owned),
        );
        self.kernel_arguments("nokaslr norandmaps clocksource=acpi_pm cryptomgr.notests")
    }

    /// Makes it an aarch64 machine with UEFI, under the newest QEMU. It has busybox, and one serial line.
    pub fn aarch64(mut self) -> Self {
        self.hardware.newer("qemu-system-aarch64");
        let firmware = prepared(&qemu("share/QEMU_EFI.fd")).to_str().unwrap().to_owned();
        self.hardware.arguments.extend(["-bios".to_owned(), firmware]);
        self.hardware.processor = "cortex-a57";
        self.hardware.lines = ["ttyAMA0", "ttyAMA0"];
        self.hardware.kernel = Some(prepared("arm64/vmlinuz"));
        self.hardware.image = Some("arm64/busybox");
        self.hardware.agent = "arm64/smbios-creds";
        self.console = "console=ttyAMA0";
        self.kind("virt")
    }
}
