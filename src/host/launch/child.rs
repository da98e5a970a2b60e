//! Removes a pending `SIGCHLD`, the signal with which the kernel reports the end of a child process. The program that
//! this process executes must not get this signal.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Consumes the pending SIGCHLD of a child of this process. If SIGCHLD is blocked, the signal would otherwise stay
/// pending, and the program that this process executes would get it.
pub(super) fn forget_child() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    if let Ok(pending) = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC) {
        _ = pending.read_signal();
    }
}
