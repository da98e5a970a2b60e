//! What an import tells the log as it goes.

use std::path::Path;

use super::listing::summary;
use crate::format::credential::Name;
use crate::guest::place::outcome::{Outcome, Repair, Storage};
use crate::guest::verify::delivery::Delivery;
use crate::guest::verify::finding::Severity;
use crate::text::escape::Escaped;

/// Every finding of a delivery, at its own level.
pub fn findings(delivery: &Delivery) {
    for finding in &delivery.findings {
        let advice = finding.advice(&delivery.machine);
        match finding.severity {
            Severity::Error => tracing::error!("{finding}: {advice}"),
            Severity::Warning => tracing::warn!("{finding}: {advice}"),
            Severity::Note => tracing::info!("{finding}: {advice}"),
        }
    }
    tracing::debug!(strings = delivery.foreign, "OEM strings of other programs were not read");
}

/// Which place was chosen, and why.
pub(in crate::guest) fn choice(directory: &Path, reason: &str) {
    tracing::info!("credentials go to {}: {reason}", Escaped::from(directory));
}

/// What was done to the directory.
pub(in crate::guest) fn outcome(directory: &Path, outcome: &Outcome, delivery: &Delivery) {
    let shown = Escaped::from(directory);
    match outcome {
        Outcome::Unchanged | Outcome::Materialized(Storage::Memory) => {}
        Outcome::Materialized(Storage::Swappable) => {
            tracing::warn!("{shown} can be swapped: this kernel has neither tmpfs with 'noswap' nor ramfs");
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
                    "credential {name}: {shown} has another value, which SMBIOS did not bring (fw_cfg, most likely), \
                     and it was left alone: send it once"
                );
            }
            if !foreign.is_empty() {
                return;
            }
        }
    }
    tracing::info!("{}", placed(directory, outcome, delivery));
}

/// A credential is in its place, and its only readers do not look there in this boot.
pub(in crate::guest) fn ineffective(directory: &Path, name: &Name) {
    tracing::warn!(
        "credential {name}: not effective in this boot. Only PID 1 and generators read it, and they do not look into {}: \
         enable smbios-creds-initrd.service in the initramfs, or load the kernel module dmi-sysfs there",
        Escaped::from(directory)
    );
}

/// A credential was not put into the directory that the initrd hands over.
pub(in crate::guest) fn not_handed_over(directory: &Path, name: &Name) {
    tracing::warn!(
        "credential {name}: not written to {}, where systemd ignores names that start with a dot and leaves them in plain \
         text: run 'smbios-creds import' in the host stage too, or send it under another name",
        Escaped::from(directory)
    );
}

/// What was removed from the directory that the initrd hands over.
pub(in crate::guest) fn cleared(credentials: usize) {
    if credentials > 0 {
        tracing::info!(
            "{credentials} duplicates that systemd did not take over were removed from /run/credentials/@initrd"
        );
    }
}

/// What became of a set, on one line, for the log and the report.
pub(in crate::guest) fn placed(directory: &Path, outcome: &Outcome, delivery: &Delivery) -> String {
    let shown = Escaped::from(directory);
    let sent = delivery.intact().count();
    match outcome {
        Outcome::Unchanged if sent == 0 => "there is no credential to materialize".to_owned(),
        Outcome::Unchanged => format!("nothing to do: {shown} holds every credential already"),
        Outcome::Materialized(_) => format!("materialized in {shown}: {}", summary(delivery)),
        Outcome::Repaired(repair) => {
            format!("repaired in {shown}: {} of {sent} credentials", repair.repaired.len())
        }
    }
}
