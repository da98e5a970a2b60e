//! Runs before `main`, before Rust's runtime changes anything.

use super::init;
use crate::sys::{remember_process_id, sigpipe, standard};

/// As PID 1, opens those of the descriptors 0 to 2 that are closed. Stores whether `SIGPIPE` is ignored, for the
/// program that `exec` executes.
///
/// The kernel starts PID 1 with all three closed if it cannot open `/dev/console`. Rust's runtime then opens
/// `/dev/null`, and aborts if it does not exist (`sanitize_standard_fds` in `library/std/src/sys/pal/unix/mod.rs`). The
/// runtime also ignores `SIGPIPE`, which overwrites the caller's setting (`reset_sigpipe` there).
pub fn before_main() {
    remember_process_id();
    if init::is_pid_1() {
        standard::fill();
    }
    sigpipe::look();
}
