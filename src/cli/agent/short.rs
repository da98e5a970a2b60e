//! Parses the arguments of `import` and `exec` in a short way: clap gets the definitions of only those options that the
//! command line contains.
//!
//! A boot waits for these two subcommands. For each option, clap executes 25,000 instructions (x86-64, counted by
//! valgrind): 10,000 to define the option, and 15,000 to parse and to drop it. To define the arguments of all
//! subcommands, clap would execute 430,000 to 500,000 instructions.
//!
//! The long way is clap with the definitions of all options. If the short way succeeds, the long way would return the
//! same result, because both ways use the same definition of each option. clap finds an option only by its exact name,
//! so an option that is not on the command line always has its default. If the short way fails, the command line is
//! parsed in the long way. So the long way handles every error, `--help`, and each argument that starts with `-` but is
//! not the name of an option.

use std::ffi::OsString;

use clap::{Args as _, Command, Error, FromArgMatches, Parser as _};

use super::args::{Agent, Exec, Import, Program, Verb};
use super::asked::{Asked, Named};
use super::deferred::Deferred;
use super::options::{
    AllowEmpty, AllowNone, Close, ConfidentialArg, DryRun, From, IntoArg, LogLevel, Manifest, Require, Root,
    Strict, TrustArgs,
};

/// A group of options, and the function that defines them in clap.
struct Definition {
    names: &'static [&'static str],
    define: fn(Command) -> Command,
}

impl Definition {
    const fn of<T: Named>() -> Self {
        Self { names: T::NAMES, define: T::augment_args }
    }
}

/// The options that both `import` and `exec` have.
const SHARED: [Definition; 10] = [
    Definition::of::<LogLevel>(),
    Definition::of::<Root>(),
    Definition::of::<From>(),
    Definition::of::<IntoArg>(),
    Definition::of::<Require>(),
    Definition::of::<AllowEmpty>(),
    Definition::of::<Manifest>(),
    Definition::of::<ConfidentialArg>(),
    Definition::of::<TrustArgs>(),
    Definition::of::<Strict>(),
];

/// The options that only `import` has.
const IMPORT: [Definition; 3] =
    [Definition::of::<DryRun>(), Definition::of::<AllowNone>(), Definition::of::<Close>()];

/// Parses a command line. The first of the `words` is the program's name.
///
/// # Errors
/// Returns the requested help, or the error in the command line.
pub fn parse(words: &[OsString]) -> Result<Agent, Error> {
    short(words).map_or_else(|| long(words), Ok)
}

/// Parses a command line with the definitions of all options. Not inlined, so that the code of an import is on fewer
/// pages.
#[cold]
#[inline(never)]
fn long(words: &[OsString]) -> Result<Agent, Error> {
    Agent::try_parse_from(words)
}

/// Parses a command line in the short way, which defines only the given options in clap. Returns `None` if this does
/// not succeed.
#[must_use]
pub fn short(words: &[OsString]) -> Option<Agent> {
    let [_, verb, rest @ ..] = words else { return None };
    match verb.to_str()? {
        "import" => {
            let command = define(Command::new("import"), rest, &[&SHARED, &IMPORT])?;
            agent::<Import>(command, rest, Verb::Import)
        }
        "exec" => {
            let command = define(Program::augment_args(Command::new("exec")), rest, &[&SHARED])?;
            agent::<Exec>(command, rest, Verb::Exec)
        }
        _ => None,
    }
}

/// Adds the definitions of those options that are in `words` to a command. Returns `None` if a word starts with `-` but
/// is not the name of an option.
fn define(mut command: Command, words: &[OsString], definitions: &[&[Definition]]) -> Option<Command> {
    let words = words.iter().map(|word| word.as_encoded_bytes()).take_while(|word| *word != b"--");
    let mut given: Vec<&str> =
        words.filter(|word| word.starts_with(b"-")).map(name).collect::<Option<_>>()?;
    // The definition of `--close` says that it conflicts with `--from`, so `--from` must be defined too.
    let names_from = given.iter().any(|name| Close::NAMES.contains(name));
    for definition in definitions.iter().copied().flatten() {
        let before = given.len();
        given.retain(|name| !definition.names.contains(name));
        if given.len() < before || names_from && definition.names == From::NAMES {
            command = (definition.define)(command);
        }
    }
    given.is_empty().then_some(command)
}

/// Returns the name of an option that is written as `--NAME` or `--NAME=VALUE`.
fn name(option: &[u8]) -> Option<&str> {
    let long = option.strip_prefix(b"--")?;
    std::str::from_utf8(long.split(|&byte| byte == b'=').next()?).ok()
}

/// Parses `words` with the options that `command` defines. Returns `None` on an error, which the long way then reports.
fn agent<T: FromArgMatches>(
    command: Command,
    words: &[OsString],
    verb: fn(Deferred<T>) -> Verb,
) -> Option<Agent> {
    let command = command.no_binary_name(true).disable_help_flag(true);
    let mut matches = command.try_get_matches_from(words).ok()?;
    let verb = verb(Deferred::from(T::from_arg_matches_mut(&mut matches).ok()?));
    let log_level = Asked::from_arg_matches_mut(&mut matches).ok()?;
    Some(Agent { verb, log_level, root: Asked::from_arg_matches_mut(&mut matches).ok()? })
}
