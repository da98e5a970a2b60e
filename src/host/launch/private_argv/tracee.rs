//! What the kernel tells of a process that is traced.

use std::fs::{read, read_link, read_to_string};
use std::io;
use std::path::PathBuf;

use nix::libc;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::sched_yield;

use super::super::image;
use crate::sys::Errno;
use crate::text::escape::ShownPath;

/// `AT_SECURE` of the auxiliary vector (getauxval(3)).
const AT_SECURE: u64 = 23;

/// SIGCONT in the masks of `/proc/PID/status`, where bit 0 is signal 1.
const SIGCONT_BIT: u64 = 1 << (libc::SIGCONT - 1);

/// How often it is looked for one that can be waited for, before this process sleeps.
const LOOKS: u32 = 100;

/// The status of a thread that is stopped at a system call, as waitpid(2) has it (`PTRACE_O_TRACESYSGOOD`).
const AT_CALL: i32 = (libc::SIGTRAP | 0x80) << 8 | 0x7f;

/// What is known of those that wait to be waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ready {
    /// This one.
    One(Pid),
    /// This one, and what has happened to it: it need not be waited for.
    Waited((Pid, i32)),
    /// One that is about to get a signal without a name, which is a real-time signal.
    Unnamed,
    /// None of them.
    None,
}

/// Looks for one that can be waited for, or waits for there to be one. `pid` is the only one that is meant.
pub(super) fn ready(pid: Option<Pid>, wait: bool) -> nix::Result<Ready> {
    let mut flags = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    flags.set(WaitPidFlag::WNOHANG, !wait);
    match waitid(pid.map_or(Id::All, Id::Pid), flags) {
        // By far the most frequent one. It is resumed soon, and so it does not matter whether it was waited for.
        Ok(WaitStatus::PtraceSyscall(pid)) => Ok(Ready::Waited((pid, AT_CALL))),
        Ok(status) => Ok(status.pid().map_or(Ready::None, Ready::One)),
        Err(Errno::EINVAL) => Ok(Ready::Unnamed),
        Err(Errno::EINTR) => Ok(Ready::None),
        Err(errno) => Err(errno),
    }
}

/// Waits for any of them, or only looks. One that is let go may have to be looked at before it is waited for.
///
/// They stop often, and soon again. To sleep until then takes longer than the way from one stop to the next where the
/// processor must be woken up, so others are let run first.
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

/// Waits for one of them, or for this one, and says what has happened to it, as waitpid(2) does.
pub(super) fn wait(pid: Option<Pid>, wait: bool) -> nix::Result<Option<(Pid, i32)>> {
    let mut options = WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    options.set(WaitOptions::NOHANG, !wait);
    let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.as_raw()));
    // Without a process, `waitpid` waits for one of the same process group.
    let waited = if pid.is_some() { waitpid(pid, options) } else { rustix::process::wait(options) };
    match waited.map_err(|errno| Errno::from_raw(errno.raw_os_error())) {
        Ok(waited) => {
            Ok(waited.map(|(pid, status)| (Pid::from_raw(pid.as_raw_nonzero().get()), status.as_raw())))
        }
        Err(Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A field of `/proc/PID/status`.
fn status(pid: Pid, name: &str) -> Option<String> {
    let text = read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn status_pid(pid: Pid, name: &str) -> Option<Pid> {
    status(pid, name)?.parse().ok().map(Pid::from_raw)
}

/// The process that a thread belongs to.
pub(super) fn process(thread: Pid) -> Option<Pid> {
    status_pid(thread, "Tgid")
}

/// The process that has started this one.
pub(super) fn parent(pid: Pid) -> Option<Pid> {
    status_pid(pid, "PPid")
}

/// Whether a SIGCONT waits to be delivered.
pub(super) fn is_continued(pid: Pid) -> bool {
    let pending =
        |name| status(pid, name).and_then(|mask| u64::from_str_radix(&mask, 16).ok()).unwrap_or_default();
    (pending("SigPnd") | pending("ShdPnd")) & SIGCONT_BIT != 0
}

/// Whether a process gains no privileges by executing anything, traced or not (`PR_SET_NO_NEW_PRIVS`). File
/// capabilities, which are then without effect, make the kernel say `AT_SECURE` all the same.
pub(super) fn has_no_new_privileges(pid: Pid) -> bool {
    status(pid, "NoNewPrivs").is_some_and(|value| value == "1")
}

/// What the auxiliary vector of a 64-bit program says of this (getauxval(3)).
pub(super) fn auxiliary(pid: Pid, kind: u64) -> io::Result<Option<u64>> {
    let vector = read(format!("/proc/{pid}/auxv"))?;
    let (words, _) = vector.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let found = pairs.iter().map(|pair| pair.map(u64::from_ne_bytes)).find(|[found, _]| *found == kind);
    Ok(found.map(|[_, value]| value))
}

/// Whether executing its program has changed its privileges, or would have without the tracer.
pub(super) fn is_secure(pid: Pid) -> io::Result<bool> {
    Ok(auxiliary(pid, AT_SECURE)?.is_some_and(|value| value != 0) && !has_no_new_privileges(pid))
}

/// Whether the name of a variable that a program was started with begins with this.
pub(super) fn has_variable(pid: Pid, prefix: &[u8]) -> io::Result<bool> {
    let environment = read(format!("/proc/{pid}/environ"))?;
    Ok(environment.split(|&byte| byte == 0).any(|variable| variable.starts_with(prefix)))
}

/// Whether one of a program's arguments is one of these.
pub(super) fn has_argument<'a>(pid: Pid, mut arguments: impl Iterator<Item = &'a [u8]>) -> io::Result<bool> {
    let found = read(format!("/proc/{pid}/cmdline"))?;
    Ok(arguments.any(|argument| found.split(|&byte| byte == 0).any(|found| found == argument)))
}

/// The program that a process executes.
pub(super) fn program(pid: Pid) -> ShownPath {
    read_link(executable(pid)).unwrap_or_else(|_| PathBuf::from("a program")).into()
}

/// Whether the image of its program has this word.
pub(super) fn has_word(pid: Pid, word: &str) -> io::Result<bool> {
    image::has(&executable(pid), word)
}

fn executable(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// Whether a signal says that a program has gone wrong, rather than that somebody has ended it.
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
