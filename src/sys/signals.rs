//! Blocks signals that would end the process, during work that must not stop halfway.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that end a process by default, and that another process or the kernel can send. The kernel sends `SIGXFSZ`
/// if a write exceeds the file size limit (setrlimit(2)). If `SIGXFSZ` is blocked, the write fails with `EFBIG`.
const ENDING: [Signal; 11] = [
    Signal::SIGALRM,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGPIPE,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGVTALRM,
    Signal::SIGXCPU,
    Signal::SIGXFSZ,
];

/// As long as this value exists, this thread blocks signals that would end the process. Signals that arrive in this
/// time take effect when the value is dropped.
///
/// If this value is dropped without a call of [`Held::release`], a step of the work has failed. In this case, a pending
/// `SIGXFSZ` has no effect, because the failed write has already reported the error.
pub(crate) struct Held {
    /// The previous signal mask; `None` if the mask could not be changed.
    before: Option<SigSet>,
    /// Whether all steps succeeded.
    released: bool,
}

impl Held {
    /// Blocks the signals from now on.
    pub(crate) fn new() -> Self {
        let ending: SigSet = ENDING.into_iter().collect();
        Self { before: ending.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok(), released: false }
    }

    /// Unblocks the signals after all steps of the work have succeeded.
    pub(crate) fn release(mut self) {
        self.released = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        if !self.released && !before.contains(Signal::SIGXFSZ) {
            let told: SigSet = [Signal::SIGXFSZ].into_iter().collect();
            let pending = SignalFd::with_flags(&told, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
            _ = pending.and_then(|pending| pending.read_signal());
        }
        _ = before.thread_set_mask();
    }
}
