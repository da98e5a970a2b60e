//! What a child of ours leaves behind that the program must not find.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Takes back the SIGCHLD of a child, which would wait for the program if its caller has blocked that signal.
pub(super) fn forget_child() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    if let Ok(pending) = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC) {
        _ = pending.read_signal();
    }
}
