//! Keeps secrets inside the process: no core dump, no debugger, no swap, no value in a panic message.

use std::ops::Range;
use std::ptr;

use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Memory is locked only if the process may lock at least this many bytes. Once memory is locked, an allocation above
/// the process's limit for locked memory fails. This size is several times the memory that the largest table needs.
const LOCKABLE_MIN: rlim_t = 16 * 1_048_576;

/// What the process does after its work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Then {
    /// The process executes another program, which inherits its limits.
    Executes,
    /// The process ends.
    Ends,
}

/// Whether the memory of this process is locked.
#[derive(Clone, Copy, Debug)]
pub enum Locked {
    /// The kernel was asked to lock the memory, with this result.
    Asked(nix::Result<()>),
    /// The process has no capability to lock memory, and its limit for locked memory is too low.
    MayNot,
}

/// The previous settings of this process. A program that this process executes must inherit them.
pub struct Before {
    core: Option<(rlim_t, rlim_t)>,
}

/// Protects the secrets in this process from core dumps, debuggers and panic messages. If a protection cannot be set,
/// logs the error at debug level, and continues. Also logs why the memory is not `locked`.
///
/// If this process will execute another program, the returned value contains the settings that this program must
/// inherit. [`Before::restore`] restores these settings.
#[must_use]
pub fn protect(then: Then, locked: Locked) -> Before {
    hide_panics();
    log("forbid debuggers and core dumps", set_dumpable(false));
    // If this process will execute another program, the hard limit is not changed: only a process with a capability
    // could raise the hard limit again.
    let core = match then {
        Then::Executes => getrlimit(Resource::RLIMIT_CORE).map(Some),
        Then::Ends => Ok(None),
    };
    let limited = core.and_then(|core| setrlimit(Resource::RLIMIT_CORE, 0, core.map_or(0, |(_, hard)| hard)));
    log("set the core dump limit to 0", limited);
    match locked {
        Locked::Asked(result) => log("lock memory", result),
        Locked::MayNot => {
            tracing::debug!("memory is not locked: locking needs CAP_IPC_LOCK or a higher limit");
        }
    }
    Before { core: core.ok().flatten() }
}

impl Before {
    /// Restores the settings that the executed program inherits. The kernel itself resets all other settings when this
    /// process executes the program.
    pub fn restore(&self) {
        if let Some((soft, hard)) = self.core {
            log("restore the core dump limit", setrlimit(Resource::RLIMIT_CORE, soft, hard));
        }
        // Rust's runtime sets `SIGPIPE` to ignored before `main`. Only the guest agent finds out earlier whether
        // `SIGPIPE` was ignored when the program was started.
        if !crate::sys::self_stat::sigpipe_was_ignored() {
            sigpipe::reset();
        }
    }
}

fn may_lock() -> bool {
    // The limit for locked memory does not apply to a process with `CAP_IPC_LOCK`.
    let capable = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    capable || getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft >= LOCKABLE_MIN)
}

/// Locks all current and future pages of this process in memory, each page when it is first used. The pages in the
/// range `read_only` are not locked: the program's code contains no secrets, and the kernel takes longer to map, to lock
/// and to unlock a page than only to map it.
///
/// This function may run before `main`, so it allocates nothing and cannot panic.
#[must_use]
pub fn lock_memory(read_only: Option<Range<usize>>) -> Locked {
    if !may_lock() {
        return Locked::MayNot;
    }
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    let locked = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault);
    if let (Ok(()), Some(range)) = (locked, read_only) {
        // If this fails, the code stays locked.
        _ = region::unlock(ptr::without_provenance::<u8>(range.start), range.len());
    }
    Locked::Asked(locked)
}

fn log(action: &str, result: nix::Result<()>) {
    if let Err(error) = result {
        tracing::debug!("cannot {action}: {}", error.desc());
    }
}

/// Replaces the panic message, which can quote secret data. Logs only the line of the source code where the panic
/// happened.
fn hide_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!("internal error at {place}; this is a bug in smbios-creds, please report it");
    }));
}
