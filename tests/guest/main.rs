//! The agent in the guest: what it verifies, lists, records and writes.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod advice;
mod arguments;
mod cli;
mod close;
mod dump;
mod fw_cfg;
mod habits;
mod hostile;
mod listing;
mod many;
mod map;
mod personal_data;
mod place;
mod record;
mod sealed;
mod signed;
mod source;
mod verification;
mod way;
