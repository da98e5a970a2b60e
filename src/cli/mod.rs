//! The command lines and the subcommands of the programs ([`agent`], [`host`]), their messages ([`log`]), and the
//! protection of secrets in the process ([`hygiene`]).

pub mod agent;
pub mod exit;
mod failure;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
pub mod host;
pub mod hygiene;
mod json;
pub mod log;
mod output;
pub mod usage;
