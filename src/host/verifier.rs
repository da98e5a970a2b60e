//! The file with a verifier: the bytes with which the proof in a guest's receipt is checked. The program that sends credentials writes the
//! file, and the program that waits for the receipt reads the file.
//!
//! The verifier is not secret ([`Verifier`]), but only the file's owner can read the file. The file is replaced
//! atomically: a program that reads it gets either the old or the new verifier.

use std::borrow::Cow;
use std::ffi::CString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::format::receipt::{Verifier, VerifierError};
use crate::sys::directory::{Directory, Links};
use crate::sys::file::{self, Content};
use crate::sys::{Errno, io_errno, staging};
use crate::text::escape::ShownPath;
use crate::text::help::Help;

/// Start of a temporary file's name.
const STAGING: &str = ".smbios-creds-verifier-";

/// Why a file with a verifier cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierFileError {
    /// A system call failed.
    #[error("cannot {action} the verifier {path}: {}", .error.desc())]
    System {
        /// The action that failed.
        action: &'static str,
        /// The file with the verifier.
        path: ShownPath,
        /// The kernel's error.
        error: Errno,
    },
    /// The file does not contain a verifier.
    #[error("{path} is not a verifier: {error}")]
    Other {
        /// The file that is not a verifier.
        path: ShownPath,
        /// What is wrong with the file.
        error: VerifierError,
    },
    /// The path does not end in a file name.
    #[error("{0} does not end in a name")]
    NoName(ShownPath),
}

impl Help for VerifierFileError {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Other { .. } => Some("use --verifier with another file".into()),
            Self::NoName(_) => Some("use a path that ends in a name".into()),
            Self::System { .. } => None,
        }
    }
}

/// Reads the verifier from a file.
///
/// # Errors
/// [`VerifierFileError`] says why the file cannot be read.
pub fn read(path: &Path) -> Result<Verifier, VerifierFileError> {
    let failed = |error| VerifierFileError::System { action: "read", path: path.into(), error };
    let other = |error| VerifierFileError::Other { path: path.into(), error };
    let file = file::open(path).map_err(failed)?;
    match file::read(&file, Verifier::SIZE_MAX).map_err(failed)? {
        Content::Bytes(text) => Verifier::decode(&text).map_err(other),
        Content::TooLarge | Content::Changed | Content::Other(_) => Err(other(VerifierError)),
    }
}

/// Writes a verifier, and replaces an older verifier in the file. If the file has other content, the file is not
/// changed, and an error is returned.
///
/// # Errors
/// [`VerifierFileError`] says why the file cannot be written.
pub fn write(path: &Path, verifier: &Verifier) -> Result<(), VerifierFileError> {
    match read(path) {
        Ok(_) | Err(VerifierFileError::System { error: Errno::ENOENT, .. }) => {}
        Err(error) => return Err(error),
    }
    let failed = |error| VerifierFileError::System { action: "write", path: path.into(), error };
    let no_name = || VerifierFileError::NoName(path.into());
    let name = path.file_name().and_then(|name| CString::new(name.as_bytes()).ok()).ok_or_else(no_name)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = Directory::open(parent, Links::Follow).map_err(failed)?;
    let staged = CString::new(staging::name(STAGING, std::process::id(), 0)).map_err(|_| no_name())?;
    // A killed process that had the same PID as this process may have left a temporary file with this name.
    _ = directory.remove_file(&*staged);
    let put = || {
        let mut file = directory.create(&*staged, 0o600)?;
        file.write_all(verifier.encode().as_bytes()).map_err(io_errno)?;
        directory.rename(&*staged, &*name)
    };
    put().map_err(|error| {
        // If the temporary file cannot be removed, only the earlier error is reported.
        _ = directory.remove_file(&*staged);
        failed(error)
    })
}
