//! Executes a hypervisor in the place of this process, with OEM strings that nobody else sees.

use std::convert::Infallible;
use std::ffi::{CString, NulError, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

pub mod private_argv;
pub mod probe;
mod program;

use self::private_argv::PrivateArgvError;
use super::capacity::Usage;
use super::hypervisor::{Argument, Part};
use super::plan::{Delivery, Plan};
use crate::format::credential::Secret;

/// Lowest descriptor of a file of strings: a script that starts the hypervisor uses the low ones for itself.
const FIRST_DESCRIPTOR: i32 = 64;

/// Why a hypervisor was not executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// More than can be carried.
    #[error("{0}")]
    Exceeded(Usage),
    /// A file in memory cannot be made.
    #[error("cannot make a file in memory for OEM strings: {0}")]
    Memfd(std::io::Error),
    /// An argument holds a NUL byte.
    #[error("an argument or a variable holds a NUL byte")]
    Nul(#[from] NulError),
    /// The program was not executed.
    #[error(transparent)]
    Exec(#[from] PrivateArgvError),
}

/// Executes what is planned in the place of this process: its PID, descriptors, folder and signals are those of the
/// hypervisor then. Returns only on failure.
///
/// # Errors
/// [`LaunchError`], if nothing was executed.
pub fn exec(plan: Plan) -> Result<Infallible, LaunchError> {
    if let Some(usage) = plan.exceeded().next() {
        return Err(LaunchError::Exceeded(*usage));
    }
    let placeholder = CString::new(plan.placeholder())?;
    let Plan { program, argv0, delivery, strings, arguments, .. } = plan;
    // What the arguments hold is all that is left of the values when the program is executed.
    drop(strings);
    let mut files = Vec::new();
    let mut prepared = vec![private_argv::Argument::Public(c_string(argv0)?)];
    for argument in arguments {
        prepared.push(match argument {
            Argument::Public(text) => private_argv::Argument::Public(c_string(text)?),
            Argument::Files(parts) => {
                let mut text = OsString::new();
                for part in parts {
                    match part {
                        Part::Text(part) => text.push(part),
                        Part::File(content) => {
                            let file = sealed_memfd(&content).map_err(LaunchError::Memfd)?;
                            text.push(format!("/proc/self/fd/{}", file.as_raw_fd()));
                            files.push(file);
                        }
                    }
                }
                private_argv::Argument::Public(c_string(text)?)
            }
            Argument::Private(value) if delivery == Delivery::PlainArgument => {
                private_argv::Argument::Public(CString::new(value.expose())?)
            }
            Argument::Private(value) => {
                private_argv::Argument::Private { placeholder: placeholder.clone(), value }
            }
        });
    }
    let mut environment = Vec::new();
    for (name, value) in std::env::vars_os() {
        environment.push(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    for file in &files {
        fcntl_setfd(file, FdFlags::empty()).map_err(|error| LaunchError::Memfd(error.into()))?;
    }
    Ok(private_argv::exec(&program, prepared, &environment)?)
}

fn c_string(text: OsString) -> Result<CString, NulError> {
    CString::new(text.into_vec())
}

/// A file that exists in memory alone, is for its owner alone, and can no longer be changed.
fn sealed_memfd(content: &Secret) -> std::io::Result<OwnedFd> {
    let memfd = memfd_create(c"smbios-creds", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let memfd = fcntl_dupfd_cloexec(&memfd, FIRST_DESCRIPTOR)?;
    let mut file = File::from(memfd);
    file.write_all(content.expose())?;
    fchmod(&file, Mode::RUSR)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

/// Finds a program in `$PATH`, as execvp(3) does.
#[must_use]
pub fn find(program: &Path) -> Option<PathBuf> {
    let executable = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    private_argv::find(program).ok().filter(executable)
}
