//! Waiting for the receipt of a guest.
//!
//! Whatever runs in the guest may connect, and may send anything. So each stream has a limit of bytes and of time, nothing
//! of a message that is no receipt is shown, and the text of a receipt is shown escaped. What is no receipt does not end
//! the wait.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::listen::{ListenError, Listening, Socket};
use super::verifier::{self, VerifierFileError};
use crate::format::receipt::{MESSAGE_MAX, Receipt, Verifier};
use crate::sys::Errno;
use crate::sys::socket::Stream;
use crate::text::listing::count;

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
    let mut others = 0;
    loop {
        let stream = listening.accept(deadline).map_err(|error| match error {
            Errno::ETIMEDOUT => {
                AwaitError::Timeout { socket: wait.socket.clone(), timeout: wait.timeout, others }
            }
            error => AwaitError::System { socket: wait.socket.clone(), error },
        })?;
        match receipt(&stream, wait.guest_cid, deadline.min(Instant::now() + STREAM_TIMEOUT)) {
            Ok(receipt) => {
                let verifier = wait.verifier.as_deref().map(verifier::read).transpose();
                let verifier = verifier.map_err(AwaitError::Verifier)?;
                let objection = objection(&receipt, verifier.as_ref());
                return Ok(Answer { receipt, objection });
            }
            Err(reason) => {
                others += 1;
                if others <= TOLD_MAX {
                    tracing::warn!("a connection to {} brought no receipt: {reason}", wait.socket);
                }
            }
        }
    }
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

/// Reads a receipt from a stream, or says why there is none in it.
fn receipt(stream: &Stream, guest_cid: Option<u32>, deadline: Instant) -> Result<Receipt, String> {
    if let Some(cid) = guest_cid
        && stream.peer_cid() != Some(cid)
    {
        return Err("it is from another machine".to_owned());
    }
    // One byte more than a message has tells that there is more.
    let mut buffer = Zeroizing::new([0; MESSAGE_MAX + 1]);
    let mut length = 0;
    loop {
        let room = buffer.get_mut(length..).unwrap_or_default();
        let received = match stream.receive(room, deadline) {
            Err(Errno::ETIMEDOUT) => return Err("it did not end in time".to_owned()),
            result => result.map_err(|error| error.desc().to_owned())?,
        };
        length += received;
        let message = buffer.get(..length).unwrap_or_default();
        if received == 0 || length > MESSAGE_MAX || Receipt::is_whole(message) {
            return Receipt::decode(message).map_err(|error| error.to_string());
        }
    }
}
