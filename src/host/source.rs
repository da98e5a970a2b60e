//! Reads a credentials directory, such as the directory that systemd fills for a service (`LoadCredential=`,
//! systemd.exec(5)).
//!
//! If a file cannot be sent, the hypervisor is not started. A file cannot be sent if it is missing or empty (unless
//! [`Selection::allow_empty`] allows this), or if it is a symbolic link or another file that is not regular. If the
//! hypervisor were started anyway, the guest would boot without this credential, and no program would report an error.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::near::Near;
use crate::format::credential::{Credential, Name, NameError};
pub use crate::format::systemd::CREDENTIALS_DIRECTORY as VARIABLE;
use crate::format::systemd::{TOTAL_MAX as SYSTEMD_TOTAL_MAX, VALUE_MAX};
use crate::sys::Errno;
use crate::sys::directory::{Directory, Links};
use crate::sys::file::{self, Content};
use crate::text::escape::{Escaped, ShownPath};
use crate::text::help::Help;
use crate::trust::sealed::{Blob, BlobError, Sealed};

/// Maximum number of bytes of all values together: systemd's limit in a guest, plus a reserve. No table that a guest
/// can read contains more, because base64 makes each value a third larger.
pub const TOTAL_MAX: usize = SYSTEMD_TOTAL_MAX + 65_536;

/// The files to read from a directory.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Which files of the directory are selected.
    pub which: Which,
    /// Files that `systemd-creds encrypt` wrote. They are sent as encrypted credentials, and not as plain ones.
    pub encrypted: Vec<Mapping>,
    /// Credentials that must be selected, by their names in the guest.
    pub expect: Vec<Name>,
    /// Credentials that are allowed to have an empty value, by their names in the guest.
    pub allow_empty: Vec<Name>,
}

impl Selection {
    /// Selects every file of the directory.
    #[must_use]
    pub fn all() -> Self {
        Self { which: Which::All, encrypted: Vec::new(), expect: Vec::new(), allow_empty: Vec::new() }
    }
}

impl Selection {
    /// Returns `mappings` without the files that are sent as encrypted credentials.
    fn plain(&self, mut mappings: Vec<Mapping>) -> Vec<Mapping> {
        let encrypted: BTreeSet<&Name> = self.encrypted.iter().map(|mapping| &mapping.host).collect();
        mappings.retain(|mapping| !encrypted.contains(&mapping.host));
        mappings
    }

    /// Compares the name of a missing file with all names in the directory, and returns the most similar name.
    fn near(&self, folder: &Directory, missing: &Name) -> Near {
        let mappings: &[Mapping] = if let Which::Named(mappings) = &self.which { mappings } else { &[] };
        let asked_for: Vec<Name> = mappings.iter().chain(&self.encrypted).map(|m| m.host.clone()).collect();
        let files = folder.names().unwrap_or_default();
        let names: Vec<Name> = files.iter().filter_map(|name| Name::new(name.to_bytes()).ok()).collect();
        Near::among(missing, names.iter(), &asked_for)
    }
}

/// Which files of a directory are selected.
#[derive(Clone, Debug)]
pub enum Which {
    /// All files.
    All,
    /// The files whose names begin with this text.
    Prefix(String),
    /// The files with these names.
    Named(Vec<Mapping>),
}

/// The name of a credential in the guest, and the name of the file that contains its value. The text form is `NAME` if
/// both names are equal, otherwise `GUEST=HOST`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mapping {
    /// The credential's name in the guest.
    pub guest: Name,
    /// The file's name.
    pub host: Name,
}

impl std::str::FromStr for Mapping {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (guest, host) = text.split_once('=').unwrap_or((text, text));
        Ok(Self { guest: Name::new(guest)?, host: Name::new(host)? })
    }
}

/// Why the credentials cannot be read. The host must not start a machine without the credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// `$CREDENTIALS_DIRECTORY` is not set.
    #[error("${VARIABLE} is not set, so there are no credentials to send")]
    Unset,
    /// The directory cannot be opened or listed.
    #[error("cannot read the credentials directory {}: {}", .0, .1.desc())]
    Directory(ShownPath, Errno),
    /// No file was selected, so no credential would be sent.
    #[error("{}, so nothing would be sent", nothing(.directory, .prefix.as_deref()))]
    Nothing {
        /// The credentials directory.
        directory: ShownPath,
        /// The prefix with which no file name begins. `None` if no prefix was requested.
        prefix: Option<String>,
    },
    /// A selected file does not exist.
    #[error("credential {guest}: {file} is missing{near}")]
    Missing {
        /// The credential's name in the guest.
        guest: Name,
        /// The missing file.
        file: ShownPath,
        /// The file with the most similar name, if there is one.
        near: Near,
    },
    /// A credential that `--expect` names was not selected.
    #[error("credential {0}: it is expected (--expect), but it was not selected{1}")]
    Expected(Name, Near),
    /// A value is empty, although it must not be empty.
    #[error("credential {guest}: {file} is empty")]
    Empty {
        /// The credential's name in the guest.
        guest: Name,
        /// The empty file.
        file: ShownPath,
    },
    /// A credential cannot have the name of this file.
    #[error("'{}' in {directory} cannot be the name of a credential: {error}", Escaped(.name))]
    Name {
        /// The credentials directory.
        directory: ShownPath,
        /// The refused name.
        name: Vec<u8>,
        /// The rule that the name breaks.
        error: NameError,
    },
    /// A file that `--encrypted` names is not an encrypted credential that may be sent.
    #[error("credential {guest}: {file} {error}")]
    Blob {
        /// The credential's name in the guest.
        guest: Name,
        /// The refused file.
        file: ShownPath,
        /// Why the file is refused.
        error: BlobError,
    },
    /// The path is a directory, a symbolic link, a FIFO or a device.
    #[error("credential {guest}: {file} is {kind}, not a regular file; it was not read")]
    NotAFile {
        /// The credential's name in the guest.
        guest: Name,
        /// The path that is not a regular file.
        file: ShownPath,
        /// The kind of file.
        kind: &'static str,
    },
    /// The file is larger than a credential may be.
    #[error(
        "credential {guest}: {file} has more than {VALUE_MAX} bytes, the most that a credential may have"
    )]
    TooLarge {
        /// The credential's name in the guest.
        guest: Name,
        /// The file that is too large.
        file: ShownPath,
    },
    /// All values together have more than [`TOTAL_MAX`] bytes.
    #[error(
        "credential {0}: with it, the values have more than {TOTAL_MAX} bytes in total, which no table can contain"
    )]
    TotalTooLarge(Name),
    /// Another process wrote to the file while this program read it. The bytes may be neither the old value nor the new
    /// one.
    #[error("credential {guest}: {file} changed while it was being read")]
    Changed {
        /// The credential's name in the guest.
        guest: Name,
        /// The file that changed.
        file: ShownPath,
    },
    /// Any other error of the kernel.
    #[error("credential {guest}: cannot read {file}: {}", .error.desc())]
    Io {
        /// The credential's name in the guest.
        guest: Name,
        /// The file that cannot be read.
        file: ShownPath,
        /// The kernel's error.
        error: Errno,
    },
}

impl Help for DirectoryError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Unset => {
                "add LoadCredential= or LoadCredentialEncrypted= to the unit, or name a directory with --credentials"
            }
            Self::Nothing { prefix: None, .. } => {
                "add LoadCredential= to the unit, or name another directory"
            }
            Self::Nothing { prefix: Some(_), .. } => "correct the prefix, or add LoadCredential= to the unit",
            Self::Missing { .. } => "add it to LoadCredential= in the unit",
            Self::Expected(..) => "select it with --credential or --prefix, or with --all",
            Self::Empty { guest, .. } => {
                return Some(format!("if it may be empty, use --allow-empty {guest}").into());
            }
            Self::Blob { .. } => {
                "use --encrypted with the output of 'systemd-creds encrypt --with-key=tpm2' or '--with-key=host'"
            }
            Self::Changed { .. } => "try again when no program writes to the file",
            Self::Directory(..)
            | Self::Name { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::TotalTooLarge(_)
            | Self::Io { .. } => return None,
        }))
    }
}

fn nothing(directory: &ShownPath, prefix: Option<&str>) -> String {
    match prefix {
        Some(prefix) => format!("no name in {directory} begins with '{}'", Escaped(prefix.as_bytes())),
        None => format!("the credentials directory {directory} is empty"),
    }
}

/// Returns the path in `$CREDENTIALS_DIRECTORY`.
///
/// # Errors
/// [`DirectoryError::Unset`], if the variable is not set or is empty.
pub fn directory() -> Result<PathBuf, DirectoryError> {
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from).ok_or(DirectoryError::Unset)
}

/// Reads the selected credentials. Returns the credentials in the order of [`Which::Named`], or sorted by name for any
/// other selection. Values are read byte for byte: a newline at the end is part of the value.
///
/// # Errors
/// [`DirectoryError`] says why the credentials cannot be read.
pub fn read(directory: &Path, selection: &Selection) -> Result<Vec<Credential>, DirectoryError> {
    let folder = Directory::open(directory, Links::Follow)
        .map_err(|errno| DirectoryError::Directory(directory.into(), errno))?;
    let mappings = match &selection.which {
        Which::Named(mappings) => mappings.clone(),
        Which::All => selection.plain(listed(&folder, directory, None)?),
        Which::Prefix(prefix) => selection.plain(listed(&folder, directory, Some(prefix))?),
    };
    let all = mappings.iter().chain(&selection.encrypted);
    let selected: BTreeSet<&Name> = all.map(|mapping| &mapping.guest).collect();
    if let Some(name) = selection.expect.iter().find(|name| !selected.contains(name)) {
        return Err(DirectoryError::Expected(
            name.clone(),
            Near::among(name, selected.iter().copied(), &selection.expect),
        ));
    }
    if selected.is_empty() {
        let prefix = if let Which::Prefix(prefix) = &selection.which { Some(prefix.clone()) } else { None };
        return Err(DirectoryError::Nothing { directory: directory.into(), prefix });
    }
    let allow_empty: BTreeSet<&Name> = selection.allow_empty.iter().collect();
    let mut credentials = Vec::with_capacity(mappings.len());
    let mut total = 0;
    for Mapping { guest, host } in mappings {
        let file = directory.join(host.as_str());
        let value = read_file(&folder, selection, &guest, &host, &file)?;
        total += value.len();
        if total > TOTAL_MAX {
            return Err(DirectoryError::TotalTooLarge(guest));
        }
        if value.is_empty() && !allow_empty.contains(&guest) {
            return Err(DirectoryError::Empty { guest, file: file.into() });
        }
        credentials.push(Credential::new(guest, value));
    }
    Ok(credentials)
}

/// Reads the encrypted credentials, in the order of [`Selection::encrypted`].
///
/// # Errors
/// [`DirectoryError`] says why the credentials cannot be read.
pub fn read_encrypted(directory: &Path, selection: &Selection) -> Result<Vec<Sealed>, DirectoryError> {
    if selection.encrypted.is_empty() {
        return Ok(Vec::new());
    }
    let folder = Directory::open(directory, Links::Follow)
        .map_err(|errno| DirectoryError::Directory(directory.into(), errno))?;
    let read = |Mapping { guest, host }: &Mapping| {
        let file = directory.join(host.as_str());
        let text = read_file(&folder, selection, guest, host, &file)?;
        let blob = Blob::new(&text).map_err(|error| DirectoryError::Blob {
            guest: guest.clone(),
            file: file.into(),
            error,
        })?;
        Ok(Sealed { name: guest.clone(), blob })
    };
    selection.encrypted.iter().map(read).collect()
}

/// Returns every name in the directory that begins with the prefix, including the names of symbolic links and
/// directories. `read_file` later refuses symbolic links and directories.
fn listed(folder: &Directory, path: &Path, prefix: Option<&str>) -> Result<Vec<Mapping>, DirectoryError> {
    let mut names = Vec::new();
    for name in folder.names().map_err(|errno| DirectoryError::Directory(path.into(), errno))? {
        let name = name.to_bytes();
        if !name.starts_with(prefix.unwrap_or_default().as_bytes()) {
            continue;
        }
        match Name::new(name) {
            Ok(name) => names.push(name),
            Err(error) => {
                let (directory, name) = (path.into(), name.to_vec());
                return Err(DirectoryError::Name { directory, name, error });
            }
        }
    }
    names.sort();
    Ok(names.into_iter().map(|name| Mapping { guest: name.clone(), host: name }).collect())
}

fn read_file(
    folder: &Directory,
    selection: &Selection,
    guest: &Name,
    host: &Name,
    path: &Path,
) -> Result<Zeroizing<Vec<u8>>, DirectoryError> {
    let (guest, file) = (|| guest.clone(), || ShownPath::from(path));
    let not_a_file = |kind| DirectoryError::NotAFile { guest: guest(), file: file(), kind };
    let failed = |error| match error {
        Errno::ENOENT => {
            DirectoryError::Missing { guest: guest(), file: file(), near: selection.near(folder, host) }
        }
        error => DirectoryError::Io { guest: guest(), file: file(), error },
    };
    // If the user has no search permission for the directory, the error names the directory and not the file.
    let looked_at = folder.stat_of(host.as_str()).map_err(|error| match (error, path.parent()) {
        (Errno::EACCES, Some(directory)) => DirectoryError::Directory(directory.into(), error),
        _ => failed(error),
    });
    // The kind of the file is checked before the file is opened, because opening some devices starts them. The kind is
    // checked again after the file is opened.
    if let Some(kind) = looked_at?.kind() {
        return Err(not_a_file(kind));
    }
    let opened = folder.read_beneath(host.as_str()).map_err(failed)?;
    match file::read_unchanged(&opened, VALUE_MAX).map_err(failed)? {
        Content::Bytes(bytes) => Ok(bytes),
        Content::TooLarge => Err(DirectoryError::TooLarge { guest: guest(), file: file() }),
        Content::Changed => Err(DirectoryError::Changed { guest: guest(), file: file() }),
        Content::Other(kind) => Err(not_a_file(kind)),
    }
}
