//! `smbios-creds-host`, the host's side. What it does is in `smbios_creds::cli`.

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser as _;
use smbios_creds::cli::exit::Exit;
use smbios_creds::cli::host::args::Host;
use smbios_creds::cli::host::verbs;
use smbios_creds::cli::hygiene::Then;
use smbios_creds::cli::{hygiene, log, usage};
use smbios_creds::host::launch::{private_argv, probe};
use tracing::level_filters::LevelFilter;
use zeroizing_alloc::ZeroAlloc;

/// Wipes every block of memory before it is given back.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let first = std::env::args_os().nth(1);
    if first.as_ref().is_some_and(|argument| argument == probe::HELPER) {
        return probe::help();
    }
    if first.is_some_and(|argument| argument == private_argv::TRACER) {
        log::start("smbios-creds-host", LevelFilter::INFO);
        // It ends itself, and executes nothing but itself: there is nothing to put back.
        _ = hygiene::protect(Then::Ends);
        return private_argv::trace();
    }
    let host = match Host::try_parse() {
        Ok(host) => host,
        Err(error) => return usage::print(&error).into(),
    };
    log::start("smbios-creds-host", host.log_level);
    let before = hygiene::protect(Then::Executes);
    match verbs::run(host, &before) {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("{error:#}");
            Exit::Failure
        }
    }
    .into()
}
