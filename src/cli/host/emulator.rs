//! `qemu-with-credentials`: the name of `smbios-creds-host` if it is the `<emulator>` of a libvirt domain. Under this
//! name, the program starts QEMU with the domain's credentials.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use super::{failure, verbs};
use crate::cli::exit::Exit;
use crate::cli::hygiene::{self, Then};
use crate::cli::log;
use crate::host::domain;
use crate::host::hypervisor::named;
use crate::host::source::Selection;
use crate::host::start::Request;
use crate::host::supply::Supply;

/// Starts QEMU if this program was executed as `qemu-with-credentials` or `qemu-with-credentials-ARCH`. Returns `None`
/// if the program has another name, and an exit code if the start fails.
#[must_use]
pub fn run() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = domain::qemu_of(&arguments.next()?)?;
    log::start("smbios-creds-host", LevelFilter::INFO);
    let before = hygiene::protect(Then::Executes, hygiene::lock_memory(None));
    let exit = verbs::run_emulator(request(program, arguments.collect()), &before).unwrap_or_else(|error| {
        failure::tell(&error);
        Exit::Failure
    });
    Some(exit.into())
}

fn request(program: PathBuf, arguments: Vec<OsString>) -> Request {
    Request {
        program,
        hypervisor: named("qemu"),
        argv0: None,
        arguments,
        supply: Supply::Directory { directory: None, selection: Selection::all() },
        allow_argv: false,
        receipt: None,
    }
}
