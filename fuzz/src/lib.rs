//! The fuzz targets. Each target takes any bytes and panics if smbios-creds breaks one of its promises. libFuzzer
//! calls the targets through `fuzz_targets/`. On stable Rust, `tests/replay.rs` calls them with the committed corpus.
#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "that a target panics is what it is for"
)]

mod input;
mod manifest;
mod oem_string;
mod platform_option;
mod private_argv;
mod qemu_smbios_option;
mod receipt;
mod roundtrip;
mod sealed;
mod set;
mod signature;
mod table;

pub use manifest::manifest;
pub use oem_string::oem_string;
pub use platform_option::platform_option;
pub use private_argv::private_argv;
pub use qemu_smbios_option::qemu_smbios_option;
pub use receipt::receipt;
pub use roundtrip::roundtrip;
pub use sealed::sealed;
pub use set::set;
pub use signature::signature;
pub use table::table;

/// A fuzz target: it takes any bytes, and panics if smbios-creds breaks a promise.
pub type Target = fn(&[u8]);

/// Every fuzz target, with the name that its corpus and its program have.
pub const TARGETS: [(&str, Target); 11] = [
    ("table", table),
    ("oem_string", oem_string),
    ("roundtrip", roundtrip),
    ("manifest", manifest),
    ("signature", signature),
    ("platform_option", platform_option),
    ("qemu_smbios_option", qemu_smbios_option),
    ("private_argv", private_argv),
    ("set", set),
    ("sealed", sealed),
    ("receipt", receipt),
];
