//! The log messages of an import.

use std::path::Path;

use super::listing::{sealed, summary};
use crate::format::smbios::machine::Machine;
use crate::guest::place::outcome::{Outcome, Repair, Storage};
use crate::guest::verify::delivery::Delivery;
use crate::guest::verify::finding::{Finding, Severity};
use crate::text::escape::Escaped;
use crate::text::listing;

/// Logs every finding of a delivery, at the level of its severity.
pub fn findings(delivery: &Delivery) {
    these(&delivery.findings, &delivery.machine);
    tracing::debug!(strings = delivery.foreign, "OEM strings of other programs were not read");
}

/// Logs the given findings, each at the level of its severity.
pub(in crate::guest) fn these(findings: &[Finding], machine: &Machine) {
    for finding in findings {
        let advice = finding.advice(machine);
        match finding.severity {
            Severity::Error => tracing::error!(help = %advice, "{finding}"),
            Severity::Warning => tracing::warn!(help = %advice, "{finding}"),
            Severity::Note => tracing::info!(help = %advice, "{finding}"),
        }
    }
}

/// Logs the directory of the place that was chosen for the credentials, and the reason for the choice.
pub(in crate::guest) fn choice(directory: &Path, reason: &str) {
    tracing::info!("credentials go to {}: {reason}", Escaped::from(directory));
}

/// Logs what the import did in the directory of the plain credentials.
pub(in crate::guest) fn outcome(directory: &Path, outcome: &Outcome, delivery: &Delivery) {
    let shown = Escaped::from(directory);
    match outcome {
        Outcome::Unchanged | Outcome::Materialized(Storage::Memory) => {}
        Outcome::Materialized(Storage::Swappable) => {
            tracing::warn!(
                "values in {shown} can get into the swap space: this kernel has neither tmpfs with 'noswap' nor ramfs"
            );
        }
        Outcome::Materialized(Storage::Disk) => {
            tracing::warn!(
                "{shown} is on a disk: the values stay there in plain text until they are removed"
            );
        }
        Outcome::Repaired(Repair { repaired, foreign }) => {
            for repaired in repaired {
                tracing::warn!("repaired credential {repaired}");
            }
            for name in foreign {
                tracing::error!(
                    help = "send it only once",
                    "credential {name}: {shown} contains another value, which did not come from SMBIOS (most likely \
                     from fw_cfg), and it was not changed"
                );
            }
            if !foreign.is_empty() {
                return;
            }
        }
    }
    tracing::info!("{}", placed(directory, outcome, delivery));
}

/// Logs what the import did with the encrypted credentials.
pub(in crate::guest) fn encrypted(directory: &Path, outcome: Option<&Outcome>, delivery: &Delivery) {
    let (shown, sealed) = (Escaped::from(directory), sealed(delivery));
    match outcome {
        None => {}
        Some(Outcome::Unchanged) => tracing::info!("nothing to do: {shown} already contains {sealed}"),
        Some(_) => tracing::info!("written to {shown}, for systemd to decrypt: {sealed}"),
    }
}

/// Logs how many credentials were removed from `/run/credentials/@initrd`.
pub(in crate::guest) fn cleared(credentials: usize) {
    if credentials > 0 {
        tracing::info!(
            "{credentials} duplicates that systemd did not need were removed from /run/credentials/@initrd"
        );
    }
}

/// Logs how many files of the sources were closed (set to mode 0000).
pub(in crate::guest) fn closed(files: usize) {
    let files = listing::count(files, "file");
    tracing::info!(
        "closed {files} below /sys/firmware (mode 0000); to make them readable again, run 'chmod 400' as root"
    );
}

/// Returns one line that says how a set was written, for the log and the report.
pub(in crate::guest) fn placed(directory: &Path, outcome: &Outcome, delivery: &Delivery) -> String {
    let shown = Escaped::from(directory);
    let sent = delivery.intact().count();
    match outcome {
        Outcome::Unchanged if sent == 0 && delivery.intact_sealed().next().is_some() => {
            format!("no plain credential was sent, {}", sealed(delivery))
        }
        Outcome::Unchanged if sent == 0 => "there is no credential to import".to_owned(),
        Outcome::Unchanged => format!("nothing to do: {shown} already contains every credential"),
        Outcome::Materialized(_) => format!("imported into {shown}: {}", summary(delivery)),
        Outcome::Repaired(repair) => {
            format!("repaired in {shown}: {} of {sent} credentials", repair.repaired.len())
        }
    }
}
