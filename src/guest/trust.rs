//! What the running system says about trust: the trusted keys of its image, its names, its clock, and the serials it has
//! seen.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use super::system::{Stage, System};
use super::verify::policy::Policy;
use super::verify::trust::Audience;
use crate::sys::directory::{Directory, Links};
use crate::sys::file::{self, Content};
use crate::sys::guarded::{self, Unguarded};
use crate::sys::{self, Errno, io_errno};
use crate::text::escape::ShownPath;
use crate::trust::signature::{KEY_MAX, KeyError, TrustedKey};

/// How the name of a file with a trusted key ends.
const KEY_ENDING: &[u8] = b".pub";

/// Largest file with a serial, a machine ID or a UUID, in bytes.
const LINE_MAX: usize = 64;

/// File with the highest serial that this machine has imported.
const SERIAL: &str = "serial";
const SERIAL_PART: &str = "serial.part";

/// Why it cannot be told whom this machine trusts. Nothing is believed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A file of the directory is no public key.
    #[error(
        "cannot use the trusted key {file}: {error}. Correct or remove the file; until then nothing is imported"
    )]
    Key {
        /// The file.
        file: ShownPath,
        /// Why.
        error: KeyError,
    },
    /// A file of the directory has another name than a public key.
    #[error(
        "{0} is not named as a trusted key: rename it to end in .pub, or remove it; until then nothing is imported"
    )]
    Name(ShownPath),
    /// The directory has no key.
    #[error(
        "{0} has no trusted key: put a public key there (NAME.pub), or remove the directory; until then nothing is imported"
    )]
    Empty(ShownPath),
    /// Another user could add a key.
    #[error(
        "{0} can be changed by another user, so the keys are not trusted: make it root's, and writable for root only"
    )]
    NotOurs(ShownPath),
    /// A link on the way to the directory leads to nothing. Who made it meant to trust somebody.
    #[error(
        "{0} is a link to nothing, so no trusted key is there: correct or remove it; until then nothing is imported"
    )]
    Dangling(ShownPath),
    /// The file with the highest serial seen does not hold one.
    #[error(
        "{0} holds no serial: remove it if an old set may be accepted once; until then nothing is imported"
    )]
    Serial(ShownPath),
    /// The kernel refuses.
    #[error("cannot read {file}: {}", .error.desc())]
    Read {
        /// The file or directory.
        file: ShownPath,
        /// What the kernel says.
        error: Errno,
    },
}

/// Whether this machine has a directory of trusted keys, so that it takes only signed sets.
#[must_use]
pub fn has_keys(system: &System) -> bool {
    !matches!(directory(&system.trusted()), Ok(None))
}

/// The directory with trusted keys; `None` only if nothing has its name. In most machines one call is all.
fn directory(path: &Path) -> Result<Option<Directory>, TrustError> {
    // Without links, this tells whether there is anything.
    if matches!(Directory::open(path, Links::Refuse), Err(Errno::ENOENT)) {
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
        Unguarded::Failed(error) => TrustError::Read { file: path.into(), error },
    }
}

/// Completes what a person said about trust with what the system says. The set is that of the running system, or of a
/// recording.
///
/// # Errors
/// [`TrustError`]: a system on which it cannot be told whom to trust believes nothing.
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

/// The keys in `/etc/smbios-creds/trusted`.
fn keys(system: &System) -> Result<Vec<TrustedKey>, TrustError> {
    let path = system.trusted();
    let Some(directory) = directory(&path)? else { return Ok(Vec::new()) };
    let mut names =
        directory.names().map_err(|error| TrustError::Read { file: path.as_path().into(), error })?;
    names.sort_unstable();
    let mut keys = Vec::new();
    for name in names {
        // The system's own configuration may be a link, as in NixOS.
        let file = path.join(name.to_string_lossy().as_ref());
        if !name.to_bytes().ends_with(KEY_ENDING) {
            return Err(TrustError::Name(file.into()));
        }
        keys.push(key(&file)?);
    }
    if keys.is_empty() { Err(TrustError::Empty(path.into())) } else { Ok(keys) }
}

/// The key in a file that no other user can change, whatever links lead to it.
fn key(file: &Path) -> Result<TrustedKey, TrustError> {
    let refused = |error| TrustError::Key { file: file.into(), error };
    let opened = guarded::open_file(file).map_err(|error| unguarded(error, file))?;
    match file::read(&opened, KEY_MAX) {
        Ok(Content::Bytes(text)) => TrustedKey::read(&text).map_err(refused),
        Ok(Content::TooLarge | Content::Changed | Content::Other(_)) => Err(refused(KeyError::NotText)),
        Err(error) => Err(TrustError::Read { file: file.into(), error }),
    }
}

/// The one line of a file; `None` if there is none.
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

/// The highest serial that this machine has imported. The disk is there in the host stage only.
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
        Err(error) => Err(TrustError::Read { file: path.into(), error }),
    }
}

/// Remembers the serial of a set that was imported, so that no older one is believed. In the initrd the disk is not there.
pub(super) fn remember(system: &System, serial: u64) {
    if system.stage() == Stage::Initrd || matches!(seen_serial(system), Ok(Some(seen)) if seen >= serial) {
        return;
    }
    if let Err(error) = write(&system.serials(), serial) {
        let path = ShownPath::from(system.serials().as_path());
        tracing::warn!(
            "serial {serial} is not remembered in {path}: {}. An older set would be accepted at the next boot, unless \
             --min-serial forbids it",
            error.desc()
        );
    }
}

/// Puts a serial in the place of the last one, so that a power cut leaves one of the two.
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

/// How many credentials systemd has imported by itself; `None` if it imports none by itself.
///
/// It takes what was sent before a signature is looked at. It imports nothing if its environment names the directory of its
/// credentials, which the kernel sees to if that is on its command line (`import_credentials()`, `src/core/import-creds.c`,
/// v254 to v262). After an initrd whose systemd did import, its environment names the directory too.
fn imported_by_systemd(system: &System) -> Option<usize> {
    if !system.is_booted_with_systemd()
        || (system.is_told_to_import_nothing() && system.pid_1_imports_nothing())
    {
        return None;
    }
    let directory = Directory::open(&system.system_credentials(), Links::Refuse);
    let credentials = directory.and_then(|directory| directory.names()).map_or(0, |names| names.len());
    // In the initrd it has yet to start in the host stage, where it imports again.
    (credentials > 0 || system.stage() == Stage::Initrd).then_some(credentials)
}
