//! `smbios-creds-host`, the launcher.

pub mod args;
mod emit;
pub mod emulator;
pub mod helper;
pub mod verbs;
