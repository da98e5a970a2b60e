//! The host's wing: a hypervisor is started with arguments that no other process sees ([`private_argv`]).

// A stack pointer has another name on each architecture.
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
pub mod private_argv;
