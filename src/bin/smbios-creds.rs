//! `smbios-creds`, the guest agent. The code of this program is in the module `smbios_creds::cli`.

use std::process::ExitCode;

use dlmalloc::GlobalDlmalloc;
use smbios_creds::cli::agent::args::Verb;
use smbios_creds::cli::agent::console::Console;
use smbios_creds::cli::agent::{failure, short, start, systemd_creds, verbs};
use smbios_creds::cli::exit::Exit;
use smbios_creds::cli::hygiene::Then;
use smbios_creds::cli::{hygiene, log, usage};
use zeroizing_alloc::ZeroAlloc;

/// Wipes every block of memory before it is freed. The library wipes its own copies of a value; this allocator also
/// wipes copies by other libraries. (musl's own allocator makes a system call for every few blocks that it allocates.
/// These calls would be half of all system calls of an import.)
#[global_allocator]
static ALLOCATOR: ZeroAlloc<GlobalDlmalloc> = ZeroAlloc(GlobalDlmalloc);

ctor::declarative::ctor! {
    /// Runs before Rust's runtime changes descriptors or signals of this process (docs/decisions/0002-before-main.md).
    #[ctor(unsafe)]
    fn before_main() {
        start::before_main();
    }
}

fn main() -> ExitCode {
    let console = Console::find();
    let args: Vec<_> = std::env::args_os().collect();
    let agent = match short::parse(&args) {
        Ok(agent) => agent,
        Err(error) => return usage::print(&error, systemd_creds::help(&error)).into(),
    };
    log::start("smbios-creds", agent.log_level());
    let then = if matches!(agent.verb, Verb::Exec(_)) { Then::Executes } else { Then::Ends };
    let before = hygiene::protect(then, start::locked());
    match verbs::run(&agent, &before, &console) {
        Ok(exit) => exit,
        Err(error) => {
            failure::tell(&error);
            Exit::of(&error)
        }
    }
    .into()
}
