//! Help, and complaints about arguments.

use std::fmt::Write as _;
use std::io::Write as _;

use super::exit::Exit;
use crate::text::escape::write_safely;

/// Prints help to stdout and complaints to stderr, with what was typed made safe to print. `help` says what to do, if there
/// is more to say than how to use the program.
#[must_use]
pub fn print(error: &clap::Error, help: Option<&str>) -> Exit {
    let mut text = String::new();
    for character in error.to_string().chars() {
        match character {
            '\n' => text.push(character),
            // Writing to a string cannot fail.
            _ => _ = write_safely(&mut text, character),
        }
    }
    if let Some(help) = help {
        // Writing to a string cannot fail.
        _ = writeln!(text, "\n  help: {help}");
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
