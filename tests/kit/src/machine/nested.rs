//! A machine that is a host itself: it has KVM and a real hypervisor, which boots a guest of its own.
//!
//! QEMU emulates AMD's virtualization in full. A real hypervisor needs nothing else, so no test needs `/dev/kvm`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Machine, Release, prepared};

/// Where a machine has the kernel and the image of its guest.
const KERNEL: &str = "/guest/vmlinuz";
const IMAGE: &str = "/guest/initrd";

/// The guest of a machine that is a host: what its hypervisor is given.
pub struct Guest {
    pub kernel: &'static str,
    pub image: &'static str,
    pub command_line: String,
}

impl Machine {
    /// Gives the machine KVM, and room for a guest. `modprobe kvm-amd` in its script loads it.
    pub fn host(mut self) -> Self {
        let folder = crate::project("target/vm/kvm");
        let [kernel, modules] = ["vmlinuz", "modules"].map(|file| folder.join(file));
        assert!(modules.exists(), "no kernel with KVM: run ./tests/prepare with the same variable set");
        self.hardware.processor = "max";
        self.hardware.processors = "2";
        self.hardware.memory = "3072";
        self.hardware.time_limit = crate::deadline::NESTED;
        self.hardware.kernel = Some(kernel);
        self.parts.push(modules);
        self
    }

    /// Has the kernel of another release.
    pub fn kernel_of(mut self, release: Release) -> Self {
        self.hardware.kernel = Some(prepared(release.kernel()).join("vmlinuz"));
        self
    }

    /// Has the guest of a machine in it, which runs this script. Its results come over its only serial line.
    pub fn guest(self, folder: &Path, mut guest: Machine, script: &str) -> (Self, Guest) {
        guest.hardware.lines = ["ttyS0", "ttyS0"];
        let (kernel, image) = guest.kernel_and_initrd(folder, script);
        let command_line =
            format!("{} quiet panic=-1 no_timer_check{}", guest.console, guest.kernel_arguments);
        let machine = self.program(&KERNEL[1..], kernel).program(&IMAGE[1..], image);
        (machine, Guest { kernel: KERNEL, image: IMAGE, command_line })
    }

    /// Adds a program of this machine's, and the libraries that it needs.
    pub fn program_with_libraries(self, path: &str, program: &Path) -> Self {
        let output = Command::new("ldd").arg(program).output().unwrap();
        let libraries = String::from_utf8(output.stdout).unwrap();
        let machine = self.program(path, program);
        libraries.split_whitespace().filter(|word| word.starts_with('/')).fold(machine, |machine, library| {
            // `/lib` is a symbolic link in the image, which a directory of that name would replace.
            let library = Path::new(library);
            let folder = fs::canonicalize(library.parent().unwrap()).unwrap();
            let path = folder.join(library.file_name().unwrap());
            machine.program(path.to_str().unwrap().trim_start_matches('/'), library)
        })
    }
}
