//! Reads the memory of a stopped process.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use nix::libc::{PTRACE_EVENT_EXEC, PTRACE_EVENT_EXIT, SYS_execve, SYS_execveat, user_regs_struct};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// `/proc/PID/maps` and `/proc/PID/mem`, opened early: later, only root may be allowed to open these files.
pub struct Memory {
    maps: File,
    bytes: File,
}

impl Memory {
    pub fn open(pid: Pid) -> Self {
        let open = |name| File::open(format!("/proc/{pid}/{name}")).unwrap();
        Self { maps: open("maps"), bytes: open("mem") }
    }

    /// Returns the content of every writable mapping of the process, except pages that are all zero.
    pub fn writable(mut self) -> Vec<u8> {
        let maps = std::io::read_to_string(&mut self.maps).unwrap();
        let mut bytes = Vec::new();
        for line in maps.lines() {
            let (range, rest) = line.split_once(' ').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let at = |text| u64::from_str_radix(text, 16).unwrap();
            if rest.starts_with("rw") {
                let mut part = vec![0; usize::try_from(at(to) - at(from)).unwrap()];
                self.bytes.read_exact_at(&mut part, at(from)).unwrap();
                for page in part.chunks(4096).filter(|page| *page != [0; 4096]) {
                    bytes.extend_from_slice(page);
                }
            }
        }
        bytes
    }
}

/// Where a process is stopped.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Stop {
    /// The process has finished its work and is about to end.
    Exit,
    /// The process has just called execve(2).
    Exec,
}

/// Runs a program up to a stop. Returns the program's writable memory at the stop, and how the program ended
/// afterwards. `before` is a command that executes the program.
pub fn memory_at(stop: Stop, before: &[&str], program: &Path, arguments: &[&str]) -> (Vec<u8>, ExitStatus) {
    let mut child = Command::new("sh")
        .args(["-c", r#"kill -STOP $$; exec "$@""#, "sh"])
        .args(before)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id().cast_signed());
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    let options = Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD;
    ptrace::seize(pid, options).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    let program = program.canonicalize().unwrap();
    let mut opened = None;
    // Every system call stops the process twice: when the call begins and when it ends. An execve(2) that succeeds
    // ends in the new program.
    let mut in_call = false;
    let memory = loop {
        let mut signal = None;
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_EXEC) => {
                in_call = true;
                let executed = std::fs::read_link(format!("/proc/{pid}/exe"));
                if executed.is_ok_and(|executed| executed == program) {
                    opened = Some(Memory::open(pid));
                }
            }
            WaitStatus::PtraceEvent(_, _, PTRACE_EVENT_EXIT) => {
                assert!(stop == Stop::Exit, "{arguments:?} executes nothing");
                break opened.unwrap().writable();
            }
            WaitStatus::PtraceSyscall(_) => {
                in_call = !in_call;
                if in_call
                    && executes(pid)
                    && let Some(opened) = opened.take()
                {
                    break opened.writable();
                }
            }
            WaitStatus::Stopped(_, stopped) => signal = Some(stopped),
            WaitStatus::PtraceEvent(..) => {}
            other => panic!("{other:?}"),
        }
        let next = if stop == Stop::Exec { ptrace::syscall } else { ptrace::cont };
        next(pid, signal).unwrap();
    };
    ptrace::detach(pid, None).unwrap();
    (memory, child.wait().unwrap())
}

/// Returns whether the system call at which a process is stopped is execve(2) or execveat(2).
fn executes(pid: Pid) -> bool {
    let call = call(&ptrace::getregs(pid).unwrap());
    call == SYS_execve.cast_unsigned() || call == SYS_execveat.cast_unsigned()
}

#[cfg(target_arch = "x86_64")]
fn call(registers: &user_regs_struct) -> u64 {
    registers.orig_rax
}

#[cfg(target_arch = "aarch64")]
fn call(registers: &user_regs_struct) -> u64 {
    registers.regs[8]
}

/// Returns how often the needle occurs in the memory.
pub fn count(memory: &[u8], needle: &[u8]) -> usize {
    memory.windows(needle.len()).filter(|window| *window == needle).count()
}

/// Asserts that a process has wiped its values. The process does not wipe its verb, so the verb shows that this is
/// the right memory.
pub fn assert_wiped(memory: &[u8], canary: &[u8], verb: &str) {
    assert!(memory.len() > 50_000, "{verb}: {} bytes", memory.len());
    assert!(!crate::holds(memory, canary), "{verb}: a value is still there");
    // SHA-256 stores a value as 32-bit words in the opposite byte order. The value may begin at any byte of a word.
    for start in 0..4 {
        let words: Vec<u8> = canary[start..].chunks_exact(4).flat_map(|w| [w[3], w[2], w[1], w[0]]).collect();
        assert_eq!(count(memory, &words[..16]), 0, "{verb}: words of a value are still there");
    }
    assert!(count(memory, verb.as_bytes()) > 0, "{verb}");
}
