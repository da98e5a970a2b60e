//! The file with a verifier: written where credentials are sent, read where their receipt is awaited.
//!
//! It is no secret ([`Verifier`]), and is for its owner only all the same. It is replaced at once, so that a reader finds
//! the old line or the new one.

use std::ffi::CString;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::format::receipt::{Verifier, VerifierError};
use crate::sys::directory::{Directory, Links};
use crate::sys::file::{self, Content};
use crate::sys::{Errno, io_errno, staging};
use crate::text::escape::ShownPath;

/// Beginning of the name of a file that is not in place yet.
const STAGING: &str = ".smbios-creds-verifier-";

/// Why a file with a verifier cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifierFileError {
    /// The kernel refuses.
    #[error("cannot {action} the verifier {path}: {}", .error.desc())]
    System {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: ShownPath,
        /// What the kernel says.
        error: Errno,
    },
    /// The file is another one.
    #[error("{path} is no verifier: {error}; name another file with --verifier")]
    Other {
        /// The file.
        path: ShownPath,
        /// What is wrong with it.
        error: VerifierError,
    },
    /// The path ends in no name.
    #[error("{0} names no file; use a path that ends in a name")]
    NoName(ShownPath),
}

/// Reads the verifier in a file.
///
/// # Errors
/// [`VerifierFileError`] says why not.
pub fn read(path: &Path) -> Result<Verifier, VerifierFileError> {
    let failed = |error| VerifierFileError::System { action: "read", path: path.into(), error };
    let other = |error| VerifierFileError::Other { path: path.into(), error };
    let file = file::open(path).map_err(failed)?;
    match file::read(&file, Verifier::SIZE_MAX).map_err(failed)? {
        Content::Bytes(text) => Verifier::decode(&text).map_err(other),
        Content::TooLarge | Content::Changed | Content::Other(_) => Err(other(VerifierError)),
    }
}

/// Writes a verifier in the place of the one that was there. Anything else that was there is left, and is an error.
///
/// # Errors
/// [`VerifierFileError`] says why not.
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
    // Of a process that had our ID, and was killed.
    _ = directory.remove_file(&*staged);
    let put = || {
        let mut file = directory.create(&*staged, 0o600)?;
        file.write_all(verifier.encode().as_bytes()).map_err(io_errno)?;
        directory.rename(&*staged, &*name)
    };
    put().map_err(|error| {
        // The first error is the one to tell.
        _ = directory.remove_file(&*staged);
        failed(error)
    })
}
