//! Makes a [`Delivery`] from what a source received, a manifest and a policy: the credentials, and all findings about
//! them.
//!
//! [`smbios`] checks the channel: a table with its structures and strings. [`set`] checks the credentials that arrived:
//! names, sizes, the manifest and the policy. A second channel needs a file next to [`smbios`], but no change in
//! [`set`].
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
