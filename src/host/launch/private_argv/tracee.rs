//! Reads the state of a traced process from the kernel.

use std::fs::{read, read_link, read_to_string};
use std::io;
use std::path::PathBuf;

use nix::libc;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::sched_yield;

use super::super::image::{self, Answer};
use crate::sys::Errno;
use crate::text::escape::ShownPath;

/// `AT_SECURE` of the auxiliary vector (getauxval(3)).
const AT_SECURE: u64 = 23;

/// How many times the tracer checks for an event before it sleeps.
const LOOKS: u32 = 100;

/// Status that waitpid(2) returns for a thread that is stopped at a system call (`PTRACE_O_TRACESYSGOOD`).
const AT_CALL: i32 = (libc::SIGTRAP | 0x80) << 8 | 0x7f;

/// The result of checking whether a traced process has an event that the tracer must handle.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ready {
    /// This process has an event. The caller must still call waitpid(2) for this process.
    One(Pid),
    /// This process has an event with this status. The caller need not call waitpid(2).
    Waited((Pid, i32)),
    /// A process is about to get a signal without a name, which is a real-time signal.
    Unnamed,
    /// No event.
    None,
}

/// Checks for an event of a traced process, or waits for an event if `wait` is true. If `pid` is given, only events of
/// this process count.
pub(super) fn ready(pid: Option<Pid>, wait: bool) -> nix::Result<Ready> {
    let mut flags = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    flags.set(WaitPidFlag::WNOHANG, !wait);
    match waitid(pid.map_or(Id::All, Id::Pid), flags) {
        // This event, a stop at a system call, is by far the most frequent. The tracer continues the process soon, so
        // it need not call waitpid(2) for the event.
        Ok(WaitStatus::PtraceSyscall(pid)) => Ok(Ready::Waited((pid, AT_CALL))),
        Ok(status) => Ok(status.pid().map_or(Ready::None, Ready::One)),
        Err(Errno::EINVAL) => Ok(Ready::Unnamed),
        Err(Errno::EINTR) => Ok(Ready::None),
        Err(errno) => Err(errno),
    }
}

/// Returns the next event of any traced process. Waits for an event if `waits` is true. If `looks_first` is true, this
/// function does not consume the event. The tracer must not consume the event of a real-time signal (see
/// [`Ready::Unnamed`]).
///
/// The traced processes stop again soon after they continue. If the tracer slept, waking up the processor and the
/// tracer would take longer than the time between two stops. So this function checks for events several times before it
/// sleeps, and lets other processes run between the checks.
pub(super) fn next(waits: bool, looks_first: bool) -> nix::Result<Ready> {
    let looks = if waits { LOOKS } else { 0 };
    for _ in 0..looks {
        match next_of(false, looks_first) {
            Ok(Ready::None) => sched_yield(),
            found => return found,
        }
    }
    next_of(waits, looks_first)
}

fn next_of(waits: bool, looks_first: bool) -> nix::Result<Ready> {
    if looks_first {
        return ready(None, waits);
    }
    wait(None, waits).map(|waited| waited.map_or(Ready::None, Ready::Waited))
}

/// Returns the PID of a process with an event, and the status from waitpid(2). If `pid` is given, only events of this
/// process count. Waits for an event if `wait` is true. Otherwise returns `None` if there is no event.
pub(super) fn wait(pid: Option<Pid>, wait: bool) -> nix::Result<Option<(Pid, i32)>> {
    let mut options = WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    options.set(WaitOptions::NOHANG, !wait);
    let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.as_raw()));
    // Without a PID, rustix's `waitpid` would wait only for processes of the tracer's process group.
    let waited = if pid.is_some() { waitpid(pid, options) } else { rustix::process::wait(options) };
    match waited.map_err(|errno| Errno::from_raw(errno.raw_os_error())) {
        Ok(waited) => {
            Ok(waited.map(|(pid, status)| (Pid::from_raw(pid.as_raw_nonzero().get()), status.as_raw())))
        }
        Err(Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Returns the value of the field `name` in `/proc/PID/status`.
fn status(pid: Pid, name: &str) -> Option<String> {
    let text = read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn status_pid(pid: Pid, name: &str) -> Option<Pid> {
    status(pid, name)?.parse().ok().map(Pid::from_raw)
}

/// Returns the process to which a thread belongs.
pub(super) fn process(thread: Pid) -> Option<Pid> {
    status_pid(thread, "Tgid")
}

/// Returns the parent of a process.
pub(super) fn parent(pid: Pid) -> Option<Pid> {
    status_pid(pid, "PPid")
}

/// Whether a SIGCONT is pending for a thread or for its process.
pub(super) fn is_continued(pid: Pid) -> bool {
    has_signal(pid, libc::SIGCONT, ["SigPnd", "ShdPnd"])
}

/// Whether a process ignores or blocks a signal.
pub(super) fn holds_back(pid: Pid, signal: i32) -> bool {
    has_signal(pid, signal, ["SigBlk", "SigIgn"])
}

/// Whether a signal is in one of these masks of `/proc/PID/status`. Bit 0 of a mask stands for signal 1.
fn has_signal(pid: Pid, signal: i32, masks: [&str; 2]) -> bool {
    let text = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let is_meant = |line: &&str| masks.iter().any(|mask| line.starts_with(mask));
    let of = |line: &str| u64::from_str_radix(line.split_once(':')?.1.trim(), 16).ok();
    text.lines().filter(is_meant).filter_map(of).any(|mask| mask >> (signal - 1) & 1 != 0)
}

/// Whether `PR_SET_NO_NEW_PRIVS` is set for a process. Such a process never gains privileges when it executes a
/// program, whether it is traced or not. For such a process, file capabilities have no effect, but the kernel still
/// sets `AT_SECURE`.
pub(super) fn has_no_new_privileges(pid: Pid) -> bool {
    status(pid, "NoNewPrivs").is_some_and(|value| value == "1")
}

/// Returns the values of these kinds (such as `AT_SECURE`) from the auxiliary vector of a 64-bit program
/// (getauxval(3)). A value is `None` if the vector does not contain its kind.
pub(super) fn auxiliary<const N: usize>(pid: Pid, kinds: [u64; N]) -> io::Result<[Option<u64>; N]> {
    let vector = read(format!("/proc/{pid}/auxv"))?;
    let (words, _) = vector.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let pairs = pairs.iter().map(|pair| pair.map(u64::from_ne_bytes));
    Ok(kinds.map(|kind| pairs.clone().find(|[found, _]| *found == kind).map(|[_, value]| value)))
}

/// Whether the execution of a process's current program changed the privileges of the process, or would have changed
/// them if the process were not traced.
pub(super) fn is_secure(pid: Pid) -> io::Result<bool> {
    let [secure] = auxiliary(pid, [AT_SECURE])?;
    Ok(secure.is_some_and(|value| value != 0) && !has_no_new_privileges(pid))
}

/// Whether a process's program was started with an environment variable whose name begins with `prefix`.
pub(super) fn has_variable(pid: Pid, prefix: &[u8]) -> io::Result<bool> {
    let environment = read(format!("/proc/{pid}/environ"))?;
    Ok(environment.split(|&byte| byte == 0).any(|variable| variable.starts_with(prefix)))
}

/// Whether one of the arguments of a process's program is in `arguments`.
pub(super) fn has_argument<'a>(pid: Pid, mut arguments: impl Iterator<Item = &'a [u8]>) -> io::Result<bool> {
    let found = read(format!("/proc/{pid}/cmdline"))?;
    Ok(arguments.any(|argument| found.split(|&byte| byte == 0).any(|found| found == argument)))
}

/// Returns the path of the program that a process executes.
pub(super) fn program(pid: Pid) -> ShownPath {
    read_link(executable(pid)).unwrap_or_else(|_| PathBuf::from("a program")).into()
}

/// Whether the executable file of a process's program contains this word. `known` is the result of an earlier search,
/// if there was one.
pub(super) fn has_word(pid: Pid, word: &str, known: Option<Answer>) -> io::Result<bool> {
    image::has(&executable(pid), word, known)
}

fn executable(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// Whether this signal most likely means that the killed program itself failed. Otherwise, another process most likely
/// sent the signal to end the program.
pub(super) fn is_fault(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGABRT
            | libc::SIGBUS
            | libc::SIGFPE
            | libc::SIGILL
            | libc::SIGSEGV
            | libc::SIGSYS
            | libc::SIGTRAP
    )
}
