//! Recordings of an SMBIOS table and of `fw_cfg` items, for bug reports and tests.

mod fields;
mod items;
pub mod recording;
pub mod redact;
mod repeats;
mod sealed;
mod values;
pub mod write;
