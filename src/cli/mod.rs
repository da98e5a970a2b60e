//! The programs: what they are asked ([`agent`], [`host`]), what they do ([`verbs`], [`host_verbs`]), and how they keep
//! quiet about it ([`log`], [`hygiene`]); [`init`] is for when one of them is PID 1.

pub mod agent;
mod deferred;
pub mod exit;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
pub mod host;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod host_emit;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
pub mod host_verbs;
pub mod hygiene;
mod import;
pub mod init;
pub mod log;
mod output;
pub mod usage;
pub mod verbs;
