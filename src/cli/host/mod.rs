//! The subcommands of `smbios-creds-host`, which sends credentials and starts hypervisors.

pub mod args;
mod await_receipt;
mod date;
mod emit;
pub mod emulator;
pub mod failure;
mod help;
pub mod helper;
mod new_file;
mod pack;
pub mod receipt;
pub mod verbs;
