//! Where credentials come from: a credentials directory, as systemd fills it (`LoadCredential=`, systemd.exec(5)).
//!
//! It fails closed. A file that is missing, empty, a link, or not a file is an error here, before anything starts:
//! the guest of a host that sends nothing boots without a word.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{Mode, SFlag, fstatat};
use zeroize::Zeroizing;

use crate::format::credential::{Credential, Name, NameError, VALUE_MAX};
use crate::text::escape::Escaped;

/// The variable in which systemd tells a service where its credentials are.
pub const VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Most bytes that all values have together: what systemd in a guest takes at most, and some room. No table that a guest
/// reads holds more, and each value takes a third more in it.
pub const TOTAL_MAX: usize = VALUE_MAX + 65_536;

/// What to take from a directory.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Which files.
    pub which: Which,
    /// Names in the guest that must be among them.
    pub expect: Vec<Name>,
    /// Names in the guest whose value may be empty.
    pub allow_empty: Vec<Name>,
}

impl Selection {
    /// Every file of the directory.
    #[must_use]
    pub fn all() -> Self {
        Self { which: Which::All, expect: Vec::new(), allow_empty: Vec::new() }
    }
}

/// Which files of a directory are taken.
#[derive(Clone, Debug)]
pub enum Which {
    /// All of them.
    All,
    /// Those whose name begins with this.
    Prefix(String),
    /// Those that are named.
    Named(Vec<Mapping>),
}

/// A credential and the file that its value is in: `NAME`, or `GUEST=HOST`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mapping {
    /// Its name in the guest.
    pub guest: Name,
    /// The name of its file.
    pub host: Name,
}

impl std::str::FromStr for Mapping {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (guest, host) = text.split_once('=').unwrap_or((text, text));
        Ok(Self { guest: Name::new(guest)?, host: Name::new(host)? })
    }
}

/// Why the credentials cannot be had. The host must not start a machine without them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The service has no credentials.
    #[error(
        "${VARIABLE} is not set, so there are no credentials to send: give the unit LoadCredential= or \
         LoadCredentialEncrypted=, or name a directory with --credentials"
    )]
    Unset,
    /// The directory cannot be opened or listed.
    #[error("cannot read the credentials directory {}: {}", Escaped::from(.0.as_path()), .1.desc())]
    Directory(PathBuf, Errno),
    /// Nothing was selected.
    #[error("{}, so nothing would be sent", nothing(.folder, .prefix.as_deref()))]
    Nothing {
        /// The directory.
        folder: PathBuf,
        /// The prefix that no name has.
        prefix: Option<String>,
    },
    /// A file that was named is not there.
    #[error(
        "credential {guest}: {} is missing: the unit's LoadCredential= has to name it",
        Escaped::from(.file.as_path())
    )]
    Missing {
        /// Its name in the guest.
        guest: Name,
        /// The file.
        file: PathBuf,
    },
    /// A name that is expected is not among those that were selected.
    #[error("credential {0}: it is expected (--expect), and is not among what was selected")]
    Expected(Name),
    /// A value without a byte.
    #[error(
        "credential {guest}: {} is empty; if that is meant, give --allow-empty {guest}",
        Escaped::from(.file.as_path())
    )]
    Empty {
        /// Its name in the guest.
        guest: Name,
        /// The file.
        file: PathBuf,
    },
    /// The name of a file cannot be that of a credential.
    #[error("'{}' in {} cannot be the name of a credential: {error}", Escaped(.name), Escaped::from(.folder.as_path()))]
    Name {
        /// The directory.
        folder: PathBuf,
        /// The refused name.
        name: Vec<u8>,
        /// Which rule it breaks.
        error: NameError,
    },
    /// A folder, a link, a FIFO, a device.
    #[error(
        "credential {guest}: {} is {kind}, not a regular file; it was not read",
        Escaped::from(.file.as_path())
    )]
    NotAFile {
        /// Its name in the guest.
        guest: Name,
        /// The file.
        file: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// More bytes than a credential can have.
    #[error(
        "credential {guest}: {} has more than {VALUE_MAX} bytes, which no credential may",
        Escaped::from(.file.as_path())
    )]
    TooLarge {
        /// Its name in the guest.
        guest: Name,
        /// The file.
        file: PathBuf,
    },
    /// More bytes than can be sent together.
    #[error(
        "credential {0}: with it, the values have more than {TOTAL_MAX} bytes together, which no table holds"
    )]
    TotalTooLarge(Name),
    /// Somebody writes to it, so that what was read may be neither the old value nor the new one.
    #[error("credential {guest}: {} has changed while it was read", Escaped::from(.file.as_path()))]
    Changed {
        /// Its name in the guest.
        guest: Name,
        /// The file.
        file: PathBuf,
    },
    /// Anything else that the kernel reports.
    #[error("credential {guest}: cannot read {}: {}", Escaped::from(.file.as_path()), .error.desc())]
    Io {
        /// Its name in the guest.
        guest: Name,
        /// The file.
        file: PathBuf,
        /// What the kernel says.
        error: Errno,
    },
}

fn nothing(folder: &Path, prefix: Option<&str>) -> String {
    let folder = Escaped::from(folder);
    match prefix {
        Some(prefix) => format!("no name in {folder} begins with '{}'", Escaped(prefix.as_bytes())),
        None => format!("the credentials directory {folder} is empty"),
    }
}

/// The directory that `$CREDENTIALS_DIRECTORY` names.
///
/// # Errors
/// [`SourceError::Unset`], also if it is empty.
pub fn directory() -> Result<PathBuf, SourceError> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from).ok_or(SourceError::Unset)
}

/// Reads what is selected, sorted by name, or in the order it was named in. Values are read byte for byte: a newline
/// at the end is part of the value.
///
/// # Errors
/// [`SourceError`] names the file, and what to do.
pub fn read(directory: &Path, selection: &Selection) -> Result<Vec<Credential>, SourceError> {
    let error = |errno| SourceError::Directory(directory.to_path_buf(), errno);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let folder = open(directory, flags, Mode::empty()).map_err(error)?;
    let mappings = match &selection.which {
        Which::Named(mappings) => mappings.clone(),
        Which::All => listed(&folder, directory, None)?,
        Which::Prefix(prefix) => listed(&folder, directory, Some(prefix))?,
    };
    let selected: BTreeSet<&Name> = mappings.iter().map(|mapping| &mapping.guest).collect();
    if let Some(name) = selection.expect.iter().find(|name| !selected.contains(name)) {
        return Err(SourceError::Expected(name.clone()));
    }
    if mappings.is_empty() {
        let prefix = if let Which::Prefix(prefix) = &selection.which { Some(prefix.clone()) } else { None };
        return Err(SourceError::Nothing { folder: directory.to_path_buf(), prefix });
    }
    let allow_empty: BTreeSet<&Name> = selection.allow_empty.iter().collect();
    let mut credentials = Vec::with_capacity(mappings.len());
    let mut total = 0;
    for Mapping { guest, host } in mappings {
        let file = directory.join(host.as_str());
        let value = read_file(&folder, &guest, &host, &file)?;
        total += value.len();
        if total > TOTAL_MAX {
            return Err(SourceError::TotalTooLarge(guest));
        }
        if value.is_empty() && !allow_empty.contains(&guest) {
            return Err(SourceError::Empty { guest, file });
        }
        credentials.push(Credential::new(guest, value));
    }
    Ok(credentials)
}

/// Every name in the directory that has the prefix. Whatever else is there, a link or a folder, is found when it is
/// read.
fn listed(folder: &OwnedFd, path: &Path, prefix: Option<&str>) -> Result<Vec<Mapping>, SourceError> {
    let error = |errno| SourceError::Directory(path.to_path_buf(), errno);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::openat(folder, c".", flags, Mode::empty()).map_err(error)?.iter() {
        let entry = entry.map_err(error)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || !name.starts_with(prefix.unwrap_or_default().as_bytes()) {
            continue;
        }
        match Name::new(name) {
            Ok(name) => names.push(name),
            Err(error) => {
                return Err(SourceError::Name { folder: path.to_path_buf(), name: name.to_vec(), error });
            }
        }
    }
    names.sort();
    Ok(names.into_iter().map(|name| Mapping { guest: name.clone(), host: name }).collect())
}

fn read_file(
    folder: &OwnedFd,
    guest: &Name,
    host: &Name,
    file: &Path,
) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let not_a_file = |kind| SourceError::NotAFile { guest: guest.clone(), file: file.to_path_buf(), kind };
    let io = |error| SourceError::Io { guest: guest.clone(), file: file.to_path_buf(), error };
    let missing = || SourceError::Missing { guest: guest.clone(), file: file.to_path_buf() };
    // Looked at first, since to open some devices is to start them, and looked at again when it is open.
    match fstatat(folder, host.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => kind_of(stat.st_mode).map_or(Ok(()), |kind| Err(not_a_file(kind)))?,
        Err(Errno::ENOENT) => return Err(missing()),
        Err(error) => return Err(io(error)),
    }
    let opened = match open_beneath(folder, host) {
        Ok(opened) => File::from(opened),
        Err(Errno::ENOENT) => return Err(missing()),
        Err(error) => return Err(io(error)),
    };
    match read_opened(&opened, VALUE_MAX) {
        Ok(Opened::Bytes(bytes)) => Ok(bytes),
        Ok(Opened::TooLarge) => Err(SourceError::TooLarge { guest: guest.clone(), file: file.to_path_buf() }),
        Ok(Opened::Changed) => Err(SourceError::Changed { guest: guest.clone(), file: file.to_path_buf() }),
        Ok(Opened::Other(kind)) => Err(not_a_file(kind)),
        Err(error) => Err(io(error)),
    }
}

/// What a file is, if it is not a regular one.
fn kind_of(mode: u32) -> Option<&'static str> {
    match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => None,
        SFlag::S_IFDIR => Some("a folder"),
        SFlag::S_IFLNK => Some("a symbolic link"),
        SFlag::S_IFIFO => Some("a FIFO"),
        SFlag::S_IFSOCK => Some("a socket"),
        _ => Some("a device"),
    }
}

/// Opens a file in a folder. Neither a link nor a mount below can lead out of it, and a FIFO does not hang it.
fn open_beneath(folder: &impl AsFd, name: &Name) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    match openat2(folder, name.as_str(), OpenHow::new().flags(flags).resolve(resolve)) {
        // Linux before 5.6, or a seccomp filter that does not know the call. A name is one component.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            openat(folder, name.as_str(), flags | OFlag::O_NOFOLLOW, Mode::empty())
        }
        result => result,
    }
}

/// What an open file turned out to be.
pub(super) enum Opened {
    Bytes(Zeroizing<Vec<u8>>),
    TooLarge,
    Changed,
    Other(&'static str),
}

/// Reads a regular file of at most `limit` bytes.
pub(super) fn read_opened(file: &File, limit: usize) -> Result<Opened, Errno> {
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let metadata = file.metadata().map_err(errno)?;
    if let Some(kind) = kind_of(metadata.mode()) {
        return Ok(Opened::Other(kind));
    }
    let Ok(expected) = usize::try_from(metadata.len()) else { return Ok(Opened::TooLarge) };
    if expected > limit {
        return Ok(Opened::TooLarge);
    }
    // One byte more than there is: a full buffer would be grown, and grown means copied.
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected.saturating_add(1)));
    file.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes).map_err(errno)?;
    let state = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    Ok(if bytes.len() > limit {
        Opened::TooLarge
    } else if state(&file.metadata().map_err(errno)?) != state(&metadata) {
        Opened::Changed
    } else {
        Opened::Bytes(bytes)
    })
}
