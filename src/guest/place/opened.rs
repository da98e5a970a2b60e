//! Whether systemd can open what was sent encrypted: asked of `systemd-creds`, which has the key or reaches the TPM.

use std::ffi::CString;

use crate::guest::system::System;
use crate::guest::verify::delivery::Delivery;
use crate::guest::verify::finding::{Finding, FindingKind, Severity};
use crate::guest::verify::findings::Findings;
use crate::guest::verify::sealed_finding::SealedFinding;
use crate::sys::child;
use crate::sys::directory::user;
use crate::trust::sealed::Sealed;

/// A finding for each encrypted credential that cannot be opened on this machine: it is for another key or another TPM, has
/// another name inside, or is no longer valid. None where that cannot be known: without `systemd-creds`, or without the
/// permission to use the key.
///
/// No value comes to this process: what `systemd-creds` opens goes to `/dev/null`.
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

/// Whether `systemd-creds` opens a blob; `None` if it cannot be asked.
fn opens(Sealed { name, blob }: &Sealed) -> Option<bool> {
    let name = CString::new(format!("--name={}", name.as_str())).ok()?;
    child::succeeds(&[c"systemd-creds", c"decrypt", &name, c"-", c"-"], blob.text().as_bytes())
}
