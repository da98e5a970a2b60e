//! `smbios-creds-host`, the host program. The code of this program is in the module `smbios_creds::cli`.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser as _;
use smbios_creds::cli::exit::Exit;
use smbios_creds::cli::host::args::Host;
use smbios_creds::cli::host::{emulator, failure, helper, verbs};
use smbios_creds::cli::hygiene::Then;
use smbios_creds::cli::{hygiene, log, usage};
use zeroizing_alloc::ZeroAlloc;

/// Wipes every block of memory before it is freed.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    if let Some(ended) = helper::run() {
        return ended;
    }
    if let Some(ended) = emulator::run() {
        return ended;
    }
    let host = match Host::try_parse() {
        Ok(host) => host,
        Err(error) => return usage::print(&error, None).into(),
    };
    log::start("smbios-creds-host", host.log_level);
    let before = hygiene::protect(Then::Executes, hygiene::lock_memory(None));
    match verbs::run(host, &before) {
        Ok(exit) => exit,
        Err(error) => {
            failure::tell(&error);
            Exit::Failure
        }
    }
    .into()
}
