//! What a VMM in Rust does to send credentials: it reads a credentials directory, emits, and puts the structures into
//! its own SMBIOS table (or the strings into a request to somebody else's API).
//!
//! `cargo run --no-default-features --example vmm -- DIR OUT` writes a table with its entry point to `OUT`, which
//! `smbios-creds check --from OUT --manifest=require` reads as it reads a guest's own.

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

    // A VM is not started without its credentials: an unset directory, a missing or an empty file is an error here.
    let credentials = source::read(Path::new(directory), &Selection::all())?;
    // The OEM strings, the manifest among them. For an API: `strings.texts()`.
    let strings = OemStrings::new(&credentials)?;
    // Type 11 structures, ready for the table.
    let structures = strings.structures()?;

    let parts = structures.iter().map(Secret::expose).chain([END_OF_TABLE]);
    // In one allocation, which is wiped when it is dropped: one that grows leaves copies behind.
    let table = Secret::from(parts.collect::<Vec<_>>().concat());

    // At 0xF0018, below 1 MiB, where guests without EFI look for it.
    let entry_point = entry_point::write(u32::try_from(table.len())?, 0xf_0018);
    std::fs::write(Path::new(out).join("smbios_entry_point"), entry_point)?;
    std::fs::write(Path::new(out).join("DMI"), table.expose())?;
    Ok(())
}
