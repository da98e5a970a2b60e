//! A machine that is a host itself: it has KVM and a real hypervisor, which boots a guest of its own.
//!
//! QEMU emulates AMD's virtualization in full. A real hypervisor needs nothing else, so no test needs `/dev/kvm`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Machine, Release, prepared};

/// Paths at which a machine that is a host has the kernel and the image of its guest.
const KERNEL: &str = "/guest/vmlinuz";
const IMAGE: &str = "/guest/initrd";

/// The guest of a machine that is a host: kernel, image and command line for the machine's hypervisor.
pub struct Guest {
    pub kernel: &'static str,
    pub image: &'static str,
    pub command_line: String,
}

impl Machine {
    /// Gives the machine a kernel with KVM, and memory for a guest. The machine's script must load KVM with `modprobe
    /// kvm-amd`.
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

    /// Uses the kernel of this release.
    pub fn kernel_of(mut self, release: Release) -> Self {
        self.hardware.kernel = Some(prepared(release.kernel()).join("vmlinuz"));
        self
    }

    /// Puts the kernel and image of a guest into the machine. The guest runs this script, and sends its results over
    /// its only serial line.
    pub fn guest(self, folder: &Path, mut guest: Machine, script: &str) -> (Self, Guest) {
        guest.hardware.lines = ["ttyS0", "ttyS0"];
        let (kernel, image) = guest.kernel_and_initrd(folder, script);
        let command_line = guest.command_line();
        let machine = self.program(&KERNEL[1..], kernel).program(&IMAGE[1..], image);
        (machine, Guest { kernel: KERNEL, image: IMAGE, command_line })
    }

    /// Adds a program from the host that runs the tests, and the libraries that the program needs.
    pub fn program_with_libraries(self, path: &str, program: &Path) -> Self {
        libraries(program).into_iter().fold(self.program(path, program), |machine, library| {
            // `/lib` is a symbolic link in the image, which a directory of that name would replace.
            let folder = fs::canonicalize(library.parent().unwrap()).unwrap();
            let path = folder.join(library.file_name().unwrap());
            machine.program(path.to_str().unwrap().trim_start_matches('/'), library)
        })
    }

    /// Adds a program from the host that runs the tests, with its libraries in a directory of its own, apart from the
    /// libraries of the guest's programs.
    pub fn program_apart(self, path: &str, program: &Path) -> Self {
        let (apart, name) =
            (format!("opt{}", program.display()), program.file_name().unwrap().to_str().unwrap());
        let mut loader = None;
        let machine = libraries(program).into_iter().fold(
            self.program(&format!("{apart}/{name}"), program),
            |machine, library| {
                let name = library.file_name().unwrap().to_str().unwrap();
                if name.starts_with("ld-") {
                    loader = Some(name.to_owned());
                }
                machine.program(&format!("{apart}/{name}"), &library)
            },
        );
        let loader = loader.unwrap();
        machine.file(
            path,
            format!("#!/bin/sh\nexec /{apart}/{loader} --library-path /{apart} /{apart}/{name} \"$@\"\n"),
        )
    }
}

/// Returns the libraries that a program on this host needs, including the dynamic loader.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let libraries = String::from_utf8(output.stdout).unwrap();
    libraries.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
