//! Replaces this process with a hypervisor (`exec`). Only the hypervisor can see the OEM strings that it gets.
//!
//! If the hypervisor cannot read OEM strings from files, its arguments contain the strings. [`private_argv`] hides
//! these arguments. If a wrapper (a program such as env(1) that executes another program) executes the hypervisor,
//! [`private_argv`] also hides the files with OEM strings from the wrapper. For both purposes, this program executes
//! itself as a second process, the tracer ([`helper`]). So a program that calls [`execute`] must first check whether
//! its process is the tracer ([`helper::Helper::of_this_process`]). [`image`] finds out whether a program is the
//! hypervisor or a wrapper.

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

/// Why [`execute`] did not execute the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A file in memory cannot be created.
    #[error("cannot create a file in memory for OEM strings: {0}")]
    Memfd(std::io::Error),
    /// An argument or an environment variable contains a NUL byte.
    #[error("an argument or an environment variable contains a NUL byte")]
    Nul(#[from] NulError),
    /// The program that is started cannot be given private arguments, which are hidden from other processes.
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

/// How the private arguments, which other processes must not see, get to the hypervisor.
#[derive(Clone, Copy, Debug)]
pub struct Private<'a> {
    /// The text that other processes see instead of a private argument.
    pub placeholder: &'a str,
    /// A word that the hypervisor's executable file contains, such as `oem_strings`. A wrapper's file does not contain
    /// this word.
    pub word: &'a str,
    /// Which program gets the files with OEM strings.
    pub files: Files,
}

/// Which program gets the files with OEM strings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Files {
    /// The program that this process executes gets the files, and so does every program that inherits its descriptors.
    Inherited,
    /// Only the first program whose executable file contains [`Private::word`] gets the files.
    OfHypervisor,
}

/// Replaces this process with a program (`exec`). The program keeps this process's PID, descriptors, working directory,
/// signals and environment. `argv0` is the program's own name, its first argument.
///
/// Other processes see a placeholder instead of each private argument, and instead of each argument with paths of files
/// that only the hypervisor gets. Only the hypervisor gets the real arguments. The hypervisor is `program`, or a
/// program that `program` executes. If no argument is private and all files may be inherited, this function only calls
/// execve(2). `ahead` is a tracer that was started before this call.
///
/// When this process calls this function, its memory should contain no copy of the secret values except those in
/// `arguments`. For a moment, other processes of the same user can read this memory (see `Tracer::attach` in
/// `private_argv/attach.rs`). After the start, such processes can also read the program's memory.
///
/// # Errors
/// [`LaunchError`], if nothing was executed. If the start fails after this process has executed the program, this
/// function cannot return an error: the program is killed.
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

/// Creates a file in memory for each [`Part::File`] of an argument. Returns the argument with the paths of these files.
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
