//! The hardware that QEMU emulates, and which QEMU is used: the installed one, or the one of the newest release.

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
    /// A kernel to boot instead of the release's kernel.
    pub(super) kernel: Option<PathBuf>,
    /// An image to boot instead of the release's image.
    pub(super) image: Option<&'static str>,
    pub(super) agent: &'static str,
}

impl Hardware {
    pub(super) fn new() -> Self {
        Self {
            emulator: "qemu-system-x86_64".to_owned(),
            arguments: vec![],
            // This processor has no AVX. With AVX, kernels and programs sometimes fail under QEMU 7.2.
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

    /// Returns QEMU's arguments for the serial lines. QEMU's machine type `microvm` has a second serial line only as
    /// a separate device.
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

    /// Returns a script that is written for a PC, with the names of this hardware's serial lines.
    pub(super) fn with_lines(&self, script: &str) -> String {
        let [console, results] = self.lines;
        script.replace("ttyS1", results).replace("ttyS0", console)
    }

    /// Uses the newest QEMU, with its own libraries and firmware.
    fn newer(&mut self, program: &str) {
        let path = |file: &str| prepared(&qemu(file)).to_str().unwrap().to_owned();
        self.emulator = path(&format!("bin/{program}"));
        self.arguments = vec!["-L".to_owned(), path("share")];
    }
}

/// Returns the path of a file of the newest QEMU.
fn qemu(file: &str) -> String {
    format!("qemu-{}/{file}", Release::Newest.folder())
}

impl Machine {
    /// Uses the QEMU of [`Release::Newest`](super::Release::Newest).
    pub fn newest_qemu(mut self) -> Self {
        self.hardware.newer("qemu-system-x86_64");
        self
    }

    /// Uses QEMU's instruction clock: each instruction takes one nanosecond of the machine's time, and when the
    /// machine waits, the time until its next timer passes at once. So times that the machine measures do not depend
    /// on the load of the host. The kernel takes the time from the ACPI timer, which counts the same clock.
    ///
    /// With the same `seed`, two boots of the same image take exactly the same time. Another seed sets another date. A
    /// date changes nothing that the machine does, but systemd and the kernel do it at slightly different moments and
    /// in another order.
    pub fn instruction_clock(mut self, seed: u32) -> Self {
        let date = format!("base=2026-01-01T00:{:02}:{:02},clock=vm", seed / 60 % 60, seed % 60);
        self.hardware
            .arguments
            .extend(["-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", &date].map(str::to_owned));
        self.kernel_arguments("nokaslr norandmaps clocksource=acpi_pm")
    }

    /// Makes the machine an aarch64 machine with UEFI, under the newest QEMU. The machine has busybox, and one serial
    /// line.
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
