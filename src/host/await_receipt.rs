//! Waiting for the receipt of a guest.
//!
//! Whatever runs in the guest may connect, and may send anything. So each stream has a limit of bytes and of time, nothing
//! of a message that is no receipt is shown, and the text of a receipt is shown escaped. What is no receipt does not end
//! the wait, and keeps no receipt from being read: all streams are read at the same time.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::listen::{ListenError, Listening, Socket};
use super::verifier::{self, VerifierFileError};
use crate::format::receipt::{MESSAGE_MAX, Receipt, Verifier};
use crate::sys::Errno;
use crate::sys::socket::Stream;
use crate::text::listing::count;

/// Most streams that are read at a time. Another one takes the place of the first.
const STREAMS_MAX: usize = 64;

/// How long one stream may take. The guest of this program sends everything at once.
const STREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// Most streams without a receipt that are told of, one by one. A guest must not fill the host's log.
const TOLD_MAX: usize = 8;

/// What is waited for.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Where it arrives.
    pub socket: Socket,
    /// The CID of the guest. Streams of other machines are not read.
    pub guest_cid: Option<u32>,
    /// How long.
    pub timeout: Duration,
    /// File with the verifier of what was sent; `None` if a receipt is believed without a proof.
    pub verifier: Option<PathBuf>,
}

/// What a guest says, and whether that is what it should say.
#[derive(Debug)]
pub struct Answer {
    /// Its own words.
    pub receipt: Receipt,
    /// Why they are not good enough; `None` if the guest has what was sent, as far as that can be known.
    pub objection: Option<Objection>,
}

/// Why a receipt does not say that the guest has what was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Objection {
    /// The import failed.
    #[error("its import ended with exit code {0}")]
    Failed(u8),
    /// Fewer credentials are intact than were sent.
    #[error("{verified} of {expected} credentials arrived intact")]
    Fewer {
        /// How many are intact.
        verified: u64,
        /// How many were sent.
        expected: u64,
    },
    /// It claims success, and sends no proof.
    #[error("it sent no proof that it has the values")]
    Unproven,
    /// It claims success, and its proof is another one: at least one value differs from the one that was sent.
    #[error("its proof is wrong: it does not have the values that were sent, byte for byte")]
    WrongProof,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwaitError {
    /// Nobody can send a receipt.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// None came in time.
    #[error(
        "no receipt arrived at {socket} within {} seconds{}; look at the guest's console: it did not get as far as its import, \
         or it cannot reach this socket",
        .timeout.as_secs(),
        besides(*.others)
    )]
    Timeout {
        /// Where it should have arrived.
        socket: Socket,
        /// How long it was waited for.
        timeout: Duration,
        /// How many streams had none.
        others: usize,
    },
    /// What was sent is not known.
    #[error("{0}; 'run --receipt' and 'emit --receipt' write it")]
    Verifier(VerifierFileError),
    /// The kernel refuses.
    #[error("cannot receive from {socket}: {}", .error.desc())]
    System {
        /// Where.
        socket: Socket,
        /// What the kernel says.
        error: Errno,
    },
}

fn besides(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(" ({} brought none)", count(others, "connection")),
    }
}

/// Waits for a receipt. The first one counts.
///
/// # Errors
/// [`AwaitError`] says why there is none.
pub fn await_receipt(wait: &Wait) -> Result<Answer, AwaitError> {
    let deadline = Instant::now() + wait.timeout;
    let listening = Listening::to(&wait.socket)?;
    tracing::debug!("listens to {}", wait.socket);
    let mut streams = VecDeque::new();
    let mut others = 0;
    let tell = |others: &mut usize, reason: &str| {
        *others += 1;
        if *others <= TOLD_MAX {
            tracing::warn!("a connection to {} brought no receipt: {reason}", wait.socket);
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
            tell(&mut others, "too many others are open");
        }
    }
}

/// Holds a receipt against what was sent.
fn answer(wait: &Wait, receipt: Receipt) -> Result<Answer, AwaitError> {
    let verifier = wait.verifier.as_deref().map(verifier::read).transpose();
    let verifier = verifier.map_err(AwaitError::Verifier)?;
    let objection = objection(&receipt, verifier.as_ref());
    Ok(Answer { receipt, objection })
}

/// What is wrong with a receipt. The verifier is that of what was sent.
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

/// A stream, and what was received from it.
struct Reading {
    stream: Stream,
    deadline: Instant,
    /// Never grown: grown means copied, and the copy is not wiped.
    buffer: Zeroizing<Vec<u8>>,
    length: usize,
}

impl Reading {
    fn new(stream: Stream) -> Self {
        // One byte more than a message has tells that there is more.
        let buffer = Zeroizing::new(vec![0; MESSAGE_MAX + 1]);
        Self { stream, deadline: Instant::now() + STREAM_TIMEOUT, buffer, length: 0 }
    }

    /// Reads what is there: a receipt, or why there is none in it. `None` if the rest may follow.
    fn read(&mut self, guest_cid: Option<u32>) -> Option<Result<Receipt, String>> {
        if let Some(cid) = guest_cid
            && self.stream.peer_cid() != Some(cid)
        {
            return Some(Err("it is from another machine".to_owned()));
        }
        loop {
            let room = self.buffer.get_mut(self.length..).unwrap_or_default();
            let received = match self.stream.receive(room, Instant::now()) {
                Ok(received) => received,
                Err(Errno::ETIMEDOUT) if Instant::now() < self.deadline => return None,
                Err(Errno::ETIMEDOUT) => return Some(Err("it did not end in time".to_owned())),
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
