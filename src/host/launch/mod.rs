//! Replaces this process with a hypervisor (`exec`), whose OEM strings only the hypervisor can see.
//!
//! [`private_argv`] protects arguments that contain strings, if the hypervisor cannot read the strings from files. It
//! also protects files if a wrapper executes the hypervisor. For this, the program executes itself as a [`helper`]. A
//! program that starts hypervisors must call [`helper::Helper::run`] first. [`image`] finds out which kind a program
//! is.

mod child;
pub mod helper;
pub mod image;
pub mod private_argv;
pub mod program;

use std::borrow::Cow;
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
use crate::text::help::Help;

/// Why the program was not executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A file in memory cannot be created.
    #[error("cannot create a file in memory for OEM strings: {0}")]
    Memfd(std::io::Error),
    /// An argument or a variable contains a NUL byte.
    #[error("an argument or an environment variable contains a NUL byte")]
    Nul(#[from] NulError),
    /// The program cannot be given private arguments.
    #[error(transparent)]
    PrivateArgv(#[from] PrivateArgvError),
    /// The program does not exist, or execve(2) failed after all preparations.
    #[error("cannot execute {program}: {}", .errno.desc())]
    Execute {
        /// The program that was not executed.
        program: ShownPath,
        /// The kernel's error.
        errno: Errno,
    },
}

impl Help for LaunchError {
    fn help(&self) -> Option<Cow<'static, str>> {
        if let Self::PrivateArgv(error) = self { error.help() } else { None }
    }
}

/// How private arguments get to the program that parses them.
#[derive(Clone, Copy, Debug)]
pub struct Private<'a> {
    /// The text that others see instead of a private argument.
    pub placeholder: &'a str,
    /// A word that is only in the image of a program that parses the private arguments.
    pub word: &'a str,
    /// Which program gets the files with strings.
    pub files: Files,
}

/// Which program gets the files with strings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Files {
    /// The program that is started, and every program that inherits its descriptors.
    Inherited,
    /// Only the first program that has the word in its image.
    OfHypervisor,
}

/// Replaces this process with a program (`exec`). The program keeps the PID, the descriptors, the working directory,
/// the signals and the environment. Its name is `argv0`. Others see a placeholder instead of each private argument, and
/// instead of each argument with files that only the hypervisor has. The program that parses the arguments gets the
/// real ones: this program, or a program that it executes. Without such arguments, this function only calls execve(2).
/// `ahead` is a tracer that was started before.
///
/// This process should contain no other copy of the values when it calls this function. For a moment, other processes
/// of the same user can read its memory (see the comment at `attach`), as they can read the program's memory
/// afterwards.
///
/// # Errors
/// [`LaunchError`], if nothing was executed. A failure after the execution kills the process.
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

/// Creates the files of an argument. Returns the argument with their paths.
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
