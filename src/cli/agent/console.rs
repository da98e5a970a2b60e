//! Where PID 1 writes messages when the kernel gives it no console.

use super::init;
use crate::sys::standard::{self, KernelLog};

/// What standard error is.
pub struct Console(Option<KernelLog>);

impl Console {
    /// Looks for a console, where PID 1 was given none: first `/dev/console`, then the kernel's log. If `/dev` has no
    /// `null`, devtmpfs is mounted there first.
    ///
    /// If that fails too, messages are lost: there is no place to say so.
    #[must_use]
    pub fn find() -> Self {
        if !init::is_pid_1() || !standard::is_error_unseen() {
            return Self(None);
        }
        if !standard::has_null() {
            _ = init::mount_devices();
        }
        if standard::open_console().is_ok() {
            return Self(None);
        }
        _ = standard::open_null();
        Self(KernelLog::open().ok())
    }

    /// Keeps what a program that is executed next writes out of the kernel's log, which others may read.
    pub(super) fn leave(&self) {
        if let Some(log) = &self.0 {
            _ = log.hide();
        }
    }

    /// Takes that back, if the program was not executed.
    pub(super) fn take_back(&self) {
        if let Some(log) = &self.0 {
            _ = log.show();
        }
    }
}
