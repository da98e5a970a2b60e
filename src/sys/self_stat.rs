//! Reads `/proc/self/stat` before `main` (`proc_pid_stat(5)`): whether `SIGPIPE` was ignored when this program was
//! started, and where the program's code and constants are in memory.
//!
//! Rust's runtime ignores `SIGPIPE` before it calls `main`, and a program that this process executes inherits this
//! setting. sigaction(2) would return the original setting, but needs unsafe code. `/proc/self/stat` shows the setting
//! too.

use std::ffi::CStr;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

const PATH: &CStr = c"/proc/self/stat";

/// Size in bytes of the buffer for the start of `/proc/self/stat`. The fields that are read, and all fields before
/// them, are shorter together.
const ROOM: usize = 1024;

static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Stores for [`sigpipe_was_ignored`] whether `SIGPIPE` is ignored, and returns the addresses of this program's code,
/// and of its constants if they are between its code and its data. If `/proc` is not mounted, stores `false` and returns
/// `None`.
///
/// This function must run before `main`. So it allocates nothing, cannot panic, and uses no part of the standard
/// library that Rust's runtime must initialize first.
pub(crate) fn look() -> Option<Range<usize>> {
    let mut buffer = [0; ROOM];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let read =
        rustix::fs::open(PATH, flags, Mode::empty()).and_then(|stat| rustix::io::read(stat, &mut buffer));
    let stat = parse(buffer.get(..read.ok()?)?)?;
    SIGPIPE_WAS_IGNORED.store(stat.ignored.is_some_and(|signals| signals & SIGPIPE != 0), Relaxed);
    stat.read_only(PATH.as_ptr().addr(), ptr::from_ref(&RELOCATED).addr())
}

/// Whether `SIGPIPE` was ignored when this program was started. Returns `false` if [`look`] was not called before.
pub(crate) fn sigpipe_was_ignored() -> bool {
    SIGPIPE_WAS_IGNORED.load(Relaxed)
}

/// The bit of `SIGPIPE` in a set of signals.
const SIGPIPE: usize = 1 << (Signal::PIPE.as_raw() - 1);

/// A variable that contains an address. The start of the program writes this address, so linkers put the variable before
/// all other data.
static RELOCATED: &AtomicBool = &SIGPIPE_WAS_IGNORED;

/// What `/proc/self/stat` says.
#[derive(Debug, Eq, PartialEq)]
struct Stat {
    /// The addresses of the program's code: fields 26 and 27.
    code: Option<Range<usize>>,
    /// The ignored signals, one bit for each signal from 1 to 31: field 33.
    ignored: Option<usize>,
    /// The address of the last segment of the program: field 45.
    last: Option<usize>,
}

impl Stat {
    /// Returns the addresses of what nobody can write to, from the addresses of a constant and of [`RELOCATED`]. GNU ld
    /// puts the constants between the code and all data. Other linkers put data there, which must stay locked.
    fn read_only(self, constant: usize, relocated: usize) -> Option<Range<usize>> {
        let code = self.code?;
        let Some(last) = self.last.filter(|&last| (code.end..last).contains(&constant) && relocated >= last)
        else {
            return Some(code);
        };
        // The data may begin within a page.
        Some(code.start..region::page::floor(ptr::without_provenance::<u8>(last)).addr())
    }
}

/// Parses the text of `/proc/self/stat`. The program's name in this text may contain any byte.
fn parse(stat: &[u8]) -> Option<Stat> {
    // The name is field 2, and the last field with a `)`. A space is before field 3.
    let mut fields = stat.rsplit(|&byte| byte == b')').next()?.split(|&byte| byte == b' ');
    let mut number = |skipped| str::from_utf8(fields.nth(skipped)?).ok()?.parse().ok();
    let (first, last) = (number(26 - 2), number(0));
    let code = first.zip(last).map(|(first, last)| first..last);
    Some(Stat { code, ignored: number(33 - 28), last: number(45 - 34) })
}

#[cfg(test)]
mod tests {
    use super::{Stat, parse};

    #[test]
    fn name_of_a_program_is_not_taken_for_fields() {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let hex = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
        let ignored = usize::from_str_radix(hex, 16).unwrap() & 0x7fff_ffff;
        let (before, rest) = (stat.split_once('(').unwrap().0, stat.rsplit_once(')').unwrap().1);
        for name in ["x) S 1 1", "(((", ")", " ", "1 2 3"] {
            let parsed = parse(format!("{before}({name}){rest}").as_bytes()).unwrap();
            assert_eq!(parsed.ignored, Some(ignored), "{name}");
            let code = parsed.code.clone().unwrap();
            assert!(code.contains(&(parse as *const () as usize)), "{name}: {parsed:?}");
        }
    }

    #[test]
    fn data_between_code_and_constants_stays_locked() {
        let read_only = |constant, relocated, last| {
            Stat { code: Some(0x1000..0x3456), ignored: None, last }.read_only(constant, relocated)
        };
        // GNU ld: code, constants, data.
        assert_eq!(read_only(0x4010, 0x9880, Some(0x9876)), Some(0x1000..0x9000));
        // GNU ld with a variable that needs a large alignment: code, constants, data, more data.
        assert_eq!(read_only(0x4010, 0x6000, Some(0x9876)), Some(0x1000..0x3456));
        // Other linkers: constants, code, data, more data.
        assert_eq!(read_only(0x10, 0x4000, Some(0x9876)), Some(0x1000..0x3456));
        assert_eq!(read_only(0x9876, 0x4330, Some(0x4321)), Some(0x1000..0x3456));
        // A stat without the last fields.
        assert_eq!(read_only(0x4010, 0x9880, None), Some(0x1000..0x3456));
    }

    #[test]
    fn ignored_signals_are_read_without_the_fields_after_them() {
        let stat = std::fs::read("/proc/self/stat").unwrap();
        let end = stat.iter().rposition(|&byte| byte == b')').unwrap();
        let fields: Vec<&[u8]> = stat[end..].split(|&byte| byte == b' ').collect();
        let cut = [&stat[..end], &fields[..33 - 1].join(&b' ')].concat();
        let (cut, whole) = (parse(&cut).unwrap(), parse(&stat).unwrap());
        assert_eq!((cut.ignored, cut.last), (whole.ignored, None));
    }

    #[test]
    fn stat_that_is_cut_says_nothing() {
        let stat = std::fs::read("/proc/self/stat").unwrap();
        let end = stat.iter().rposition(|&byte| byte == b')').unwrap();
        for cut in 0..end + 64 {
            let parsed = parse(&stat[..cut]);
            let says_nothing = |stat: &Stat| (&stat.code, stat.ignored, stat.last) == (&None, None, None);
            assert!(parsed.as_ref().is_none_or(says_nothing), "{cut}: {parsed:?}");
        }
    }
}
