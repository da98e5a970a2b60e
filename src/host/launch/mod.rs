//! Executes a hypervisor in the place of this process, with OEM strings that only it sees.
//!
//! [`private_argv`] is a guard for hypervisors that have no other private carrier, and for those that wrappers execute. [`helper`] is how the program executes
//! itself for that. A program that starts hypervisors must call [`helper::Helper::run`] first. [`image`] tells what a
//! program is.

mod child;
pub mod helper;
pub mod image;
pub mod private_argv;
pub mod program;

use std::convert::Infallible;
use std::ffi::{CString, NulError, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use nix::unistd::execve;

use self::private_argv::{
    Ahead, FIRST_DESCRIPTOR, Hidden, InFiles, PrivateArgv, PrivateArgvError, Replacement,
};
use super::hypervisor::{Argument, Part, hidden};
use crate::format::credential::Secret;
use crate::sys::program::{inherit, sealed_memfd};
use crate::sys::{Errno, variable};
use crate::text::escape::ShownPath;

/// Why a program was not executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A file in memory cannot be made.
    #[error("cannot make a file in memory for OEM strings: {0}")]
    Memfd(std::io::Error),
    /// An argument holds a NUL byte.
    #[error("an argument or a variable holds a NUL byte")]
    Nul(#[from] NulError),
    /// It cannot be given private arguments.
    #[error(transparent)]
    PrivateArgv(#[from] PrivateArgvError),
    /// There is no such program, or execve(2) failed when everything was ready.
    #[error("cannot execute {program}: {}", .errno.desc())]
    Execute {
        /// The program.
        program: ShownPath,
        /// What the kernel answered.
        errno: Errno,
    },
}

/// What private arguments need to get to the program that parses them.
#[derive(Clone, Copy, Debug)]
pub struct Private<'a> {
    /// What others see in their place.
    pub placeholder: &'a str,
    /// The word that only a program which parses them has in its image.
    pub word: &'a str,
    /// Which program has files of strings.
    pub files: Files,
}

/// Which program has files of strings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Files {
    /// The one that is started, and all that inherit its descriptors.
    Inherited,
    /// The first one with the word in its image, and no other.
    OfHypervisor,
}

/// Executes a program in the place of this process: its PID, descriptors, working directory, signals and environment
/// are those of the program then. `argv0` is the name that it is given. Each private argument, and each with files that
/// only the hypervisor has, is replaced by a placeholder, until the program that parses it is executed: this program, or
/// one that it executes. Without such arguments, this is execve(2). `ahead` is a tracer for them that was started before.
///
/// By the time of the call, this process should hold no other copy of the values: for a moment, see the comment at
/// `attach`, other processes of the same user may look into it, as they may into the program afterwards.
///
/// # Errors
/// [`LaunchError`], if nothing was executed. Once it is, a failure kills the process.
pub fn execute(
    program: &Path,
    argv0: OsString,
    arguments: Vec<Argument>,
    private: Private<'_>,
    ahead: Option<Ahead>,
) -> Result<Infallible, LaunchError> {
    let placeholder = CString::new(private.placeholder)?;
    let mut visible = vec![CString::new(argv0.into_vec())?];
    let (mut files, mut only) = (Vec::new(), Hidden::default());
    for argument in arguments {
        visible.push(match argument {
            Argument::Public(text) => CString::new(text.into_vec())?,
            Argument::Files(parts) if private.files == Files::Inherited => in_memory(parts, &mut files)?,
            Argument::Files(parts) => {
                let placeholder = CString::new(hidden(&parts, only.files.len() + 1).into_vec())?;
                only.files.push(InFiles { placeholder: placeholder.as_bytes().to_vec(), parts });
                placeholder
            }
            Argument::Private(value) => {
                only.replacements.push(Replacement { placeholder: placeholder.as_bytes().to_vec(), value });
                placeholder.clone()
            }
        });
    }
    let variables = std::env::vars_os().map(|(name, value)| variable(&name, &value));
    let environment: Vec<CString> = variables.collect::<Result<_, _>>()?;
    for file in &files {
        inherit(file).map_err(LaunchError::Memfd)?;
    }
    let path = CString::new(program.as_os_str().as_bytes())?;
    let guard = PrivateArgv::attach(program, private.word, only, ahead)?;
    let Err(errno) = execve(&path, &visible, &environment);
    guard.release();
    Err(LaunchError::Execute { program: program.into(), errno })
}

/// Makes the files of an argument, and the argument that names them.
fn in_memory(parts: Vec<Part>, files: &mut Vec<OwnedFd>) -> Result<CString, LaunchError> {
    let mut text = OsString::new();
    for part in parts {
        match part {
            Part::Text(part) => text.push(part),
            Part::File(content) => {
                let file =
                    sealed_memfd(Secret::expose(&content), FIRST_DESCRIPTOR).map_err(LaunchError::Memfd)?;
                text.push(format!("/proc/self/fd/{}", file.as_raw_fd()));
                files.push(file);
            }
        }
    }
    Ok(CString::new(text.into_vec())?)
}
