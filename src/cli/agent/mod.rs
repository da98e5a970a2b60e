//! `smbios-creds`, the guest agent.

pub mod args;
mod asked;
mod closed;
pub mod console;
mod deferred;
mod exec;
pub mod failure;
#[cfg(all(
    any(target_arch = "aarch64", target_arch = "x86_64"),
    target_endian = "little",
    target_pointer_width = "64"
))]
pub mod filter;
/// The system call filter is written for the processors above. On others, an import has none.
#[cfg(not(all(
    any(target_arch = "aarch64", target_arch = "x86_64"),
    target_endian = "little",
    target_pointer_width = "64"
)))]
mod filter {
    pub(super) const fn set() {}
}
mod help;
mod import;
pub mod init;
mod options;
pub mod short;
pub mod start;
pub mod systemd_creds;
mod transcode;
pub mod verbs;
