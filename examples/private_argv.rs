//! A launcher of one's own, that starts a program with arguments that nobody else sees:
//! `private_argv PROGRAM [FILE...] -- ARGUMENTS...`. Each argument `@` is private, and its value the content of the next
//! FILE.
#![allow(clippy::panic, clippy::unwrap_used, reason = "an example, with which the tests start programs")]

use std::alloc::System;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;

use smbios_creds::cli::hygiene::Then;
use smbios_creds::cli::{hygiene, log};
use smbios_creds::host::launch::private_argv::{self, Argument};
use tracing::level_filters::LevelFilter;
use zeroizing_alloc::ZeroAlloc;

#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    log::start("private_argv", LevelFilter::INFO);
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().unwrap();
    if program == private_argv::TRACER {
        // It protects itself, whoever calls it.
        return private_argv::trace();
    }
    let before = hygiene::protect(Then::Executes);
    let mut files =
        arguments.by_ref().take_while(|argument| argument != "--").collect::<Vec<_>>().into_iter();
    let text = |text: OsString| CString::new(text.into_vec()).unwrap();
    let arguments = arguments.map(|argument| {
        if argument == "@" {
            let value = std::fs::read(files.next().unwrap()).unwrap().into();
            Argument::Private { placeholder: c"@private".into(), value }
        } else {
            Argument::Public(text(argument))
        }
    });
    let arguments = arguments.collect();
    let environment = std::env::vars_os()
        .map(|(name, value)| text([name.as_os_str(), "=".as_ref(), value.as_os_str()].into_iter().collect()));
    let environment: Vec<CString> = environment.collect();
    before.restore();
    let Err(error) = private_argv::exec(Path::new(&program), arguments, &environment);
    tracing::error!("{error}");
    ExitCode::FAILURE
}
