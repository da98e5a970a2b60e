//! What keeps secrets inside the process: no core dump, no debugger, no swap, no value in a panic.

use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Memory that must be lockable before all of it is locked: once it is, every allocation above the limit fails, and
/// this is several times what the largest table needs.
const LOCKABLE_MIN: rlim_t = 16 * 1_048_576;

/// What the process does after its own work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Then {
    /// It executes another program in its place, which inherits its limits.
    Executes,
    /// It ends.
    Ends,
}

/// What a program that is executed in our place would inherit, as it was before.
pub struct Before {
    core: Option<(rlim_t, rlim_t)>,
}

/// Protects the process. Nothing here can fail it: what the system does not allow is said at debug level.
///
/// If another program follows, what it would inherit is kept for [`Before::restore`].
#[must_use]
pub fn protect(then: Then) -> Before {
    hide_panics();
    log("forbid debuggers and core dumps", set_dumpable(false));
    // What is taken off the hard limit, nobody without a capability can give back.
    let core = match then {
        Then::Executes => getrlimit(Resource::RLIMIT_CORE).map(Some),
        Then::Ends => Ok(None),
    };
    let limited = core.and_then(|core| setrlimit(Resource::RLIMIT_CORE, 0, core.map_or(0, |(_, hard)| hard)));
    log("set the core dump limit to 0", limited);
    if may_lock() {
        log("lock memory", lock_memory());
    } else {
        tracing::debug!("memory is not locked: that takes CAP_IPC_LOCK or a higher limit");
    }
    Before { core: core.ok().flatten() }
}

impl Before {
    /// Puts back what a program that is executed next would inherit. The rest ends with this program.
    pub fn restore(&self) {
        if let Some((soft, hard)) = self.core {
            log("put back the core dump limit", setrlimit(Resource::RLIMIT_CORE, soft, hard));
        }
        // Rust's runtime ignores it before `main`. Only the agent can know that its caller did so too.
        if !crate::sys::sigpipe::was_ignored() {
            sigpipe::reset();
        }
    }
}

fn may_lock() -> bool {
    // The capability knows no limit.
    let capable = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    capable || getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft >= LOCKABLE_MIN)
}

/// Locks the pages that are in use now or later, each when it is first touched.
fn lock_memory() -> nix::Result<()> {
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
}

fn log(action: &str, result: nix::Result<()>) {
    if let Err(error) = result {
        tracing::debug!("cannot {action}: {}", error.desc());
    }
}

/// A panic would print its message, which can quote the data it stumbled over. Only the place is told.
fn hide_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!("internal error at {place}; this is a bug in smbios-creds, please report it");
    }));
}
