//! Waits for the receipt that a guest sends after its import.
//!
//! Any program in the guest may connect to the socket and send any bytes. So the size of a message and the time for
//! each stream (connection) are limited. This program never shows a message that is not a receipt, and shows the text
//! of a receipt escaped. A message that is not a receipt does not end the wait, and does not delay a receipt: all
//! streams are read at the same time.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::listen::{ListenError, Listening, Socket};
use super::verifier::{self, VerifierFileError};
use crate::format::receipt::{MESSAGE_MAX, Receipt, Verifier};
use crate::sys::Errno;
use crate::sys::socket::Stream;
use crate::text::help::Help;
use crate::text::listing::count;

/// Maximum number of streams that are read at the same time. If more streams are open, the oldest stream is closed.
const STREAMS_MAX: usize = 64;

/// Longest time from a connection until its whole receipt has arrived. After this time, the stream is closed. This
/// project's guest agent sends the whole receipt immediately.
const STREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of streams without a valid receipt for which a warning is logged. A guest must not be able to fill
/// the host's log.
const TOLD_MAX: usize = 8;

/// How to wait for a receipt.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The socket at which the receipt arrives.
    pub socket: Socket,
    /// The CID of the guest, which is its address for `AF_VSOCK`. If a CID is set, streams from machines with another
    /// CID are closed without reading them.
    pub guest_cid: Option<u32>,
    /// Longest time to wait for the receipt.
    pub timeout: Duration,
    /// File with the verifier. With the verifier, this program checks the receipt's proof that the guest has the values
    /// that were sent. If `None`, the receipt needs no proof, and a proof in it is not checked.
    pub verifier: Option<PathBuf>,
}

/// A guest's receipt, and what is wrong with it.
#[derive(Debug)]
pub struct Answer {
    /// The guest's receipt.
    pub receipt: Receipt,
    /// Why the receipt does not show that the guest has the credentials that were sent. `None` if the host found
    /// nothing wrong with the receipt.
    pub objection: Option<Objection>,
}

/// Why a receipt does not show that the guest has the credentials that were sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Objection {
    /// The import failed in the guest.
    #[error("the guest's import ended with exit code {0}")]
    Failed(u8),
    /// In the guest, fewer credentials arrived intact than were sent.
    #[error("{verified} of {expected} credentials arrived intact")]
    Fewer {
        /// Number of credentials that arrived intact.
        verified: u64,
        /// Number of credentials that were sent.
        expected: u64,
    },
    /// The guest reports success, but sends no proof that it has the values, although [`Wait::verifier`] requires a
    /// proof.
    #[error("the guest sent no proof that it has the values")]
    Unproven,
    /// The guest reports success, but its proof is wrong: at least one value in the guest differs from the value that
    /// was sent.
    #[error("the guest's proof is wrong: at least one of its values is not the one that was sent")]
    WrongProof,
}

/// Why this program received no receipt, or could not check the receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwaitError {
    /// No guest can send a receipt: this process cannot listen on the socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No receipt arrived in time.
    #[error(
        "no receipt arrived at {socket} within {} seconds{}: the guest did not reach its import, or cannot connect \
         to this socket",
        .timeout.as_secs(),
        besides(*.others)
    )]
    Timeout {
        /// The socket at which the receipt should have arrived.
        socket: Socket,
        /// Length of the wait.
        timeout: Duration,
        /// Number of streams that did not bring a receipt.
        others: usize,
    },
    /// The verifier cannot be read, so the proof cannot be checked.
    #[error("{0}")]
    Verifier(VerifierFileError),
    /// A system call failed.
    #[error("cannot receive from {socket}: {}", .error.desc())]
    System {
        /// The socket on which this process listens.
        socket: Socket,
        /// The kernel's error.
        error: Errno,
    },
}

impl Help for AwaitError {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Listen(error) => error.help(),
            Self::Timeout { .. } => Some("read the guest's console".into()),
            Self::Verifier(_) => {
                Some("use --verifier with the file that 'run --verifier' or 'emit --verifier' wrote".into())
            }
            Self::System { .. } => None,
        }
    }
}

fn besides(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(" ({} sent no receipt)", count(others, "connection")),
    }
}

/// Waits until the first valid receipt arrives. Later receipts are not read.
///
/// # Errors
/// [`AwaitError`] says why no receipt was received, or why the receipt cannot be checked.
pub fn await_receipt(wait: &Wait) -> Result<Answer, AwaitError> {
    let deadline = Instant::now() + wait.timeout;
    let listening = Listening::to(&wait.socket)?;
    tracing::debug!("listening on {}", wait.socket);
    let mut streams = VecDeque::new();
    let mut others = 0;
    let tell = |others: &mut usize, reason: &str| {
        *others += 1;
        if *others <= TOLD_MAX {
            tracing::warn!("a connection to {} sent no valid receipt: {reason}", wait.socket);
        }
    };
    loop {
        let until = streams.iter().map(|reading: &Reading| reading.deadline).min();
        let until = until.map_or(deadline, |until| until.min(deadline));
        match listening.accept(streams.iter().map(|reading| &reading.stream), until) {
            Ok(Some(stream)) => streams.push_back(Reading::new(stream)),
            Err(Errno::ETIMEDOUT) if Instant::now() >= deadline => {
                let (socket, timeout) = (wait.socket.clone(), wait.timeout);
                return Err(AwaitError::Timeout { socket, timeout, others: others + streams.len() });
            }
            Ok(None) | Err(Errno::ETIMEDOUT) => {}
            Err(error) => return Err(AwaitError::System { socket: wait.socket.clone(), error }),
        }
        let mut index = 0;
        while let Some(reading) = streams.get_mut(index) {
            let Some(read) = reading.read(wait.guest_cid) else {
                index += 1;
                continue;
            };
            streams.remove(index);
            match read {
                Ok(receipt) => return answer(wait, receipt),
                Err(reason) => tell(&mut others, &reason),
            }
        }
        if streams.len() > STREAMS_MAX {
            streams.pop_front();
            tell(&mut others, "too many other connections are open");
        }
    }
}

/// Compares a receipt with the credentials that were sent.
fn answer(wait: &Wait, receipt: Receipt) -> Result<Answer, AwaitError> {
    let verifier = wait.verifier.as_deref().map(verifier::read).transpose();
    let verifier = verifier.map_err(AwaitError::Verifier)?;
    let objection = objection(&receipt, verifier.as_ref());
    Ok(Answer { receipt, objection })
}

/// Returns what is wrong with a receipt. `verifier` checks the receipt's proof. If it is `None`, no proof is needed.
fn objection(receipt: &Receipt, verifier: Option<&Verifier>) -> Option<Objection> {
    let Receipt { exit, verified, expected, ref proof, .. } = *receipt;
    if exit != 0 {
        return Some(Objection::Failed(exit));
    }
    if verified < expected {
        return Some(Objection::Fewer { verified, expected });
    }
    match (verifier?, proof) {
        (_, None) => Some(Objection::Unproven),
        (verifier, Some(proof)) => (!verifier.accepts(proof)).then_some(Objection::WrongProof),
    }
}

/// A stream, and the bytes received from it.
struct Reading {
    stream: Stream,
    deadline: Instant,
    /// The received bytes. The buffer never grows, because growing would leave a copy of the bytes in memory that is
    /// not wiped.
    buffer: Zeroizing<Vec<u8>>,
    length: usize,
}

impl Reading {
    fn new(stream: Stream) -> Self {
        // The buffer has room for one more byte than a message may have, so that a longer message is noticed.
        let buffer = Zeroizing::new(vec![0; MESSAGE_MAX + 1]);
        Self { stream, deadline: Instant::now() + STREAM_TIMEOUT, buffer, length: 0 }
    }

    /// Reads the bytes that have arrived. Returns the receipt, or the reason why the stream does not bring a valid
    /// receipt. Returns `None` if the receipt is not complete yet, and more bytes may follow.
    fn read(&mut self, guest_cid: Option<u32>) -> Option<Result<Receipt, String>> {
        if let Some(cid) = guest_cid
            && self.stream.peer_cid() != Some(cid)
        {
            return Some(Err("the connection is from another machine".to_owned()));
        }
        loop {
            let room = self.buffer.get_mut(self.length..).unwrap_or_default();
            let received = match self.stream.receive(room, Instant::now()) {
                Ok(received) => received,
                Err(Errno::ETIMEDOUT) if Instant::now() < self.deadline => return None,
                Err(Errno::ETIMEDOUT) => return Some(Err("the connection did not end in time".to_owned())),
                Err(error) => return Some(Err(error.desc().to_owned())),
            };
            self.length += received;
            let message = self.buffer.get(..self.length).unwrap_or_default();
            if received == 0 || self.length > MESSAGE_MAX || Receipt::is_whole(message) {
                return Some(Receipt::decode(message).map_err(|error| error.to_string()));
            }
        }
    }
}
