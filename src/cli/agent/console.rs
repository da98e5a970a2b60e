//! Finds a place for the messages of PID 1 if the kernel gives it no console.

use super::init;
use crate::sys::standard::{self, KernelLog};

/// The target of standard error: the kernel's log, if it was opened.
pub struct Console(Option<KernelLog>);

impl Console {
    /// Looks for a console if PID 1 has none: first `/dev/console`, then the kernel's log. If `/dev/null` does not
    /// exist, first mounts devtmpfs on `/dev`.
    ///
    /// If this also fails, messages are lost: no place remains to report it.
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

    /// Keeps the output of the program that is executed next out of the kernel's log, which other users may read.
    pub(super) fn leave(&self) {
        if let Some(log) = &self.0 {
            _ = log.hide();
        }
    }

    /// Undoes [`Self::leave`], because the program was not executed.
    pub(super) fn take_back(&self) {
        if let Some(log) = &self.0 {
            _ = log.show();
        }
    }
}
