//! The static agent in real virtual machines, on the table that a real hypervisor and firmware made.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod busybox;
#[path = "../common/mod.rs"]
mod common;
mod host;
mod inits;
mod killed;
mod launcher;
mod machine;
mod sent;
mod stages;
mod systemd;
mod units;
