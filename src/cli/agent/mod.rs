//! `smbios-creds`, the guest agent.

pub mod args;
mod closed;
pub mod console;
mod deferred;
mod exec;
mod help;
mod import;
pub mod init;
pub mod start;
pub mod verbs;
