//! The static agent in real virtual machines, on the table that a real hypervisor and firmware made.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod busybox;
mod clock;
mod close;
mod host;
mod inits;
mod killed;
mod launcher;
mod libvirt;
mod microvm;
mod pid_1;
mod real;
mod receipt;
mod refused;
mod sealed;
mod signed;
mod slots;
mod stages;
mod systemd;
mod units;
