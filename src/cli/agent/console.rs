//! Finds an output for the messages of PID 1 if the kernel has started PID 1 without a console.

use super::init;
use crate::sys::standard::{self, KernelLog};

/// Contains the kernel's log if this module has opened this log as standard error. Otherwise contains `None`.
pub struct Console(Option<KernelLog>);

impl Console {
    /// Opens an output for messages if this process is PID 1 and has no console: `/dev/console`, or else the kernel's
    /// log. If `/dev/null` does not exist, first mounts devtmpfs on `/dev`.
    ///
    /// If the kernel's log cannot be opened either, all messages are lost, including a message about this error.
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

    /// If standard error is the kernel's log, restores the previous standard error. Other users may read the kernel's
    /// log, and the program that is executed next may print secrets.
    pub(super) fn leave(&self) {
        if let Some(log) = &self.0 {
            _ = log.hide();
        }
    }

    /// Undoes [`Self::leave`]. Called if the program could not be executed, so that the error can be logged.
    pub(super) fn take_back(&self) {
        if let Some(log) = &self.0 {
            _ = log.show();
        }
    }
}
