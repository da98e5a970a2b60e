//! The subcommand `exec`: imports the credentials, then executes a program with `$CREDENTIALS_DIRECTORY` set.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use nix::unistd::execvpe;

use super::args::Exec;
use super::console::Console;
use super::{failure, init};
use crate::cli::exit::Exit;
use crate::cli::hygiene::Before;
use crate::format::systemd::CREDENTIALS_DIRECTORY;
use crate::guest::import::{Request, import};
use crate::guest::system::System;
use crate::guest::trust;
use crate::sys::variable;
use crate::text::escape::Escaped;

#[inline(never)]
pub(super) fn run(system: &System, exec: &Exec, before: &Before, console: &Console) -> anyhow::Result<Exit> {
    if init::is_pid_1() {
        init::mount_file_systems(system);
    }
    let request = exec.options.request();
    // If PID 1 exits, the kernel panics. So after a failed import, PID 1 exits only if the policy has a condition, or
    // if the guest has a trusted key. Otherwise PID 1 starts the program without credentials.
    let start_anyway = init::is_pid_1() && !request.policy.has_conditions() && !trust::has_keys(system);
    let directory = match credentials(system, &request) {
        Ok(directory) => directory,
        Err(NotStarted::Unmet) if start_anyway => None,
        Err(NotStarted::Failed(error)) if start_anyway => {
            failure::tell(&error);
            None
        }
        Err(NotStarted::Unmet) => {
            tracing::error!("the program is not started");
            return Ok(Exit::Verification);
        }
        Err(NotStarted::Failed(error)) => return Err(error.context("the program is not started")),
    };
    let arguments = exec.program.program.iter().map(|argument| CString::new(argument.as_bytes()));
    let arguments: Vec<CString> =
        arguments.collect::<Result<_, _>>().context("an argument contains a NUL byte")?;
    let environment = environment(directory)?;
    let Some(program) = arguments.first() else { return Ok(Exit::Usage) };
    before.restore();
    console.leave();
    let Err(error) = execvpe(program, &arguments, &environment);
    console.take_back();
    bail!("cannot execute {}: {}", Escaped(program.as_bytes()), error.desc())
}

/// Why the import failed. As PID 1, `exec` may start its program although the import failed (see `start_anyway` in
/// [`run`]).
enum NotStarted {
    /// A condition of the policy is not met. The log says which condition.
    Unmet,
    /// There was nothing to import, or the credentials could not be written.
    Failed(anyhow::Error),
}

/// Imports the credentials for the program that `exec` starts. Returns the directory for `$CREDENTIALS_DIRECTORY`, or
/// `None` if no credential was imported.
fn credentials(system: &System, request: &Request) -> Result<Option<PathBuf>, NotStarted> {
    let imported = import(system, request).map_err(|error| NotStarted::Failed(error.into()))?;
    let meets = imported.meets(&request.policy);
    let placed = match imported.placed {
        Ok(placed) if meets => placed,
        Ok(_) => return Err(NotStarted::Unmet),
        Err(refused) if refused.is_refusal() => {
            tracing::error!("{refused}");
            return Err(NotStarted::Unmet);
        }
        Err(error) => return Err(NotStarted::Failed(error.into())),
    };
    if imported.delivery.intact().next().is_none() {
        return Ok(None);
    }
    let directory = std::path::absolute(placed.directory).context("cannot find the working directory");
    directory.map(Some).map_err(NotStarted::Failed)
}

/// Returns this process's environment, in which `$CREDENTIALS_DIRECTORY` is `directory`. Without a directory, the
/// variable is removed.
fn environment(directory: Option<PathBuf>) -> anyhow::Result<Vec<CString>> {
    let inherited = std::env::vars_os().filter(|(name, _)| name != CREDENTIALS_DIRECTORY);
    let ours = directory.map(|directory| (CREDENTIALS_DIRECTORY.into(), directory.into()));
    let variables = inherited.chain(ours).map(|(name, value): (OsString, OsString)| variable(&name, &value));
    variables.collect::<Result<_, _>>().context("an environment variable contains a NUL byte")
}
