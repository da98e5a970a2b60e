//! `smbios-creds-host`, the launcher.

pub mod args;
mod date;
mod emit;
pub mod emulator;
pub mod helper;
mod new_file;
mod pack;
pub mod verbs;
