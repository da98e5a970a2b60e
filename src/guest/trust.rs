//! Reads the facts that decide whether a set is trusted: the trusted keys in the machine's image, the machine's ID,
//! UUID and clock, and the highest serial that this machine has imported.

use std::borrow::Cow;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use super::system::{Stage, System};
use super::verify::policy::Policy;
use super::verify::trust::Audience;
use crate::sys::directory::{Directory, Links};
use crate::sys::file::{self, Content};
use crate::sys::guarded::{self, Unguarded};
use crate::sys::{self, Errno, io_errno, meaning};
use crate::text::escape::ShownPath;
use crate::text::help::Help;
use crate::trust::signature::{KEY_MAX, KeyError, TrustedKey};

/// The name of a file with a trusted key must end in these bytes.
const KEY_ENDING: &[u8] = b".pub";

/// Maximum size, in bytes, of a file that contains a serial, a machine ID or a UUID.
const LINE_MAX: usize = 64;

/// Name of the file with the highest serial that this machine has imported.
const SERIAL: &str = "serial";
const SERIAL_PART: &str = "serial.part";

/// Why the trusted keys, names or serials of this machine cannot be determined. If they cannot be determined, no set is
/// accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A file in the directory of trusted keys is not a public key.
    #[error("cannot use the trusted key {file}: {error}")]
    Key {
        /// The file that is not a public key.
        file: ShownPath,
        /// Why the file is not a public key.
        error: KeyError,
    },
    /// The name of a file in the directory of trusted keys does not end in `.pub`.
    #[error("{0} is not used as a trusted key: its name does not end in .pub")]
    Name(ShownPath),
    /// The directory of trusted keys contains no key.
    #[error("{0} has no trusted key")]
    Empty(ShownPath),
    /// Another user could add or change a key.
    #[error("{0} can be changed by another user, so the keys are not trusted")]
    NotOurs(ShownPath),
    /// The path of the directory of trusted keys contains a link to a path that does not exist. The link shows that
    /// this machine should have trusted keys, so the link is an error, and no set is accepted.
    #[error("{0} is a symbolic link to a path that does not exist, so no trusted key can be read")]
    Dangling(ShownPath),
    /// The file for the highest imported serial does not contain a serial.
    #[error("{0} does not contain a serial")]
    Serial(ShownPath),
    /// The kernel reports an error.
    #[error("cannot read {file}: {}", meaning(.error))]
    Read {
        /// The file or directory that could not be read.
        file: ShownPath,
        /// The kernel's error.
        error: io::Error,
    },
}

impl Help for TrustError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Key { error, .. } => {
                return error
                    .help()
                    .or(Some("correct or remove the file; until then nothing is imported".into()));
            }
            Self::Name(_) => "rename it to end in .pub, or remove it; until then nothing is imported",
            Self::Empty(_) => {
                "put a public key there (NAME.pub), or remove the directory; until then nothing is imported"
            }
            Self::NotOurs(_) => "make root its owner, and let only root write to it",
            Self::Dangling(_) => "correct or remove it; until then nothing is imported",
            Self::Serial(_) => {
                "remove the file if an older set may be accepted once; until then nothing is imported"
            }
            Self::Read { .. } => return None,
        }))
    }
}

/// Whether this machine has a directory of trusted keys, so that it accepts only signed sets.
#[must_use]
pub fn has_keys(system: &System) -> bool {
    !matches!(directory(&system.trusted()), Ok(None))
}

/// Opens the directory with trusted keys. Returns `None` only if nothing exists at this path. On a machine without a
/// directory for this program's configuration, this function needs only one system call.
fn directory(path: &Path) -> Result<Option<Directory>, TrustError> {
    let is_absent =
        |path: &Path| path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    // The second check does not follow links either, so it shows whether anything with this name exists.
    if path.parent().is_some_and(is_absent)
        || matches!(Directory::open(path, Links::Refuse), Err(Errno::ENOENT))
    {
        return Ok(None);
    }
    let opened = guarded::open(path);
    if matches!(opened, Err(Unguarded::Failed(Errno::ENOENT))) {
        let is_link = |path: &&Path| path.symlink_metadata().is_ok_and(|found| found.is_symlink());
        return match path.ancestors().take(2).find(is_link).filter(|link| link.metadata().is_err()) {
            Some(link) => Err(TrustError::Dangling(link.into())),
            None => Ok(None),
        };
    }
    opened.map(Some).map_err(|error| unguarded(error, path))
}

fn unguarded(error: Unguarded, path: &Path) -> TrustError {
    match error {
        Unguarded::By(part) => TrustError::NotOurs(part.into()),
        Unguarded::Failed(error) => TrustError::Read { file: path.into(), error: error.into() },
    }
}

/// Returns `policy` completed with facts about this system: its trusted keys, its names, its clock and its highest
/// serial. `is_running` is true for the running system's set, and false for a recording.
///
/// # Errors
/// [`TrustError`]: if the trusted keys, names or serials cannot be determined, no set is accepted.
pub(super) fn complete(system: &System, is_running: bool, policy: &Policy) -> Result<Policy, TrustError> {
    let mut policy = policy.clone();
    policy.trust.keys.append(&mut keys(system)?);
    policy.trust.circumstances.now = sys::clock();
    if policy.trust.audience.contains(&Audience::MachineId) {
        policy.trust.circumstances.machine_id =
            line(&system.machine_id()).ok().flatten().filter(|id| is_id(id));
    }
    if policy.trust.audience.contains(&Audience::Uuid) {
        policy.trust.circumstances.uuid = line(&system.uuid()).ok().flatten();
    }
    if policy.requires_signature() && is_running {
        policy.trust.circumstances.seen_serial = seen_serial(system)?;
        policy.trust.circumstances.imported_by_systemd = imported_by_systemd(system);
    }
    Ok(policy)
}

/// Reads the keys in `/etc/smbios-creds/trusted`.
fn keys(system: &System) -> Result<Vec<TrustedKey>, TrustError> {
    let path = system.trusted();
    let Some(directory) = directory(&path)? else { return Ok(Vec::new()) };
    let names = directory
        .names()
        .map_err(|error| TrustError::Read { file: path.clone().into(), error: error.into() })?;
    let mut keys = Vec::new();
    for name in BinaryHeap::from(names).into_sorted_vec() {
        // Links are followed, because configuration files may be links, as in NixOS.
        let file = path.join(name.to_string_lossy().as_ref());
        if !name.to_bytes().ends_with(KEY_ENDING) {
            return Err(TrustError::Name(file.into()));
        }
        keys.push(key(&file)?);
    }
    if keys.is_empty() { Err(TrustError::Empty(path.into())) } else { Ok(keys) }
}

/// Reads the key in a file that no other user can change. Links to the file are allowed if no other user can change the
/// links.
fn key(file: &Path) -> Result<TrustedKey, TrustError> {
    let refused = |error| TrustError::Key { file: file.into(), error };
    let opened = guarded::open_file(file).map_err(|error| unguarded(error, file))?;
    match file::read(&opened, KEY_MAX) {
        Ok(Content::Bytes(text)) => TrustedKey::read(&text).map_err(refused),
        Ok(Content::TooLarge | Content::Changed | Content::Other(_)) => Err(refused(KeyError::NotText)),
        Err(error) => Err(TrustError::Read { file: file.into(), error: error.into() }),
    }
}

/// Returns the content of a file that has only one line; `None` if the file is too large or does not contain text.
fn line(path: &Path) -> Result<Option<String>, Errno> {
    match file::open(path).and_then(|file| file::read(&file, LINE_MAX))? {
        Content::Bytes(text) => Ok(str::from_utf8(&text).ok().map(|text| text.trim_ascii().to_owned())),
        Content::TooLarge | Content::Changed | Content::Other(_) => Ok(None),
    }
}

/// Whether a text is a machine ID, and not `uninitialized` (machine-id(5)).
fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the highest serial that this machine has imported; `None` if this machine has imported no set with a serial,
/// and in the initrd, where the disk is not mounted yet.
fn seen_serial(system: &System) -> Result<Option<u64>, TrustError> {
    if system.stage() == Stage::Initrd {
        return Ok(None);
    }
    let path = system.serials().join(SERIAL);
    match line(&path) {
        Ok(text) => {
            let serial = text.and_then(|text| text.parse().ok());
            serial.map(Some).ok_or_else(|| TrustError::Serial(path.into()))
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(TrustError::Read { file: path.into(), error: error.into() }),
    }
}

/// Saves the serial of an imported set, so that later imports accept no older set. Does nothing in the initrd, where
/// the disk is not mounted.
pub(super) fn remember(system: &System, serial: u64) {
    if system.stage() == Stage::Initrd || matches!(seen_serial(system), Ok(Some(seen)) if seen >= serial) {
        return;
    }
    if let Err(error) = write(&system.serials(), serial) {
        let path = ShownPath::from(system.serials());
        tracing::warn!(
            "cannot save serial {serial} in {path}: {}. At the next boot, an older set would be accepted, unless \
             --min-serial forbids it",
            error.desc()
        );
    }
}

/// Replaces the saved serial atomically: after a power cut, the file contains the old or the new serial.
fn write(path: &Path, serial: u64) -> Result<(), Errno> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(io_errno(error)),
        _ => {}
    }
    let directory = guarded::open(path).map_err(|error| match error {
        Unguarded::By(_) => Errno::EACCES,
        Unguarded::Failed(error) => error,
    })?;
    match directory.remove_file(SERIAL_PART) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(error),
    }
    let mut file = directory.create(SERIAL_PART, 0o600)?;
    file.write_all(format!("{serial}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(io_errno)?;
    directory.rename(SERIAL_PART, SERIAL)?;
    directory.sync()
}

/// Returns the number of credentials that systemd itself has imported; `None` if systemd imports none.
///
/// systemd imports credentials before a signature is checked. systemd imports nothing if its environment contains
/// `CREDENTIALS_DIRECTORY=/run/credentials/@system`. The kernel sets this variable if the kernel's command line
/// contains it (`import_credentials()`, `src/core/import-creds.c`, v254 to v262). If systemd imported credentials in
/// the initrd, its environment after switch-root contains this variable too.
fn imported_by_systemd(system: &System) -> Option<usize> {
    if !system.is_booted_with_systemd()
        || (system.is_told_to_import_nothing() && system.pid_1_imports_nothing())
    {
        return None;
    }
    let directory = Directory::open(&system.system_credentials(), Links::Refuse);
    let credentials = directory.and_then(|directory| directory.names()).map_or(0, |names| names.len());
    // In the initrd, the result is `Some` even if `@system` is empty, because systemd will import again after
    // switch-root.
    (credentials > 0 || system.stage() == Stage::Initrd).then_some(credentials)
}
