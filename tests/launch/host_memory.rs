//! When smbios-creds-host ends, or executes the hypervisor, no value is left in its memory. A start with private
//! arguments already has a tracer, so these tests cannot trace it: `private_argv/memory.rs` tests it.

use std::path::{Path, PathBuf};

use smbios_creds::format::base64;
use testkit::host::{QEMU_WORD, program_with};
use testkit::memory::{Stop, assert_wiped, count, memory_at};
use testkit::{canary, holds, write_program};

const HOST: &str = env!("CARGO_BIN_EXE_smbios-creds-host");

/// Makes a credentials directory with the canary in every file. Each file repeats the canary, so that a copy stays
/// whole if the allocator overwrites an end of a freed buffer.
fn credentials(canary: &[u8]) -> tempfile::TempDir {
    testkit::host::directory(&[
        ("secret", &canary.repeat(3)),
        ("second", &canary.repeat(80)),
        ("a=b", &canary.repeat(3)),
    ])
}

/// Writes an executable file with this text.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("script");
    write_program(&path, text, 0o755);
    path
}

#[test]
fn no_value_is_left_in_memory_when_the_hosts_program_ends() {
    let canary = canary();
    let folder = credentials(&canary);
    let directory = folder.path().to_str().unwrap();
    let out = tempfile::tempdir().unwrap();
    let output = out.path().join("output").to_str().unwrap().to_owned();
    // smbios-creds-host finds this file as a program, but the kernel cannot execute it.
    let broken = script(out.path(), "no program\n");
    let broken = broken.to_str().unwrap();
    // A file of structures that another program wrote for QEMU holds a value too.
    let structures = out.path().join("structures");
    let theirs = [b"io.systemd.credential:theirs=".as_slice(), &canary].concat();
    std::fs::write(&structures, testkit::oem(&[&theirs])).unwrap();
    let file = format!("file={}", structures.display());

    let select = ["--credentials", directory, "--prefix", "sec"];
    let qemu = ["--hypervisor=qemu", "--", broken, "-smbios", "type=11,value=x"];
    let cloud_hypervisor = ["--hypervisor=cloud-hypervisor", "--", broken, "--kernel=k"];
    let refused = ["--credentials", directory, "--all", "--hypervisor=qemu", "--", broken];
    let with_file = [&qemu[..3], &["-smbios", &file]].concat();
    let slots = out.path().join("slots").to_str().unwrap().to_owned();
    let to_directory = ["emit", "--format", "structures", "--output-dir", &slots, "--files", "7"];
    // A request that another program wrote holds a value too.
    let request = out.path().join("request");
    let value = String::from_utf8(theirs.clone()).unwrap();
    std::fs::write(&request, format!("{{\"platform\":{{\"oem_strings\":[\"{value}\"],\"tdx\":true}}}}"))
        .unwrap();
    let request = request.to_str().unwrap();
    // The first verb packs this set. Later verbs send the set, and one refuses it.
    let set = out.path().join("set").to_str().unwrap().to_owned();
    let verbs: [Vec<&str>; 20] = [
        [&["pack", "--force", "--output", &set][..], &select].concat(),
        [&["pack", "--output", "/nonexistent/x"][..], &select].concat(),
        ["emit", "--format", "strings", "--set", &set].to_vec(),
        [&["run", "--set", &set][..], &qemu].concat(),
        [&["plan", "--set", &set, "--expect", "x"][..], &cloud_hypervisor].concat(),
        [&["emit", "--format", "json", "--request", request][..], &select].concat(),
        [&to_directory[..], &select].concat(),
        [&to_directory[..], &select].concat(),
        [&["emit", "--format", "incus"][..], &select].concat(),
        [&["emit", "--format", "strings", "--output", &output][..], &select].concat(),
        [&["emit", "--format", "structures"][..], &select].concat(),
        [&["emit", "--format", "libvirt"][..], &select].concat(),
        [&["emit", "--format", "crosvm", "--output", "/nonexistent/x"][..], &select].concat(),
        [&["plan"][..], &select, &qemu].concat(),
        [&["plan", "--json"][..], &select, &cloud_hypervisor].concat(),
        [&["run"][..], &select, &qemu].concat(),
        [&["run"][..], &select, &cloud_hypervisor].concat(),
        [&["run"][..], &refused].concat(),
        [&["plan"][..], &select, &with_file].concat(),
        [&["run"][..], &select, &with_file].concat(),
    ];
    for verb in verbs {
        let (memory, status) = memory_at(Stop::Exit, &[], HOST.as_ref(), &verb);
        assert!(status.code().is_some(), "{verb:?}: {status}");
        assert_wiped(&memory, &canary, verb[0]);
    }
}

#[test]
fn no_value_is_left_in_memory_when_run_executes_the_hypervisor() {
    let canary = canary();
    let folder = credentials(&canary);
    let directory = folder.path().to_str().unwrap();
    let (_programs, with_paths) = program_with("/bin/true", "oem_string_paths");
    let with_paths = with_paths.to_str().unwrap();
    let (_qemu_programs, qemu) = program_with("/bin/true", QEMU_WORD);
    let qemu = qemu.to_str().unwrap();
    let modes: [&[&str]; 4] = [
        &["--hypervisor=qemu", "--", qemu, "-smbios", "type=11,value=x"],
        &["--hypervisor=qemu", "--log-level=trace", "--", qemu],
        &["--hypervisor=qemu", "--allow-argv", "--", qemu],
        &["--hypervisor=cloud-hypervisor", "--", with_paths, "--kernel=k"],
    ];
    for mode in modes {
        let verb = [&["run", "--credentials", directory, "--prefix", "sec"], mode].concat();
        let (memory, status) = memory_at(Stop::Exec, &[], HOST.as_ref(), &verb);
        assert_eq!(status.code(), Some(0), "{mode:?}");
        assert_wiped(&memory, &canary, "run");
        assert!(count(&memory, b"/proc/self/fd/") > 0, "{mode:?}: the arguments are there, with the files");
    }
}

#[test]
fn with_allow_argv_the_argument_itself_is_all_that_is_left_in_memory() {
    let canary = canary();
    let folder = credentials(&canary);
    let directory = folder.path().to_str().unwrap();
    for (kind, option) in [("cloud-hypervisor", "--kernel=k"), ("crosvm", "run")] {
        let hypervisor = format!("--hypervisor={kind}");
        let verb = ["run", "--credentials", directory, "--credential", "secret", "--allow-argv", &hypervisor];
        let verb = [&verb[..], &["--", "/bin/true", option]].concat();
        let (memory, status) = memory_at(Stop::Exec, &[], HOST.as_ref(), &verb);
        assert_eq!(status.code(), Some(0), "{kind}");
        let encoded = base64::encode(&canary.repeat(3));
        assert_eq!(count(&memory, encoded.as_bytes()), 1, "{kind}: once, in the argument");
        assert_eq!(count(&memory, &canary), 0, "{kind}: nowhere as it is");
        // Apart from that argument, the memory holds no copy of the canary in any encoding.
        let at = memory.windows(encoded.len()).position(|window| window == encoded.as_bytes()).unwrap();
        let rest = [&memory[..at], &memory[at + encoded.len()..]].concat();
        assert!(!holds(&rest, &canary), "{kind}");
    }
}
