//! What the programs cost: instructions for each input, and the size of the static agent.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod linear;
mod static_agent;
