//! Removes the trace of a child process that the executed program must not find.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Consumes the pending SIGCHLD of a child. If the caller of this program has blocked SIGCHLD, the executed program
/// would find it.
pub(super) fn forget_child() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    if let Ok(pending) = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC) {
        _ = pending.read_signal();
    }
}
