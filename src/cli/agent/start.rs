//! What the agent does before `main`, where Rust's runtime has changed nothing yet.

use super::init;
use crate::sys::{remember_process_id, sigpipe, standard};

/// As PID 1, opens each of descriptors 0 to 2 that is closed. Looks whether `SIGPIPE` is ignored, for the program that
/// `exec` executes.
///
/// The kernel starts PID 1 with all three closed if it cannot open `/dev/console`. Rust's runtime then opens `/dev/null`,
/// and aborts if there is none (`sanitize_standard_fds` in `library/std/src/sys/pal/unix/mod.rs`). It also ignores
/// `SIGPIPE`, after which what the caller had set is lost (`reset_sigpipe` there).
pub fn before_main() {
    remember_process_id();
    if init::is_pid_1() {
        standard::fill();
    }
    sigpipe::look();
}
