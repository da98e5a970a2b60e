//! What people install: the Debian packages and the images that initramfs-tools, dracut and mkinitcpio make, in a fresh
//! Debian 12 and in real virtual machines.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod debian;
mod hand_over;
mod images;
mod lint;
#[allow(dead_code, reason = "most of it is for tests/vm")]
#[path = "../vm/machine.rs"]
mod machine;
mod mkinitcpio;
#[path = "../vm/sent.rs"]
mod sent;
