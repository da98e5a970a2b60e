//! Repairs credentials that systemd cut or lost, in systemd's own directory.
//!
//! systemd's units search `/run/credentials/@system` first, so they would use a cut credential in `@system` even if a
//! complete one was in another directory. This program mounts nothing over `@system`, and replaces only credentials
//! that it received. Each credential is written to a temporary file in the same directory, and then renamed to its
//! final name. The program writes through a second mount that only root can reach, so at its own path the directory
//! stays read-only. If an existing value is not the beginning of the received value, the existing value came from
//! another source (systemd reads `fw_cfg` before SMBIOS). This program does not change such a value.

use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::content::{self, Buffer, Durability, Found};
use super::error::{Context, PlaceError};
use super::leftover;
use super::mount::{self, View};
use super::outcome::{Outcome, Repair, Repaired};
use crate::format::credential::{Credential, Name};
use crate::guest::system::System;
use crate::sys::Errno;
use crate::sys::directory::{Directory, Links};
use crate::sys::process_id;

/// Repairs credentials that are missing or cut in `directory`, into which systemd has imported credentials.
pub(super) fn repair(
    system: &System,
    directory: &Directory,
    set: &[&Credential],
    context: Context<'_>,
) -> Result<Outcome, PlaceError> {
    mount::remove_leftovers(system)?;
    let (wanting, foreign) = compare(directory, set).map_err(context.cannot("read"))?;
    let repaired =
        if wanting.is_empty() { vec![] } else { replace_all(system, directory, set, wanting, context)? };
    if !repaired.is_empty() {
        // Compares the files again, in the directory that systemd reads: only the credentials that are complete in this
        // directory count as imported.
        let (wanting, _) = compare(directory, set).map_err(context.cannot("read"))?;
        if let Some((credential, _)) = wanting.first() {
            let (name, directory) = (credential.name.clone(), context.shown());
            return Err(PlaceError::NotKept { name, directory });
        }
    }
    Ok(if repaired.is_empty() && foreign.is_empty() {
        Outcome::Unchanged
    } else {
        Outcome::Repaired(Repair { repaired, foreign })
    })
}

/// A credential that is missing or cut, and the size of its file in bytes; `None` if the file is missing.
type Wanting<'a> = (&'a Credential, Option<usize>);

/// Returns the credentials that are missing or cut, and the names of credentials that have another value.
fn compare<'a>(
    directory: &Directory,
    set: &[&'a Credential],
) -> Result<(Vec<Wanting<'a>>, Vec<Name>), Errno> {
    let (mut wanting, mut foreign) = (Vec::new(), Vec::new());
    let mut buffer = Buffer::default();
    for &credential in set {
        match content::compare(directory, credential, &mut buffer)? {
            Found::Equal => {}
            Found::Absent => wanting.push((credential, None)),
            Found::Other => match beginning(directory, credential)? {
                Some(size) => wanting.push((credential, Some(size))),
                None => foreign.push(credential.name.clone()),
            },
        }
    }
    Ok((wanting, foreign))
}

#[inline(never)]
fn replace_all(
    system: &System,
    directory: &Directory,
    set: &[&Credential],
    wanting: Vec<Wanting<'_>>,
    context: Context<'_>,
) -> Result<Vec<Repaired>, PlaceError> {
    // `own` says whether systemd mounted a file system of its own for the directory. If systemd could not mount a file
    // system, the directory is on the file system of /run.
    let parent = Directory::open(context.path().parent().unwrap_or(Path::new("/")), Links::Refuse);
    let own = parent.and_then(|parent| Ok(!directory.stat()?.shares_device(&parent.stat()?)));
    let own = own.map_err(context.cannot("check"))?;
    let view = View::new(system, context)?;
    leftover::remove_staged_files(&view.directory)
        .map_err(context.cannot("remove what an interrupted import left in"))?;
    let mut repaired = Vec::new();
    for (credential, found) in wanting {
        let mut result = replace(&view.directory, credential);
        // systemd's tmpfs has room for at most 256 credentials and at most 1 MiB.
        if own && matches!(result, Err(Errno::ENOSPC | Errno::EDQUOT)) {
            view.grow(set)?;
            result = replace(&view.directory, credential);
        }
        if let Err(error) = result {
            let error = context.cannot_write(&credential.name)(error);
            return Err(if repaired.is_empty() {
                error
            } else {
                PlaceError::HalfRepaired { repaired, error: Box::new(error) }
            });
        }
        repaired.push(Repaired { name: credential.name.clone(), found, size: credential.value.len() });
    }
    view.finish()?;
    Ok(repaired)
}

/// Replaces the file of a credential atomically: at every moment, the file has the old content or the complete new
/// value.
fn replace(directory: &Directory, credential: &Credential) -> Result<(), Errno> {
    let beside = leftover::staged_file(process_id());
    content::write(directory, &beside, credential.value.expose(), Durability::Volatile)
        .and_then(|()| directory.rename(&*beside, credential.name.as_str()))
        .inspect_err(|_| _ = directory.remove_file(&*beside))
}

/// Returns the size of the existing file, if the credential's value begins with the file's content; otherwise `None`.
fn beginning(directory: &Directory, credential: &Credential) -> Result<Option<usize>, Errno> {
    let file = match directory.read(credential.name.as_str()) {
        Err(Errno::ELOOP) => return Ok(None),
        result => result?,
    };
    let value = credential.value.expose();
    let mut found = Zeroizing::new(Vec::with_capacity(value.len().saturating_add(1)));
    let limit = (value.len() as u64).saturating_add(1);
    match file.take(limit).read_to_end(&mut found) {
        Ok(size) => Ok(value.starts_with(&found).then_some(size)),
        Err(_) => Ok(None),
    }
}
