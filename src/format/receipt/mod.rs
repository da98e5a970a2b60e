//! The receipt: what a guest tells its host about an import. Written and read here, side by side.
//!
//! The host asks for it with one OEM string, `io.smbios-creds.receipt:vsock-stream:2:PORT`. The guest connects to that
//! address and sends one message in the form of `sd_notify(3)`, a `KEY=VALUE` a line:
//!
//! ```text
//! STATUS=smbios-creds: 3 of 3 credentials verified
//! X_SMBIOS_CREDS_EXIT=0
//! X_SMBIOS_CREDS_EXPECTED=3
//! X_SMBIOS_CREDS_VERIFIED=3
//! X_SMBIOS_CREDS_BOOT_ID=5bd7e8c5-9c5d-4c6e-8c3f-0d8f4f0f2f5a
//! X_SMBIOS_CREDS_PROOF=…64 hexadecimal digits…
//! ```
//!
//! The proof is SHA-256 over [`PROOF_DOMAIN`], the manifest's salt, and what the manifest's digest covers. Only a program
//! that has every value of the set byte for byte can compute it. The host keeps the SHA-256 of the proof, a
//! [`Verifier`]: it recognises the proof, and neither forges one nor helps to guess a value.
//!
//! The message never has `READY=1`, `ERRNO=` or another field that a service manager acts on, and no value.

mod address;
mod message;
mod proof;

pub use address::{Address, AddressError, HOST_CID, PREFIX};
pub use message::{BootId, MESSAGE_MAX, Receipt, ReceiptError, STATUS_MAX, Status};
pub use proof::{PROOF_DOMAIN, ValueProof, Verifier, VerifierError};
