//! Prints help, and errors in the arguments.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io::Write as _;

use clap::error::{ContextKind, ContextValue};

use super::exit::Exit;
use crate::guest::place::choose::UnknownPlace;
use crate::text::escape::write_safely;
use crate::text::help::Help;
use crate::trust::signature::KeyError;

/// Prints help to stdout, and an error in the arguments to stderr. Escapes the text, because it can quote the
/// arguments. `help` is a remedy that is added to clap's text.
#[must_use]
#[cold]
#[inline(never)]
pub fn print(error: &clap::Error, help: Option<&str>) -> Exit {
    let mut text = String::new();
    for character in complaint(error).chars() {
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
    // If the program cannot write to stdout or stderr, it has no other way to report this.
    if error.use_stderr() {
        _ = std::io::stderr().write_all(text.as_bytes());
        Exit::Usage
    } else {
        _ = std::io::stdout().write_all(text.as_bytes());
        Exit::Ok
    }
}

/// Returns clap's text. If clap refuses an argument's value with an error that has a remedy, inserts the remedy after
/// the first line of the text. Removes from the text a value that is not a valid public key, because it may be a secret
/// key.
fn complaint(error: &clap::Error) -> String {
    let mut text = error.to_string();
    let source = error.source();
    let key = source.and_then(|source| source.downcast_ref::<KeyError>());
    if let (Some(_), Some(ContextValue::String(value))) = (key, error.get(ContextKind::InvalidValue)) {
        text = text.replace(&format!(" '{value}'"), "");
    }
    let place = source.and_then(|source| source.downcast_ref::<UnknownPlace>());
    let help = place.and_then(Help::help).or_else(|| key?.help());
    if let (Some(help), Some(end)) = (help, text.find('\n')) {
        text.insert_str(end, &format!("\n  help: {help}"));
    }
    text
}
