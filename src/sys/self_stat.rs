//! Finds out whether `SIGPIPE` was ignored when this program was started.
//!
//! Rust's runtime ignores `SIGPIPE` before it calls `main`, and a program that this process executes inherits this
//! setting. sigaction(2) would return the original setting, but needs unsafe code. `/proc/self/stat` shows the setting
//! too.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

/// Number of the field with the ignored signals in `/proc/self/stat`, if the first field after the program's name has
/// the number 1. Counted from the beginning of the file, the field with the ignored signals is the 33rd
/// (`proc_pid_stat(5)`).
const IGNORED: usize = 33 - 2;

/// Size in bytes of the buffer for the start of `/proc/self/stat`. The field of the ignored signals and all fields
/// before this field are shorter together.
const ROOM: usize = 1024;

static WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Stores for [`sigpipe_was_ignored`] whether `SIGPIPE` is ignored. If `/proc` is not mounted, stores `false`.
///
/// This function must run before `main`. So it allocates nothing, cannot panic, and uses no part of the standard
/// library that Rust's runtime must initialize first.
pub(crate) fn look() {
    let mut buffer = [0; ROOM];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let read = rustix::fs::open(c"/proc/self/stat", flags, Mode::empty())
        .and_then(|stat| rustix::io::read(stat, &mut buffer));
    let stat = read.ok().and_then(|size| buffer.get(..size)).unwrap_or_default();
    WAS_IGNORED.store(ignored(stat).is_some_and(|signals| signals & BIT != 0), Relaxed);
}

/// Whether `SIGPIPE` was ignored when this program was started. Returns `false` if [`look`] was not called before.
pub(crate) fn sigpipe_was_ignored() -> bool {
    WAS_IGNORED.load(Relaxed)
}

/// The bit of `SIGPIPE` in a set of signals.
const BIT: u64 = 1 << (Signal::PIPE.as_raw() - 1);

/// Returns the ignored signals from the text of `/proc/self/stat`, one bit for each signal from 1 to 31. The program's
/// name in this text may contain any byte.
fn ignored(stat: &[u8]) -> Option<u64> {
    let fields = stat.rsplit(|&byte| byte == b')').next()?;
    let field = fields.split(|&byte| byte == b' ').nth(IGNORED)?;
    str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::ignored;

    #[test]
    fn name_of_a_program_is_not_taken_for_fields() {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let hex = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
        let expected = u64::from_str_radix(hex, 16).unwrap() & 0x7fff_ffff;
        assert_eq!(ignored(stat.as_bytes()), Some(expected));
        let (before, rest) = (stat.split_once('(').unwrap().0, stat.rsplit_once(')').unwrap().1);
        for name in ["x) S 1 1", "(((", ")", " ", "1 2 3"] {
            assert_eq!(ignored(format!("{before}({name}){rest}").as_bytes()), Some(expected), "{name}");
        }
    }

    #[test]
    fn stat_that_is_cut_says_nothing() {
        let stat = std::fs::read("/proc/self/stat").unwrap();
        let end = stat.iter().rposition(|&byte| byte == b')').unwrap();
        for cut in 0..end + 64 {
            assert_eq!(ignored(&stat[..cut]), None, "{cut}");
        }
    }
}
