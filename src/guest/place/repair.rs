//! Beside a systemd that has imported: what it cut or lost is put right in its own folder.
//!
//! Its units search `/run/credentials/@system` before anything else, so a whole credential elsewhere would not mend a
//! cut one there. Nothing is mounted over it and nothing replaced that is not ours: each credential is written beside
//! its name and renamed over it, through a view of our own, while the folder itself stays read-only for everybody. A
//! value that is not the beginning of ours came from elsewhere (`fw_cfg` is read before SMBIOS) and stays.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use zeroize::Zeroizing;

use super::Mended;
use super::error::{Folder, SinkError};
use super::mount::{self, View};
use super::publish::{self as directory, Content, STAGING, names};
use crate::format::credential::{Credential, Name};

/// What was put right, and the names under which somebody else's value was left alone.
pub(super) struct Repair {
    pub(super) mended: Vec<Mended>,
    pub(super) foreign: Vec<Name>,
}

/// Puts right what is missing or cut in the folder of a systemd that has imported something.
pub(super) fn repair(
    root: &Path,
    folder: &OwnedFd,
    set: &[&Credential],
    shown: &Folder,
) -> Result<Repair, SinkError> {
    mount::remove_leftovers(root)?;
    let mut repair = Repair { mended: vec![], foreign: vec![] };
    let mut wanting = Vec::new();
    for &credential in set {
        let read = |error| shown.error("read", error);
        let found = match directory::compare(folder, credential).map_err(read)? {
            Content::Equal => continue,
            Content::Absent => None,
            Content::Differs => {
                let Some(size) = beginning(folder, credential).map_err(read)? else {
                    repair.foreign.push(credential.name.clone());
                    continue;
                };
                Some(size)
            }
        };
        wanting.push((credential, found));
    }
    if wanting.is_empty() {
        return Ok(repair);
    }
    // systemd's own file system, unless it could not be mounted and the folder is one of /run.
    let parent = directory::open(shown.path.parent().unwrap_or(Path::new("/")), false);
    let own = parent.and_then(|parent| Ok(fstat(folder)?.st_dev != fstat(&parent)?.st_dev));
    let own = own.map_err(|error| shown.error("look at", error))?;
    let view = View::new(root, shown)?;
    remove_leftovers(&view.folder)
        .map_err(|error| shown.error("remove what an interrupted import left in", error))?;
    for (credential, found) in wanting {
        let mut result = replace(&view.folder, credential);
        // systemd's tmpfs has room for 256 credentials and 1 MiB.
        if own && matches!(result, Err(Errno::ENOSPC | Errno::EDQUOT)) {
            view.grow(set)?;
            result = replace(&view.folder, credential);
        }
        let name = credential.name.clone();
        if let Err(error) = result {
            let error = shown.write_error(&name, error);
            return Err(match repair.mended.as_slice() {
                [] => error,
                _ => SinkError::HalfRepaired { mended: repair.mended, error: Box::new(error) },
            });
        }
        repair.mended.push(Mended { name, found, size: credential.value.len() });
    }
    Ok(repair)
}

/// Removes what an import left that was killed.
fn remove_leftovers(folder: &OwnedFd) -> Result<(), Errno> {
    for name in names(folder)?.iter().filter(|name| name.to_bytes().starts_with(STAGING.as_bytes())) {
        unlinkat(folder, &**name, UnlinkatFlags::NoRemoveDir)?;
    }
    Ok(())
}

/// Puts a credential in the place of what is there: at every instant the old one, or the new one whole.
fn replace(folder: &OwnedFd, credential: &Credential) -> Result<(), Errno> {
    let beside = Name::new(format!("{STAGING}{}", std::process::id())).map_err(|_| Errno::EINVAL)?;
    directory::write(folder, &beside, &credential.value, false)
        .and_then(|()| renameat(folder, beside.as_str(), folder, credential.name.as_str()))
        .inspect_err(|_| _ = unlinkat(folder, beside.as_str(), UnlinkatFlags::NoRemoveDir))
}

/// The size of what is there, if our value begins with it.
fn beginning(folder: &OwnedFd, credential: &Credential) -> Result<Option<usize>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(folder, credential.name.as_str(), flags, Mode::empty()) {
        Err(Errno::ELOOP) => return Ok(None),
        result => File::from(result?),
    };
    let value = credential.value.expose();
    let mut found = Zeroizing::new(Vec::with_capacity(value.len().saturating_add(1)));
    let limit = (value.len() as u64).saturating_add(1);
    match file.take(limit).read_to_end(&mut found) {
        Ok(size) => Ok(value.starts_with(&found).then_some(size)),
        Err(_) => Ok(None),
    }
}
