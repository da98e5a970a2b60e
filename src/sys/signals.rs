//! Signals that end the process, held while something half-done is on its way.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that end a process by default, and that can come from outside. `SIGXFSZ` comes from a write above the limit
/// for files (setrlimit(2)): held, the write fails with `EFBIG`.
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

/// Holds the signals of this thread that would end the process, for as long as it lives. Then they take effect.
///
/// If it is dropped without [`Held::release`], something has failed, and a `SIGXFSZ` has no effect: the write that it
/// came from has told already.
pub(crate) struct Held {
    /// What was held before; `None` if nothing could be changed.
    before: Option<SigSet>,
    /// Whether all was done that was to be done.
    released: bool,
}

impl Held {
    /// Holds them from now on.
    pub(crate) fn new() -> Self {
        let ending: SigSet = ENDING.into_iter().collect();
        Self { before: ending.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok(), released: false }
    }

    /// Lets them take effect after a success.
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
