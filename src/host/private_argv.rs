//! REPLACED AT THE MERGE: the interface of the module that another branch implements, so that this branch builds.
//! Without a private argument it executes the program; with one it returns an error.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

use crate::credential::Secret;
use crate::escape::Escaped;

/// The hidden first argument with which the program executes itself (`/proc/self/exe`) as the tracer.
pub const TRACER: &str = "private-argv-tracer";

/// An argument of a program.
#[derive(Debug)]
pub enum Argument {
    /// One that others may see.
    Public(CString),
    /// One that the program alone is to see.
    Private {
        /// What others see in its place.
        placeholder: CString,
        /// What the program sees.
        value: Secret,
    },
}

/// Why a program was not executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateArgvError {
    /// This build cannot do it.
    #[error("this build has no private arguments")]
    NotBuilt,
    /// execve(2) failed.
    #[error("cannot execute {program}: {}", .errno.desc())]
    Execute {
        /// The program, escaped.
        program: String,
        /// What the kernel answered.
        errno: nix::errno::Errno,
    },
}

/// Executes `program` in the place of this process. `arguments[0]` is its name. Returns only on failure.
///
/// # Errors
/// [`PrivateArgvError`], if the program was not executed.
pub fn exec(
    program: &Path,
    arguments: Vec<Argument>,
    environment: &[CString],
) -> Result<Infallible, PrivateArgvError> {
    let public = arguments.into_iter().map(|argument| match argument {
        Argument::Public(text) => Ok(text),
        Argument::Private { .. } => Err(PrivateArgvError::NotBuilt),
    });
    let arguments = public.collect::<Result<Vec<_>, _>>()?;
    let shown = Escaped::from(program).to_string();
    let failed = |errno| PrivateArgvError::Execute { program: shown.clone(), errno };
    let path = CString::new(program.as_os_str().as_bytes()).map_err(|_| failed(nix::errno::Errno::EINVAL))?;
    nix::unistd::execvpe(&path, &arguments, environment).map_err(failed)
}

/// What the tracer does.
#[must_use]
pub fn trace() -> ExitCode {
    ExitCode::FAILURE
}
