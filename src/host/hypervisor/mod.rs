//! Each hypervisor has its own file in this directory. The code in this file reads the command line of the hypervisor,
//! and adds OEM strings to the command line.
//!
//! To add a hypervisor, write a file in this directory with a type that implements [`Hypervisor`], declare the file's
//! module below, and add the type to [`ALL`]. The new file must contain the hypervisor's limits, the words to search
//! for in its executable file, and everything about its options.

mod argument;
pub mod cloud_hypervisor;
pub mod crosvm;
mod error;
pub mod incus;
pub mod libvirt;
mod line;
pub mod qemu;
pub mod request;

use std::path::Path;

pub use argument::{Argument, Part, hidden};
pub use error::MergeError;
pub use line::{Channel, CommandLine, Features, Hypervisor, Line, Written};

/// Every hypervisor that can be started.
pub static ALL: &[&dyn Hypervisor] = &[&qemu::Qemu, &cloud_hypervisor::CloudHypervisor, &crosvm::Crosvm];

/// Returns the hypervisor with this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Hypervisor> {
    ALL.iter().copied().find(|hypervisor| hypervisor.name() == name)
}

/// Returns the hypervisor to which a program's file name belongs.
///
/// ```
/// use smbios_creds::host::hypervisor::of_program;
/// let name = |program: &str| of_program(program.as_ref()).map(|hypervisor| hypervisor.name());
/// assert_eq!(name("/usr/bin/qemu-system-x86_64"), Some("qemu"));
/// assert_eq!(name("/bin/sh"), None);
/// ```
#[must_use]
pub fn of_program(program: &Path) -> Option<&'static dyn Hypervisor> {
    ALL.iter().copied().find(|hypervisor| hypervisor.is_program(line::plain_name(program)))
}

/// Returns the names of all hypervisors, as in a sentence: `qemu, cloud-hypervisor or crosvm`.
#[must_use]
pub fn names() -> String {
    let names: Vec<&str> = ALL.iter().map(|hypervisor| hypervisor.name()).collect();
    match names.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        names => names.concat(),
    }
}
