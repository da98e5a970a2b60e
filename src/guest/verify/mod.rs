//! What a source received, a manifest and a policy -> [`Delivery`]: the credentials, and everything that verification
//! says of them.
//!
//! [`smbios`] looks at the channel: a table, its structures and strings. [`set`] looks at what came through: names,
//! sizes, the manifest and the policy. A second channel needs a file beside [`smbios`], and nothing in [`set`].
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
