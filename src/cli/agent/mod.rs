//! `smbios-creds`, the guest agent.

pub mod args;
mod deferred;
mod exec;
mod import;
pub mod init;
pub mod verbs;
