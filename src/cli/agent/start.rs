//! Code that runs before `main`, and before Rust's runtime changes descriptors or signals.

use std::sync::OnceLock;

use super::init;
use crate::cli::hygiene::{self, Locked};
use crate::sys::{remember_process_id, self_stat, standard};

static LOCKED: OnceLock<Locked> = OnceLock::new();

/// If this process is PID 1, opens `/dev/null`, or else the root directory, for each of the descriptors 0 to 2 that is
/// closed. Also stores whether `SIGPIPE` is ignored, so that `exec` can start its program with the same setting. Then
/// locks the memory, when few pages of the program's code are mapped.
///
/// If the kernel cannot open `/dev/console`, it starts PID 1 with the descriptors 0 to 2 closed. Rust's runtime then
/// opens `/dev/null`, and aborts if this file does not exist (`sanitize_standard_fds()`,
/// `library/std/src/sys/pal/unix/mod.rs`). The runtime also sets `SIGPIPE` to ignored, so the setting from before is
/// lost (`reset_sigpipe()`, same file).
pub fn before_main() {
    remember_process_id();
    if init::is_pid_1() {
        standard::fill();
    }
    let read_only = self_stat::look();
    _ = LOCKED.set(hygiene::lock_memory(read_only));
}

/// Whether [`before_main`] has locked the memory.
#[must_use]
pub fn locked() -> Locked {
    *LOCKED.get_or_init(|| hygiene::lock_memory(None))
}
