//! Beside a systemd that has imported: what it cut or lost is put right in its own folder.
//!
//! Its units search `/run/credentials/@system` before anything else, so a whole credential elsewhere would not mend a
//! cut one there. Nothing is mounted and nothing replaced that is not ours: the mount is made writable, each
//! credential is written beside its name and renamed over it, and the mount is read-only again whatever happened in
//! between. A value that is not the beginning of ours came from elsewhere (`fw_cfg` is read before SMBIOS) and stays.

use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use zeroize::Zeroizing;

use super::directory::{self, Content, STAGING, names};
use super::mount::{FLAGS, room};
use super::sink::{Folder, Mended, SinkError};
use crate::credential::{Credential, Name};

/// What was put right, and the names under which somebody else's value was left alone.
pub(super) struct Repair {
    pub(super) mended: Vec<Mended>,
    pub(super) foreign: Vec<Name>,
}

/// Puts right what is missing or cut in the folder of a systemd that has imported something.
pub(super) fn repair(folder: &OwnedFd, set: &[&Credential], shown: &Folder) -> Result<Repair, SinkError> {
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
    let writable = Writable::new(folder, set, shown)?;
    for (credential, found) in wanting {
        writable.replace(credential)?;
        let (name, size) = (credential.name.clone(), credential.value.len());
        repair.mended.push(Mended { name, found, size });
    }
    writable.close()?;
    Ok(repair)
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

/// systemd's folder, writable for as long as this lives.
struct Writable<'a> {
    folder: &'a OwnedFd,
    set: &'a [&'a Credential],
    shown: &'a Folder,
    mounted: bool,
}

impl<'a> Writable<'a> {
    fn new(folder: &'a OwnedFd, set: &'a [&'a Credential], shown: &'a Folder) -> Result<Self, SinkError> {
        let parent = shown.path.parent().unwrap_or(Path::new("/"));
        let device = |folder: &OwnedFd| Ok(fstat(folder)?.st_dev);
        let outside = directory::open(parent, false).and_then(|parent| device(&parent));
        let mounted = outside.and_then(|outside| Ok(device(folder)? != outside));
        let mounted = mounted.map_err(|error| shown.error("look at", error))?;
        let writable = Self { folder, set, shown, mounted };
        writable.remount(MsFlags::MS_BIND, None, "make writable")?;
        // What an import left that was killed.
        for name in names(folder).map_err(|error| shown.error("read", error))? {
            if name.to_bytes().starts_with(STAGING.as_bytes()) {
                _ = unlinkat(folder, &*name, UnlinkatFlags::NoRemoveDir);
            }
        }
        Ok(writable)
    }

    fn remount(&self, flags: MsFlags, options: Option<&str>, action: &'static str) -> Result<(), SinkError> {
        if !self.mounted {
            return Ok(());
        }
        mount(None::<&str>, &self.shown.path, None::<&str>, FLAGS | MsFlags::MS_REMOUNT | flags, options)
            .map_err(|error| self.shown.error(action, error))
    }

    fn replace(&self, credential: &Credential) -> Result<(), SinkError> {
        let failed = |error| self.shown.write_error(&credential.name, error);
        match self.write(credential) {
            // systemd's tmpfs has room for 256 credentials and 1 MiB.
            Err(Errno::ENOSPC | Errno::EDQUOT) => {
                self.remount(MsFlags::empty(), Some(&room(self.set)), "make more room in")?;
                self.write(credential).map_err(failed)
            }
            result => result.map_err(failed),
        }
    }

    fn write(&self, credential: &Credential) -> Result<(), Errno> {
        let beside = Name::new(format!("{STAGING}{}", std::process::id())).map_err(|_| Errno::EINVAL)?;
        let name = CString::new(beside.as_str()).map_err(|_| Errno::EINVAL)?;
        directory::write(self.folder, &beside, &credential.value, false)
            .and_then(|()| renameat(self.folder, &*name, self.folder, credential.name.as_str()))
            .inspect_err(|_| _ = unlinkat(self.folder, &*name, UnlinkatFlags::NoRemoveDir))
    }

    /// Read-only again, and an error if that fails.
    fn close(mut self) -> Result<(), SinkError> {
        let result = self.remount(MsFlags::MS_BIND | MsFlags::MS_RDONLY, None, "make read-only");
        self.mounted &= result.is_err();
        result
    }
}

impl Drop for Writable<'_> {
    fn drop(&mut self) {
        // Nothing more can be done if this fails; the error that led here is told.
        _ = self.remount(MsFlags::MS_BIND | MsFlags::MS_RDONLY, None, "make read-only");
    }
}
