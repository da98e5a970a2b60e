//! How a test harness can test an import without a virtual machine. It makes the table that a host would send, imports
//! the table into a directory as a guest would, and compares the credentials.
//!
//! `cargo run --no-default-features --example harness -- DIR [FILE]` writes the credentials to `DIR`, and replaces an
//! existing `DIR`. The password is the content of `FILE`, or an example.

use std::error::Error;
use std::path::absolute;

use smbios_creds::format::credential::{Credential, Name, Secret};
use smbios_creds::format::smbios::{Table, entry_point};
use smbios_creds::guest::place::Place;
use smbios_creds::guest::place::choose::Into;
use smbios_creds::guest::place::outcome::Outcome;
use smbios_creds::guest::system::System;
use smbios_creds::guest::verify::delivery::Delivery;
use smbios_creds::guest::verify::policy::{ManifestPolicy, Policy};
use smbios_creds::guest::verify::set::verify_table;
use smbios_creds::host::strings::OemStrings;

/// The structure that ends a table (DSP0134 §7.46).
const END_OF_TABLE: &[u8] = &[127, 4, 0, 0xff, 0, 0];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().ok_or("one or two arguments: DIR [FILE]")?;
    let value = match arguments.next() {
        Some(file) => std::fs::read(file)?,
        None => b"correct horse battery staple".to_vec(),
    };
    let password = Name::new("db-password")?;
    // A value can contain any bytes: NUL, newline and bytes that are not UTF-8 arrive unchanged.
    let key = Credential::new(Name::new("key")?, b"\0\n\xff and more".to_vec());
    let sent = [Credential::new(password.clone(), value), key];
    let table = table(&sent)?;

    // The credentials that the guest requires. The manifest proves that the set is complete.
    let policy = Policy { require: vec![password], manifest: ManifestPolicy::Require, ..Policy::default() };
    let delivery = receive(table.expose(), table.len(), &policy)?;
    if !delivery.passed() {
        let findings: Vec<_> = delivery.findings.iter().map(ToString::to_string).collect();
        return Err(findings.join("; ").into());
    }

    let arrived: Vec<&Credential> = delivery.intact().collect();
    let path = absolute(folder)?;
    // A place in a directory does not depend on the running system. All other places do.
    let system = System::running();
    let outcome = Into::At(Place::Directory(path.clone())).choose(&system).fill(&system, &arrived)?;
    if matches!(outcome, Outcome::Repaired(_)) {
        return Err("only systemd's own folder is ever repaired".into());
    }
    for credential in &sent {
        let value = Secret::from(std::fs::read(path.join(credential.name.as_str()))?);
        if value.expose() != credential.value.expose() {
            return Err(format!("{} is not what was sent", credential.name).into());
        }
    }

    // A table that loses bytes on the way is noticed, wherever it is cut.
    for end in 0..table.len() {
        let cut = table.expose().get(..end).unwrap_or_default();
        if receive(cut, table.len(), &policy)?.passed() {
            return Err(format!("a table of {} bytes passes with {end} of them", table.len()).into());
        }
    }
    Ok(())
}

/// Returns the table that a host sends.
fn table(credentials: &[Credential]) -> Result<Secret, Box<dyn Error>> {
    let structures = OemStrings::new(credentials)?.structures()?;
    let parts = structures.iter().map(Secret::expose).chain([END_OF_TABLE]);
    // All parts go into one allocation, which is wiped when dropped. A vector that grows leaves copies in freed memory.
    Ok(parts.collect::<Vec<_>>().concat().into())
}

/// Returns what a guest finds in `table`, if the entry point announces `announced` bytes.
fn receive(table: &[u8], announced: usize, policy: &Policy) -> Result<Delivery, Box<dyn Error>> {
    let entry_point = entry_point::write(u32::try_from(announced)?, 0xf_0018);
    Ok(verify_table(&Table::parse(&entry_point, table.to_vec()), policy))
}
