//! The receipt: a guest's message to its host about the result of an import. This module writes and reads receipts.
//!
//! The host asks for a receipt with one OEM string, `io.smbios-creds.receipt:vsock-stream:2:PORT`. The guest connects
//! to the address `vsock-stream:2:PORT` and sends one message in the format of `sd_notify(3)`, with one `KEY=VALUE` per
//! line:
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
//! The proof is the SHA-256 of [`PROOF_DOMAIN`], the manifest's salt, and the names and values of the set. Names and
//! values are hashed in the same form as for the manifest's digest. Only a program that has every value of the set,
//! byte for byte, can compute the proof. The host stores the SHA-256 of the proof, a [`Verifier`]. The verifier is
//! enough to check a proof, but not to forge a proof or to guess a value.
//!
//! The message never contains `READY=1`, `ERRNO=` or another field on which a service manager acts. The message never
//! contains the value of a credential.

mod address;
mod message;
mod proof;

pub use address::{Address, AddressError, HOST_CID, PREFIX};
pub use message::{BootId, MESSAGE_MAX, Receipt, ReceiptError, STATUS_MAX, Status};
pub use proof::{PROOF_DOMAIN, ValueProof, Verifier, VerifierError};
