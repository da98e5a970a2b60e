//! `private_argv PROGRAM [FILE...] -- ARGUMENTS...` starts a program with arguments that no other user can see, whose
//! values are in files. Each argument `@` is private: its value is the content of the next FILE. In an argument that ends
//! with `=@`, the path of a private file replaces `@`. This file has the content of the next FILE, and only the program
//! that parses the arguments can open it.
#![allow(clippy::panic, clippy::unwrap_used, reason = "an example, with which the tests start programs")]

use std::alloc::System;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use smbios_creds::cli::{hygiene, log};
use smbios_creds::host::hypervisor::{Argument, Part};
use smbios_creds::host::launch::helper::Helper;
use smbios_creds::host::launch::{Files, Private, execute, program};
use smbios_creds::text::help::Help as _;
use tracing::level_filters::LevelFilter;
use zeroizing_alloc::ZeroAlloc;

#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    log::start("private_argv", LevelFilter::INFO);
    if let Some(helper) = Helper::of_this_process() {
        // The helper protects itself, whichever program starts it.
        return helper.run();
    }
    let mut arguments = std::env::args_os().skip(1);
    let given = PathBuf::from(arguments.next().unwrap());
    let before = hygiene::protect(hygiene::Then::Executes, hygiene::lock_memory(None));
    let mut files =
        arguments.by_ref().take_while(|argument| argument != "--").collect::<Vec<_>>().into_iter();
    // The first argument after `--` is the name that the program gets as `argv[0]`.
    let argv0 = arguments.next().unwrap();
    let arguments = arguments.map(|argument| {
        if argument == "@" {
            Argument::Private(std::fs::read(files.next().unwrap()).unwrap().into())
        } else if let Some(name) = argument.as_encoded_bytes().strip_suffix(b"@")
            && name.ends_with(b"=")
        {
            let content = std::fs::read(files.next().unwrap()).unwrap().into();
            Argument::Files(vec![Part::Text(OsStr::from_bytes(name).into()), Part::File(content)])
        } else {
            Argument::Public(argument)
        }
    });
    let arguments = arguments.collect();
    before.restore();
    let program = program::find(&given).unwrap_or(given);
    let private = Private { placeholder: "@private", word: "oem_strings", files: Files::OfHypervisor };
    let Err(error) = execute(&program, argv0, arguments, private, None);
    tracing::error!(help = %error.help().unwrap_or_default(), "{error}");
    ExitCode::FAILURE
}
