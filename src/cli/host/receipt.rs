//! The options that request a receipt, and the options of `await`. The doc comments of the options are their `--help`
//! texts.
#![expect(clippy::doc_markdown, reason = "help text is not Markdown")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::format::receipt::Address;
use crate::host::listen::Socket;
use crate::host::strings::OemStrings;
use crate::host::verifier::{self, VerifierFileError};

/// Longest time to wait, in seconds (one day).
const TIMEOUT_MAX: u64 = 86_400;

/// The options that ask a guest for a receipt.
#[derive(Args, Debug)]
pub struct Ask {
    /// Ask the guest to report to this vsock port of its host how its import ended; 'await' listens on the port
    #[arg(long, value_name = "PORT", value_parser = port)]
    pub(super) receipt: Option<Address>,

    /// File to write the verifier to; with it, 'await' checks the proof that the guest has every value
    #[arg(long, value_name = "FILE", requires = "receipt")]
    pub(super) verifier: Option<PathBuf>,
}

/// If `--verifier` was given, writes the verifier of these strings to its file. `await` uses this file to check the
/// receipt.
pub(super) fn write_verifier(path: Option<&Path>, strings: &OemStrings) -> Result<(), VerifierFileError> {
    match (path, strings.verifier()) {
        (Some(path), Some(verifier)) => verifier::write(path, verifier),
        _ => Ok(()),
    }
}

fn port(text: &str) -> Result<Address, String> {
    let port = text.parse().map_err(|_| "it is not a number".to_owned())?;
    Address::new(port).map_err(|error| error.to_string())
}

/// The arguments of the subcommand `await`.
#[derive(Args, Debug)]
#[command(
    group = clap::ArgGroup::new("belief").required(true).args(["verifier", "no_proof"]),
    after_help = "Only the first receipt counts. Exit status: 0 the guest has every credential that was sent; 3 it \
                  does not, and the error says why; 1 no receipt arrived in time. As ExecStartPost= of the unit that \
                  starts a machine, it lets the start fail if the machine does not have its secrets.\n\nExamples:\n  \
                  smbios-creds-host run --all --receipt 8889 --verifier /run/vm/verifier -- cloud-hypervisor --vsock \
                  cid=3,socket=/run/vm/vsock ...\n  smbios-creds-host await --listen unix:/run/vm/vsock_8889 \
                  --verifier /run/vm/verifier\n  smbios-creds-host await --listen vsock:8889 --guest-cid 3 \
                  --verifier /run/vm/verifier --timeout 5min"
)]
pub struct Await {
    /// Address to listen on: vsock:PORT (QEMU, crosvm), or unix:SOCKET_PORT, where SOCKET is the socket of
    /// cloud-hypervisor's --vsock
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Socket,

    /// CID of the guest, required with vsock:PORT because every machine of the host can connect to the port
    #[arg(long, value_name = "CID", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) guest_cid: Option<u32>,

    /// How long to wait: 90, 90s or 5min
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = timeout)]
    pub(super) timeout: Duration,

    /// Verifier file that 'run' or 'emit' wrote for this machine
    #[arg(long, value_name = "FILE")]
    pub(super) verifier: Option<PathBuf>,

    /// Accept a receipt without a proof
    #[arg(long)]
    pub(super) no_proof: bool,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("min") {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match seconds {
        Some(seconds @ 1..=TIMEOUT_MAX) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("it is not a time from 1s to {TIMEOUT_MAX}s, for example 90s or 5min")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_seconds_or_minutes_up_to_a_day() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("5min", 300), ("86400", 86_400)] {
            assert_eq!(timeout(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "s", "-1", "86401", "1441min", "1h", "18446744073709551615min"] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }
}
