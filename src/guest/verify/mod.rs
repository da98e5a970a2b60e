//! Compares what the sources received with the manifest and the policy. The result is a [`Delivery`]: the credentials,
//! and all findings about them.
//!
//! [`smbios`] checks the channel: a table with its structures and strings. [`set`] checks the credentials that arrived:
//! names, sizes, the manifest and the policy. For another channel, add a file next to [`smbios`]; [`set`] needs no
//! change.
//!
//! [`Delivery`]: delivery::Delivery

mod advice;
pub mod delivery;
pub mod finding;
pub mod findings;
pub mod fw_cfg;
pub mod origin;
pub mod policy;
pub mod received;
mod refusal;
mod sealed;
pub mod sealed_entry;
pub mod sealed_finding;
pub mod set;
pub mod smbios;
pub mod trust;
pub mod trust_finding;
mod trust_text;
mod wording;
