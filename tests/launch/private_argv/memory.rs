//! `smbios-creds-host run` with private arguments: the launcher holds no value at any call of its tracer,
//! and the tracer holds none when it ends.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::libc::{PTRACE_EVENT_EXIT, SYS_execve};
use nix::sys::ptrace::{self, Options};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::faults::{CALLS, CANARY, Faulty};
use super::launch::{TOOLS, proc};
use testkit::host::{directory, host_with};
use testkit::memory::{Memory, assert_wiped};
use testkit::{holds, is_root};

/// `run` with the stand-in as its hypervisor, in a process group of its own.
fn run(credentials: &tempfile::TempDir, kind: &str, option: &str) -> Command {
    let hypervisor = format!("--hypervisor={kind}");
    let program = TOOLS.path("dynamic");
    let mut command = host_with(credentials.path(), &["run", "--all", "--log-level=off", &hypervisor, "--"]);
    command.arg(program).arg(option).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn at_no_call_of_its_tracer_does_the_launcher_hold_a_value() {
    if !is_root() {
        return;
    }
    let credentials = directory(&[("secret", &CANARY.repeat(3)), ("second", &CANARY.repeat(200))]);
    let (mut before, mut executing, mut after) = (0, 0, 0);
    for at in 1..CALLS {
        let mut faulty = Faulty::spawn(&mut run(&credentials, "crosvm", "run"), "wait", at);
        if !faulty.reached() {
            break;
        }
        let pid = Pid::from_raw(faulty.child.id().cast_signed());
        let executed = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        if executed == std::path::Path::new(env!("CARGO_BIN_EXE_smbios-creds-host")) {
            let call = String::from_utf8(proc(pid, "syscall")).unwrap();
            assert_wiped(&Memory::open(pid).writable(), CANARY, "run");
            before += 1;
            executing += usize::from(call.starts_with(&format!("{SYS_execve} ")));
        } else {
            after += 1;
        }
        faulty.child.kill().unwrap();
        faulty.end();
        if after > 20 {
            break;
        }
    }
    assert!(before > 3 && executing > 0 && after > 3, "{before} {executing} {after}");
}

#[test]
fn the_tracer_holds_the_values_and_none_of_them_when_it_ends() {
    if !is_root() {
        return;
    }
    let credentials = directory(&[("secret", &CANARY.repeat(3)), ("second", &CANARY.repeat(200))]);
    for (kind, option) in [("cloud-hypervisor", "--kernel=k"), ("crosvm", "run")] {
        let mut faulty = Faulty::spawn(&mut run(&credentials, kind, option), "wait", 1);
        assert!(faulty.reached());
        let tracer = Pid::from_raw(faulty.tracer().cast_signed());
        ptrace::seize(tracer, Options::PTRACE_O_TRACEEXIT).unwrap();
        assert!(holds(&Memory::open(tracer).writable(), CANARY), "this is how a value would be found");
        let memory = Memory::open(tracer);
        // When its standard input is closed, the stand-in ends, and then the tracer ends.
        drop(faulty.child.stdin.take());
        faulty.release();
        loop {
            match waitpid(tracer, None).unwrap() {
                WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_EXIT) => break,
                WaitStatus::Stopped(_, signal) => ptrace::cont(tracer, signal).unwrap(),
                other => panic!("{kind}: {other:?}"),
            }
        }
        assert_wiped(&memory.writable(), CANARY, "private-argv-tracer");
        ptrace::detach(tracer, None).unwrap();
        // The report of the stand-in shows that it has received the values.
        let (output, ran) = faulty.end();
        assert_eq!((output.status.code(), ran), (Some(42), true), "{kind}");
        assert!(holds(&output.stdout, CANARY), "{kind}");
    }
}
