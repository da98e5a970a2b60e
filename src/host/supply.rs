//! The source of the credentials: files of a credentials directory, or a packed set.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::set::{FILE_MAX, Set, SetError};
use super::source::{self, DirectoryError, Selection};
use super::strings::{EmitError, Existing, OemStrings};
use crate::format::credential::{Credential, Name, Secret};
use crate::sys::file;
use crate::text::escape::ShownPath;
use crate::text::help::Help;
use crate::trust::sealed::Sealed;
use crate::trust::signature::{KEY_MAX, KeyError, SIGNATURE_MAX, Signature, SignatureError, TrustedKey};

/// End of the name of the file that contains a set's manifest. The user signs this file.
pub const MANIFEST_SUFFIX: &str = ".manifest";

/// End of the name of the file that contains the signature of a set's manifest. minisign adds `.minisig` to the name of
/// the file that it signs.
pub const SIGNATURE_SUFFIX: &str = ".manifest.minisig";

/// Returns the path of a file next to a set: the path of the set, followed by `suffix`.
#[must_use]
pub fn beside(set: &Path, suffix: &str) -> PathBuf {
    let mut path = set.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The source of the credentials to send.
#[derive(Clone, Debug)]
pub enum Supply {
    /// Credentials are files of a credentials directory.
    Directory {
        /// Path of the directory. If `None`, the path in `$CREDENTIALS_DIRECTORY` is used.
        directory: Option<PathBuf>,
        /// The files to read from the directory.
        selection: Selection,
    },
    /// Credentials are in a packed set.
    Set(SetFiles),
}

/// The files of a packed set.
#[derive(Clone, Debug)]
pub struct SetFiles {
    /// The file with the set.
    pub set: PathBuf,
    /// Files with signatures of the manifest. If the list is empty, the signature file next to the set is used, if this
    /// file exists.
    pub signatures: Vec<PathBuf>,
    /// Public keys, each as text or as the path of a file. At least one of these keys must have signed the set. If the
    /// list is empty, no signature is verified.
    pub trust: Vec<PathBuf>,
    /// Names of credentials that the set must contain.
    pub expect: Vec<Name>,
}

/// Why the credentials cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupplyError {
    /// The files of the directory cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file of the set cannot be read.
    #[error("cannot read {file}: {reason}")]
    File {
        /// The file that cannot be read.
        file: ShownPath,
        /// The kernel's error, or what is wrong with the file.
        reason: String,
    },
    /// A signature file is not a valid signature.
    #[error("{file}: {error}")]
    Signature {
        /// The signature file.
        file: ShownPath,
        /// What is wrong with the signature.
        error: SignatureError,
    },
    /// A key file is not a valid public key.
    #[error("--trust {file}: {error}")]
    Key {
        /// The key file.
        file: ShownPath,
        /// What is wrong with the key.
        error: KeyError,
    },
    /// The text of a public key is not valid. The text is not shown, because it may be part of a secret key.
    #[error("--trust: the key that begins with RW is refused: {0}")]
    KeyText(KeyError),
    /// The file next to the set whose name ends in `.manifest` does not contain the manifest of this set.
    #[error("{0} is not the manifest of the set next to it, so its signature is not a signature of the set")]
    OtherManifest(ShownPath),
    /// A set cannot be sent.
    #[error("set {file}: {error}")]
    Set {
        /// The file with the set.
        file: ShownPath,
        /// Why the set cannot be sent.
        error: SetError,
    },
}

impl Help for SupplyError {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Directory(error) => error.help(),
            Self::File { .. } => None,
            Self::Signature { error, .. } => error.help(),
            Self::Key { error, .. } | Self::KeyText(error) => error.help(),
            Self::OtherManifest(_) => Some("pack the set again, and sign its new manifest".into()),
            Self::Set { error, .. } => error.help(),
        }
    }
}

/// The credentials to send: either credentials without a manifest, or a set that already contains its manifest.
#[derive(Debug)]
pub enum Sent {
    /// Plain and encrypted credentials. Their manifest will also list the credentials on the hypervisor's command line.
    Credentials(Vec<Credential>, Vec<Sealed>),
    /// A set, which is sent unchanged.
    Set(Set),
}

impl Supply {
    /// Reads the credentials.
    ///
    /// # Errors
    /// [`SupplyError`] names the file, and says why it cannot be read.
    pub fn read(&self) -> Result<Sent, SupplyError> {
        match self {
            Self::Directory { directory, selection } => {
                let directory = directory.clone().map_or_else(source::directory, Ok)?;
                let credentials = source::read(&directory, selection)?;
                Ok(Sent::Credentials(credentials, source::read_encrypted(&directory, selection)?))
            }
            Self::Set(files) => Ok(Sent::Set(files.read()?)),
        }
    }

    /// Returns the names of those credentials on the hypervisor's command line that may have an empty value. Returns no
    /// names for a set, because credentials on the command line cannot be added to a set.
    #[must_use]
    pub fn allow_empty(&self) -> Vec<Name> {
        match self {
            Self::Directory { selection, .. } => selection.allow_empty.clone(),
            Self::Set(_) => Vec::new(),
        }
    }
}

impl SetFiles {
    fn read(&self) -> Result<Set, SupplyError> {
        let refuse = |error| SupplyError::Set { file: self.set.as_path().into(), error };
        let bytes = read_file(&self.set, FILE_MAX)?;
        let mut set = Set::read(bytes.expose()).map_err(refuse)?;
        set.expect(&self.expect).map_err(refuse)?;
        let beside_it = beside(&self.set, SIGNATURE_SUFFIX);
        if !self.signatures.is_empty() {
            for path in &self.signatures {
                set.sign(read_signature(path)?).map_err(refuse)?;
            }
        } else if is_there(&beside_it) {
            check_manifest(&beside(&self.set, MANIFEST_SUFFIX), &set)?;
            set.sign(read_signature(&beside_it)?).map_err(refuse)?;
        }
        if !self.trust.is_empty() {
            let keys = self.trust.iter().map(|key| read_key(key)).collect::<Result<Vec<_>, _>>()?;
            set.verify(&keys).map_err(refuse)?;
        }
        Ok(set)
    }
}

impl Sent {
    /// Returns all OEM strings to send: first the existing strings, then the strings of these credentials.
    ///
    /// # Errors
    /// [`EmitError`] names the credential or the string that cannot be sent.
    pub fn beside(self, existing: Existing) -> Result<OemStrings, EmitError> {
        match self {
            Self::Credentials(credentials, encrypted) => {
                OemStrings::beside_encrypted(existing, &credentials, &encrypted)
            }
            Self::Set(set) => set.beside(existing),
        }
    }
}

fn read_signature(path: &Path) -> Result<Signature, SupplyError> {
    let text = read_file(path, SIGNATURE_MAX)?;
    Signature::read(text.expose()).map_err(|error| SupplyError::Signature { file: path.into(), error })
}

/// Reads a public key. `key` is the text of the key, or the path of a file that contains it. Each key begins with the
/// name of its algorithm, so its base64 text begins with `RW`.
fn read_key(key: &Path) -> Result<TrustedKey, SupplyError> {
    let text = key.as_os_str().as_encoded_bytes();
    if text.starts_with(b"RW") && !text.contains(&b'.') {
        return TrustedKey::read(text).map_err(SupplyError::KeyText);
    }
    let text = read_file(key, KEY_MAX)?;
    TrustedKey::read(text.expose()).map_err(|error| SupplyError::Key { file: key.into(), error })
}

/// Whether the file exists. Also returns true if the kernel does not say whether the file exists, so that an unreadable
/// signature is not ignored.
fn is_there(path: &Path) -> bool {
    // Symbolic links are not followed: a link to a missing signature must be an error.
    !path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Checks that the manifest file next to the set contains the set's manifest. The user has signed the manifest file,
/// and not the set. Checks nothing if the manifest file does not exist.
fn check_manifest(path: &Path, set: &Set) -> Result<(), SupplyError> {
    if !is_there(path) {
        return Ok(());
    }
    let signed = read_file(path, FILE_MAX)?;
    if signed.expose() == set.manifest() { Ok(()) } else { Err(SupplyError::OtherManifest(path.into())) }
}

fn read_file(path: &Path, limit: usize) -> Result<Secret, SupplyError> {
    let refuse = |reason: String| SupplyError::File { file: path.into(), reason };
    match file::open(path).and_then(|file| file::read_unchanged(&file, limit)) {
        Ok(file::Content::Bytes(bytes)) => Ok(bytes.into()),
        Ok(file::Content::TooLarge) => Err(refuse(format!("it has more than {limit} bytes"))),
        Ok(file::Content::Changed) => Err(refuse("it changed while it was being read".to_owned())),
        Ok(file::Content::Other(kind)) => Err(refuse(format!("it is {kind}, not a regular file"))),
        Err(error) => Err(refuse(error.desc().to_owned())),
    }
}
