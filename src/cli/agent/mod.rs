//! `smbios-creds`, the guest agent.

pub mod args;
mod asked;
mod closed;
pub mod console;
mod deferred;
mod exec;
pub mod failure;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
pub mod filter;
mod help;
mod import;
pub mod init;
mod options;
pub mod short;
pub mod start;
pub mod systemd_creds;
mod transcode;
pub mod verbs;
