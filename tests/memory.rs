//! The second promise, inside the process: when it ends, no value is left in its memory.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{recording, table};
use nix::libc::{PTRACE_EVENT_EXEC, PTRACE_EVENT_EXIT};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use smbios_creds::manifest::Manifest;
use smbios_creds::oem_string::{Encoding, encode};

/// Not to be found anywhere else: it is made when the test runs.
fn canary() -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{:x}", now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes().repeat(4)
}

/// Every byte that the process could have written to.
fn writable_memory(maps: &mut File, memory: &File) -> Vec<u8> {
    let maps = std::io::read_to_string(maps).unwrap();
    let mut bytes = Vec::new();
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let at = |text| u64::from_str_radix(text, 16).unwrap();
        if rest.starts_with("rw") {
            let mut part = vec![0; usize::try_from(at(to) - at(from)).unwrap()];
            memory.read_exact_at(&mut part, at(from)).unwrap();
            bytes.extend_from_slice(&part);
        }
    }
    bytes
}

/// Runs a program, stops it when it has done everything and is about to vanish, and returns its memory.
fn memory_at_exit(program: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut child = Command::new("sh")
        .args(["-c", r#"kill -STOP $$; exec "$@""#, "sh"])
        .arg(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    ptrace::seize(pid, Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_TRACEEXEC).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    // Opened while the program has not done anything yet: afterwards its memory is for root alone.
    let proc = |name| File::open(format!("/proc/{pid}/{name}")).unwrap();
    let mut opened = None;
    loop {
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_EXIT) => break,
            WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_EXEC) => {
                opened = Some((proc("maps"), proc("mem")));
                ptrace::cont(pid, None).unwrap();
            }
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal).unwrap(),
            WaitStatus::PtraceEvent(..) => ptrace::cont(pid, None).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    let (mut maps, memory) = opened.unwrap();
    let memory = writable_memory(&mut maps, &memory);
    ptrace::cont(pid, None).unwrap();
    assert!(child.wait().unwrap().code().is_some());
    memory
}

fn count(memory: &[u8], needle: &[u8]) -> usize {
    memory.windows(needle.len()).filter(|window| *window == needle).count()
}

#[test]
fn no_value_is_left_in_memory_when_the_process_ends() {
    let canary = canary();
    let credential = common::credential("secret", &canary);
    let binary = encode(&credential, Encoding::Binary).unwrap();
    let text = [b"io.systemd.credential:text=", canary.as_slice()].concat();
    let refused = [b"io.systemd.credential.binary:refused=!", canary.as_slice()].concat();
    let near = [b"io.systemd.credentials:near=", canary.as_slice()].concat();
    let manifest = Manifest::new([&credential], [5; 16]).unwrap().encode();
    let source = recording(&table(&[binary.expose(), &text, &refused, &near, manifest.as_bytes()]));
    let from = source.path().to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (into, recorded, full) = (path("creds"), path("recorded"), path("secrets"));
    let base64 = smbios_creds::base64::encode(&canary);
    // A part of each, in case that something has overwritten an end.
    let needles = [&canary[8..32], &base64.as_bytes()[8..32]];

    let static_agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vm/smbios-creds");
    assert!(static_agent.exists(), "{} is missing: ./tests/run builds it", static_agent.display());
    for agent in [Path::new(env!("CARGO_BIN_EXE_smbios-creds")), &static_agent] {
        let verbs: [&[&str]; 7] = [
            &["list", "--from", from],
            &["check", "--json", "--from", from],
            &["import", "--from", from, "--into", &into],
            &["import", "--from", from, "--into", &into],
            &["cat", "secret", "text", "--from", from],
            &["record", &recorded, "--from", from],
            &["record", &full, "--with-secrets", "--from", from],
        ];
        for verb in verbs {
            let memory = memory_at_exit(agent, verb);
            assert!(memory.len() > 50_000, "{verb:?}: {} bytes", memory.len());
            for needle in needles {
                assert_eq!(count(&memory, needle), 0, "{} {verb:?}: a value is still there", agent.display());
            }
            // Something that nobody wipes shows that this is the right memory: the arguments.
            assert!(count(&memory, verb[0].as_bytes()) > 0);
        }
        for made in [&into, &recorded, &full] {
            std::fs::remove_dir_all(made).unwrap();
        }
    }
}

#[test]
fn no_value_is_left_in_memory_when_the_hosts_program_ends() {
    let canary = canary();
    let folder =
        common::host::directory(&[("secret", &canary), ("second", &canary.repeat(40)), ("a=b", &canary)]);
    let directory = folder.path().to_str().unwrap();
    let out = tempfile::tempdir().unwrap();
    let output = out.path().join("output").to_str().unwrap().to_owned();
    // It is found, and cannot be executed.
    let broken = out.path().join("broken");
    std::fs::write(&broken, "#!/nonexistent\n").unwrap();
    std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let broken = broken.to_str().unwrap();
    // Structures that QEMU is given by somebody else are walked by smbios-lib, whose copies the allocator alone wipes.
    let structures = out.path().join("structures");
    let theirs = [b"io.systemd.credential:theirs=".as_slice(), &canary].concat();
    std::fs::write(&structures, common::oem(&[&theirs])).unwrap();
    let file = format!("file={}", structures.display());
    let base64 = smbios_creds::base64::encode(&canary);
    let needles = [&canary[8..32], &base64.as_bytes()[8..32]];

    let select = ["--credentials", directory, "--prefix", "sec"];
    let qemu = ["--hypervisor=qemu", "--", broken, "-smbios", "type=11,value=x"];
    let cloud_hypervisor = ["--hypervisor=cloud-hypervisor", "--", broken, "--kernel=k"];
    let refused = ["--credentials", directory, "--all", "--hypervisor=qemu", "--", broken];
    let with_file = [&qemu[..3], &["-smbios", &file]].concat();
    let verbs: [Vec<&str>; 11] = [
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
        let memory = memory_at_exit(Path::new(env!("CARGO_BIN_EXE_smbios-creds-host")), &verb);
        assert!(memory.len() > 50_000, "{verb:?}: {} bytes", memory.len());
        for needle in needles {
            assert_eq!(count(&memory, needle), 0, "{verb:?}: a value is still there");
        }
        assert!(count(&memory, verb[0].as_bytes()) > 0);
    }
}
