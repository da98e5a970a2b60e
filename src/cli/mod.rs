//! The programs: what they are asked and what they do ([`agent`], [`host`]), and how they keep quiet about it ([`log`],
//! [`hygiene`]).

pub mod agent;
pub mod exit;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
pub mod host;
pub mod hygiene;
mod json;
pub mod log;
mod output;
pub mod usage;
