//! How a VMM in Rust sends credentials. It reads a credentials directory, makes the OEM strings, and puts the
//! structures into its own SMBIOS table. (A program that starts another VMM puts the strings into a request to that
//! VMM's API.)
//!
//! `cargo run --no-default-features --example vmm -- DIR OUT` writes a table and its entry point to the directory
//! `OUT`.
//! `smbios-creds check --from OUT --manifest=require` reads these files like the table of a guest.

use std::error::Error;
use std::path::Path;

use smbios_creds::format::credential::Secret;
use smbios_creds::format::smbios::entry_point;
use smbios_creds::host::source::{self, Selection};
use smbios_creds::host::strings::OemStrings;

/// The structure that ends a table (DSP0134 §7.46).
const END_OF_TABLE: &[u8] = &[127, 4, 0, 0xff, 0, 0];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [directory, out] = arguments.as_slice() else { return Err("two arguments: DIR OUT".into()) };

    // A VM must not start without its credentials. An unset directory and a missing or empty file are errors here.
    let credentials = source::read(Path::new(directory), &Selection::all())?;
    // The OEM strings, which include the manifest. For an API, use `strings.texts()`.
    let strings = OemStrings::new(&credentials)?;
    // Type 11 structures, which can go into the table unchanged.
    let structures = strings.structures()?;

    let parts = structures.iter().map(Secret::expose).chain([END_OF_TABLE]);
    // All parts go into one allocation, which is wiped when dropped. A vector that grows leaves copies in freed memory.
    let table = Secret::from(parts.collect::<Vec<_>>().concat());

    // Address 0xF0018 is below 1 MiB, where guests without EFI look for the entry point.
    let entry_point = entry_point::write(u32::try_from(table.len())?, 0xf_0018);
    std::fs::write(Path::new(out).join("smbios_entry_point"), entry_point)?;
    std::fs::write(Path::new(out).join("DMI"), table.expose())?;
    Ok(())
}
