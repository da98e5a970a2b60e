//! Checks whether systemd can decrypt the encrypted credentials. The check runs `systemd-creds`, which can read the
//! machine's key or use the TPM.

use std::ffi::CString;

use crate::guest::system::System;
use crate::guest::verify::delivery::Delivery;
use crate::guest::verify::finding::{Finding, FindingKind, Severity};
use crate::guest::verify::findings::Findings;
use crate::guest::verify::sealed_finding::SealedFinding;
use crate::sys::child;
use crate::sys::stat::user;
use crate::trust::sealed::Sealed;

/// Returns a finding for each encrypted credential that this machine cannot decrypt. Possible causes: the credential
/// was encrypted for another key or TPM, was encrypted with another name, or is no longer valid. Returns no findings if
/// systemd is not PID 1, if this process does not run as root, or if `systemd-creds` cannot be run.
///
/// The check reads no decrypted value: `systemd-creds` writes the decrypted credentials to `/dev/null`.
#[must_use]
pub fn findings(system: &System, delivery: &Delivery) -> Findings {
    let mut findings = Findings::default();
    if !system.is_booted_with_systemd() || user() != 0 {
        return findings;
    }
    for entry in &delivery.sealed {
        if entry.intact().is_ok_and(|sealed| opens(sealed) == Some(false)) {
            let (credential, origin) = (entry.name.clone(), Some(entry.origin.clone()));
            let (kind, severity) = (FindingKind::Sealed(SealedFinding::CannotOpen), Severity::Error);
            findings.push(Finding { kind, severity, credential, origin, more: 0 });
        }
    }
    findings
}

/// Whether `systemd-creds` can decrypt a blob; `None` if `systemd-creds` cannot be run.
fn opens(Sealed { name, blob }: &Sealed) -> Option<bool> {
    let name = CString::new(format!("--name={}", name.as_str())).ok()?;
    child::succeeds(&[c"systemd-creds", c"decrypt", &name, c"-", c"-"], blob.text().as_bytes())
}
