//! Tests what users install: the Debian packages, and the images that initramfs-tools, dracut and mkinitcpio make. The
//! tests use a fresh Debian 12 or 13 and real virtual machines.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod debian;
mod hand_over;
mod images;
mod kubevirt;
mod libvirt;
mod lint;
mod mkinitcpio;
mod proxmox;
mod registry;
mod units;
