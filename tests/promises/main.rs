//! The promises of README.md and SECURITY.md: nothing is lost without a message, and no value leaks.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod filter;
mod host_leaks;
mod killed;
mod leaks;
mod library_memory;
mod map;
mod memory;
mod old_agent;
mod proof;
mod protection;
mod refused;
mod silent_losses;
mod threats;
