//! The start of a hypervisor: its stack, its private arguments, and the memory of the launcher.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod argv_stack;
mod host_memory;
mod private_argv;
