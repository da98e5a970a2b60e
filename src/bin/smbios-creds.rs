//! `smbios-creds`, the guest agent. What it does is in `smbios_creds::cli`.

use std::alloc::System;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use smbios_creds::cli::agent::Agent;
use smbios_creds::cli::exit::Exit;
use smbios_creds::cli::{hygiene, log, verbs};
use tracing::Level;
use zeroizing_alloc::ZeroAlloc;

/// Wipes every block of memory before it is given back, smbios-lib's copies of the table among them.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let agent = match Agent::try_parse() {
        Ok(agent) => agent,
        Err(error) => return usage(&error).into(),
    };
    log::start(agent.log_level);
    let before = hygiene::protect();
    match verbs::run(&agent, &before) {
        Ok(exit) => exit,
        Err(error) => {
            log::say(Level::ERROR, format_args!("{error:#}"));
            Exit::of(&error)
        }
    }
    .into()
}

/// Prints help to stdout and complaints to stderr, with what was typed made safe to print.
fn usage(error: &clap::Error) -> Exit {
    let mut text = String::new();
    for character in error.to_string().chars() {
        match character {
            '\n' => text.push(character),
            // Writing to a string cannot fail.
            _ => _ = log::write_safely(&mut text, character),
        }
    }
    // Nobody is left to tell if this fails.
    if error.use_stderr() {
        _ = std::io::stderr().write_all(text.as_bytes());
        Exit::Usage
    } else {
        _ = std::io::stdout().write_all(text.as_bytes());
        Exit::Ok
    }
}
