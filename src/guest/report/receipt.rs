//! Sends the receipt, which tells the host how an import ended, if the host requested one. If the receipt cannot be
//! sent, the import does not fail.
//!
//! A host requests a receipt with an OEM string ([`crate::format::receipt`]). Without this string, the host gets one
//! line of text for people, if the credential `vmm.notify_socket` contains the address of a vsock port of the host. PID
//! 1 sends its own notifications to the same port (systemd(1)).

use std::time::{Duration, Instant};

use crate::format::receipt::{Address, BootId, HOST_CID, Receipt, Status};
use crate::format::systemd::NOTIFY_SOCKET;
use crate::guest::imported::{Closing, Imported};
use crate::guest::system::System;
use crate::guest::verify::delivery::{Asked, Delivery, Tally};
use crate::guest::verify::finding::Severity;
use crate::sys::Errno;
use crate::sys::socket::connect_vsock;
use crate::text::help::Help as _;
use crate::text::listing::count;

/// Time limit for a connection to the host, from its start to its end.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Sends the result of an import to the host, if the host requested it.
pub(in crate::guest) fn send(system: &System, imported: &Imported) {
    let status = Status::new(&format!("smbios-creds: {}", in_words(imported)));
    if let Some(Asked { address, .. }) = &imported.delivery.asked {
        told(*address, deliver(*address, &receipt(system, imported, status).encode(), true));
    } else if let Some(address) = notify_socket(&imported.delivery) {
        told(address, deliver(address, &status.encode(), false));
    }
}

/// Makes the receipt of an import.
#[must_use]
pub fn receipt(system: &System, imported: &Imported, status: Status) -> Receipt {
    let delivery = &imported.delivery;
    let Tally { expected, verified } = delivery.tally;
    let boot = std::fs::read(system.path("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    Receipt {
        status,
        exit: imported.ended() as u8,
        expected: expected as u64,
        verified: verified as u64,
        boot: BootId::new(boot.trim_ascii_end()),
        proof: delivery.asked.as_ref().and_then(|asked| asked.proof.clone()),
    }
}

/// Returns one line that says how an import ended. The line contains no value.
#[must_use]
pub fn in_words(imported: &Imported) -> String {
    let Imported { delivery, placed, closing } = imported;
    let error = delivery.findings.iter().find(|finding| finding.severity == Severity::Error);
    let Tally { expected, verified } = delivery.tally;
    match (error, placed, closing) {
        (Some(finding), ..) => finding.to_string(),
        (None, Err(error), _) => error.on_one_line(),
        (None, Ok(_), Closing::Failed(error)) => error.on_one_line(),
        (None, Ok(_), _) if delivery.proof.is_proven() => {
            format!("{verified} of {expected} credentials verified")
        }
        (None, Ok(_), _) => {
            format!("{} imported, but {}", count(verified, "credential"), delivery.proof)
        }
    }
}

/// Returns the address in the credential `vmm.notify_socket`; `None` if this credential is missing, or its content is
/// not the address of a vsock port of the host.
fn notify_socket(delivery: &Delivery) -> Option<Address> {
    let credential = delivery.intact().find(|credential| credential.name.as_str() == NOTIFY_SOCKET)?;
    Address::decode(credential.value.expose()).ok()
}

/// The action that failed while a message was sent, and the kernel's error.
type Failure = (&'static str, Errno);

/// Sends a message. If `is_awaited` is true, also waits until the host has read the message.
fn deliver(address: Address, message: &[u8], is_awaited: bool) -> Result<(), Failure> {
    let deadline = Instant::now() + TIMEOUT;
    let stream = connect_vsock(HOST_CID, address.port(), deadline).map_err(|error| ("connect", error))?;
    let failed = |error| ("send it", error);
    stream.send(message, deadline).map_err(failed)?;
    match stream.finish() {
        Err(error) if !is_closed(error) => return Err(failed(error)),
        _ if !is_awaited => return Ok(()),
        _ => {}
    }
    // The host's answer is ignored: the host closes the stream when it has received the message.
    match stream.receive(&mut [0; 1], deadline) {
        Err(error) if !is_closed(error) => Err(("confirm that the host read the message", error)),
        _ => Ok(()),
    }
}

/// Whether this error means that the host closed the stream. The host may close the stream before this program closes
/// it, which is not a failure.
fn is_closed(error: Errno) -> bool {
    matches!(error, Errno::ENOTCONN | Errno::ECONNRESET | Errno::EPIPE)
}

fn told(address: Address, result: Result<(), Failure>) {
    match result {
        Ok(()) => tracing::info!("the result of the import was sent to the host ({address})"),
        Err((action, error)) => tracing::warn!(
            help = "start a listener on the host (smbios-creds-host await), and in the guest load the kernel's module \
                    vmw_vsock_virtio_transport before the import",
            "the host may not know how the import ended: cannot {action} ({address}): {}",
            error.desc()
        ),
    }
}
