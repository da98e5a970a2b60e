//! The subcommand `await`: waits for a guest's receipt.

use clap::CommandFactory as _;

use super::args::Host;
use super::receipt::Await;
use crate::cli::exit::Exit;
use crate::cli::usage;
use crate::format::receipt::Receipt;
use crate::host::await_receipt::{Answer, Wait, await_receipt};
use crate::host::listen::Socket;

/// Waits for a guest's receipt, and compares it with the verifier.
pub(super) fn run(options: Await) -> anyhow::Result<Exit> {
    if let Some(error) = misfit(&options) {
        return Ok(usage::print(&error, None));
    }
    let Await { listen: socket, guest_cid, timeout, verifier, no_proof: _ } = options;
    let proven = if verifier.is_some() { "proven" } else { "unproven" };
    let Answer { receipt: Receipt { status, boot, .. }, objection } =
        await_receipt(&Wait { socket, guest_cid, timeout, verifier })?;
    let boot = boot.map(|boot| format!(", boot {boot}")).unwrap_or_default();
    Ok(match objection {
        None => {
            tracing::info!(
                "the guest has every credential that was sent ({proven}{boot}), and reports: {status}"
            );
            Exit::Ok
        }
        Some(objection) => {
            tracing::error!(
                "the guest does not have every credential that was sent: {objection}{boot}; it reports: {status}"
            );
            Exit::Verification
        }
    })
}

/// Returns an error if these options cannot be used together.
fn misfit(options: &Await) -> Option<clap::Error> {
    let message = match (&options.listen, options.guest_cid) {
        (Socket::Vsock(_), None) => {
            "--listen vsock:PORT needs --guest-cid CID, because every machine of the host can connect to the port"
        }
        (Socket::Unix(_), Some(_)) => "--guest-cid needs --listen vsock:PORT: a Unix socket has no CID",
        _ => return None,
    };
    Some(Host::command().error(clap::error::ErrorKind::ArgumentConflict, message))
}
