//! The host's program: what it reads, plans and emits for each hypervisor.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod capacity;
mod cloud_hypervisor;
mod crosvm;
mod emulator;
mod fw_cfg;
mod hostile;
mod incus;
mod kubevirt;
mod libvirt;
mod pack;
mod plan;
mod probe;
mod qemu;
mod qemu_machine;
mod qemu_wrappers;
mod receipt;
mod request;
mod round_trip;
mod sealed;
mod set;
mod slots;
mod source;
