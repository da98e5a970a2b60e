//! The subcommand `pack`: writes a set to one file, and its manifest, which can be signed, to another file.

use std::path::Path;

use super::args::Pack;
use super::failure;
use super::new_file::{NewFile, warn_of_disk};
use crate::cli::exit::Exit;
use crate::format::manifest::Terms;
use crate::host::capacity::Structures;
use crate::host::plan::limit_warnings;
use crate::host::set;
use crate::host::strings::OemStrings;
use crate::host::supply::{MANIFEST_SUFFIX, SIGNATURE_SUFFIX, beside};
use crate::text::escape::Escaped;
use crate::text::help::{Help, Message};

fn refuse(reason: &impl Help) -> Exit {
    failure::refuse(reason, "nothing is written");
    Exit::Verification
}

pub(super) fn run(pack: &Pack) -> anyhow::Result<Exit> {
    let (manifest, signature) =
        (beside(&pack.output, MANIFEST_SUFFIX), beside(&pack.output, SIGNATURE_SUFFIX));
    // If the signature's file already exists, 'run' would use it as the signature of the new set.
    if signature.symlink_metadata().is_ok() {
        let shown = Escaped::from(signature.as_path());
        let what = format!("{shown} exists, and is a signature of another set");
        return Ok(refuse(&Message::new(what).with_help("remove it")));
    }
    let terms = Terms {
        audience: pack.audience.clone(),
        serial: pack.serial,
        not_after: pack.not_after,
        ..Terms::default()
    };
    let strings = match pack.select.read() {
        Ok((credentials, encrypted)) => OemStrings::set(&credentials, &encrypted, terms),
        Err(error) => return Ok(refuse(&error)),
    };
    let strings = match strings {
        Ok(strings) => strings,
        Err(error) => return Ok(refuse(&error)),
    };
    for warning in limit_warnings(&strings, Structures::Packed, &[], &[]) {
        tracing::warn!(help = %warning.help().unwrap_or_default(), "{warning}");
    }
    write(pack, &manifest, &strings)
}

fn write(pack: &Pack, manifest: &Path, strings: &OemStrings) -> anyhow::Result<Exit> {
    // If the set or its manifest cannot be written, both files are removed.
    let set_file = NewFile::create(&pack.output)?;
    let manifest_file = NewFile::create(manifest)?;
    let shown = Escaped::from(pack.output.as_path());
    if !set_file.is_in_memory() {
        if !pack.force {
            let what = format!("{shown} would be on a disk, where the secrets stay in plain text");
            let help = "use a file below /run or on another tmpfs, or --force";
            return Ok(refuse(&Message::new(what).with_help(help)));
        }
        warn_of_disk(&pack.output);
    }
    set_file.write(set::write(strings).expose())?;
    manifest_file.write(strings.manifest_string())?;
    // The file that was created last is kept first: each `keep` restores the signal mask from before its own file was
    // created.
    manifest_file.keep();
    set_file.keep();
    tracing::info!(
        "{shown} is packed; sign it with: minisign -S -m {}, and send it with: smbios-creds-host run --set {shown}",
        Escaped::from(manifest)
    );
    Ok(Exit::Ok)
}
