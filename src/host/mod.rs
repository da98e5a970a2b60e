//! The part of this library that runs on the host. It reads a credentials directory, writes the files as OEM strings,
//! checks the strings against every limit on the route, and passes them to a hypervisor. Unless the user allows it, no
//! secret is on a command line that other users can read.
//!
//! The credentials pass through these modules: `source -> strings -> hypervisor -> capacity -> plan -> launch`. The
//! module `start` calls these modules to start a hypervisor. If an engine starts the hypervisor itself, the modules
//! `strings`, `slots` and `publish` write files that the engine's configuration names.
//!
//! `await_receipt` waits until a guest reports which credentials arrived.
//!
//! A virtual machine monitor in Rust, or a test harness, makes these three calls:
//!
//! ```
//! use smbios_creds::host::strings::OemStrings;
//! use smbios_creds::host::source::{self, Selection};
//!
//! # let directory = tempfile::tempdir()?;
//! # std::fs::write(directory.path().join("db-password"), "secret")?;
//! let credentials = source::read(directory.path(), &Selection::all())?;
//! let strings = OemStrings::new(&credentials)?; // with the manifest
//! let structures = strings.structures()?; // Type 11, for the table; or strings.texts(), for an API
//! assert_eq!(structures.len(), 1);
//! assert_eq!(strings.texts().count(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod await_receipt;
pub mod capacity;
mod content;
#[cfg(feature = "launch")]
pub mod domain;
pub mod emit_error;
pub mod hypervisor;
#[cfg(feature = "cli")]
pub mod kubevirt;
// The code of `launch` uses the stack pointer register, whose name differs on each architecture.
#[cfg(all(feature = "launch", any(target_arch = "aarch64", target_arch = "x86_64")))]
pub mod launch;
mod listed;
pub mod listen;
pub mod near;
pub mod plan;
pub mod publish;
pub mod report;
pub mod set;
pub mod slots;
pub mod source;
#[cfg(all(feature = "launch", any(target_arch = "aarch64", target_arch = "x86_64")))]
pub mod start;
pub mod strings;
pub mod supply;
pub mod verifier;
