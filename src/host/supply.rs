//! Where the strings come from that are sent: files of a credentials directory, or a packed set.

use std::path::{Path, PathBuf};

use super::set::{FILE_MAX, Set, SetError};
use super::source::{self, DirectoryError, Selection};
use super::strings::{EmitError, Existing, OemStrings};
use crate::format::credential::{Credential, Name, Secret};
use crate::sys::file;
use crate::text::escape::ShownPath;
use crate::trust::sealed::Sealed;
use crate::trust::signature::{KEY_MAX, KeyError, SIGNATURE_MAX, Signature, SignatureError, TrustedKey};

/// What the name of the file ends with that has the manifest of a set: what is signed.
pub const MANIFEST_SUFFIX: &str = ".manifest";

/// What the name of the file ends with that has the signature of a set's manifest, as minisign names it.
pub const SIGNATURE_SUFFIX: &str = ".manifest.minisig";

/// The path of a file beside that of a set, with this at the end of its name.
#[must_use]
pub fn beside(set: &Path, suffix: &str) -> PathBuf {
    let mut path = set.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Where what is sent comes from.
#[derive(Clone, Debug)]
pub enum Supply {
    /// Files of a credentials directory.
    Directory {
        /// The directory; `None` takes the one that `$CREDENTIALS_DIRECTORY` names.
        directory: Option<PathBuf>,
        /// What to take from it.
        selection: Selection,
    },
    /// A packed set.
    Set(SetFiles),
}

/// The file of a packed set.
#[derive(Clone, Debug)]
pub struct SetFiles {
    /// The set itself.
    pub set: PathBuf,
    /// Files with signatures of its manifest; with none, the one beside the set is taken if it is there.
    pub signatures: Vec<PathBuf>,
    /// Public keys of which one must have signed it, each as text or in a file. With none, no signature is verified.
    pub trust: Vec<PathBuf>,
    /// Names that must be in it.
    pub expect: Vec<Name>,
}

/// Why there is nothing to send.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupplyError {
    /// The files of the directory cannot be had.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file of the set cannot be read.
    #[error("cannot read {file}: {reason}")]
    File {
        /// The file.
        file: ShownPath,
        /// What the kernel says, or what it is.
        reason: String,
    },
    /// A file that stands for a signature is none.
    #[error("{file}: {error}")]
    Signature {
        /// The file.
        file: ShownPath,
        /// Why.
        error: SignatureError,
    },
    /// What stands for a public key is none.
    #[error("--trust {file}: {error}")]
    Key {
        /// The file.
        file: ShownPath,
        /// Why.
        error: KeyError,
    },
    /// The text that stands for a public key is none. It is not shown: it may be of a secret one.
    #[error("--trust: the key that begins with RW is refused: {0}")]
    KeyText(KeyError),
    /// The file that was meant to be signed is not the manifest of the set.
    #[error(
        "{0} is not the manifest of the set beside it, so a signature of it is none of the set; pack the set again, and \
         sign that"
    )]
    OtherManifest(ShownPath),
    /// What a set holds cannot be sent.
    #[error("set {file}: {error}")]
    Set {
        /// Its file.
        file: ShownPath,
        /// Why.
        error: SetError,
    },
}

/// What is sent: credentials whose manifest is still to be written, or a set that has one.
#[derive(Debug)]
pub enum Sent {
    /// Credentials and those that are encrypted already, which share a manifest with those that others send.
    Credentials(Vec<Credential>, Vec<Sealed>),
    /// A set, which is sent unchanged.
    Set(Set),
}

impl Supply {
    /// Reads it.
    ///
    /// # Errors
    /// [`SupplyError`] names the file, and says why it cannot be had.
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

    /// Names whose value may be empty, among what others send. A set allows none: its manifest lists all that there is.
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
    /// The OEM strings of it, after those that are there.
    ///
    /// # Errors
    /// [`EmitError`] names the credential or the string.
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

/// A public key: the text of one, or a file that has it. Each key begins with `RW`, the base64 of its algorithm.
fn read_key(key: &Path) -> Result<TrustedKey, SupplyError> {
    let text = key.as_os_str().as_encoded_bytes();
    if text.starts_with(b"RW") && !text.contains(&b'.') {
        return TrustedKey::read(text).map_err(SupplyError::KeyText);
    }
    let text = read_file(key, KEY_MAX)?;
    TrustedKey::read(text.expose()).map_err(|error| SupplyError::Key { file: key.into(), error })
}

/// Whether there is such a file. In doubt there is, so that a signature which cannot be read is not left out.
fn is_there(path: &Path) -> bool {
    // Not followed: a link to a signature that is missing is no set without a signature.
    !path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Holds the file that was signed against the set, if it is still there.
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
        Ok(file::Content::Changed) => Err(refuse("it has changed while it was read".to_owned())),
        Ok(file::Content::Other(kind)) => Err(refuse(format!("it is {kind}, not a regular file"))),
        Err(error) => Err(refuse(error.desc().to_owned())),
    }
}
