//! Generates man pages and completions for bash, zsh and fish from the definitions with which the programs parse their
//! arguments. Also generates some files of `docs/`.
//!
//! This is a separate crate, so that a package build compiles only four more crates for it, and none that only tests
//! need. The man page on the format, `man/smbios-creds-format.7`, is written manually.

pub mod bash;
mod names;
pub mod page;
pub mod picture;
pub mod schema;

use std::fs::{create_dir_all, read_to_string, write};
use std::path::Path;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use smbios_creds::cli::agent::args::Agent;
use smbios_creds::cli::host::args::Host;

/// Writes `man/` and `completions/` into a directory, which it makes if it is not there.
///
/// # Errors
///
/// A directory or file cannot be written. Or `clap_complete` has changed the text that this crate corrects.
pub fn write_to(directory: &Path) -> anyhow::Result<()> {
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    for directory in [&man, &completions] {
        create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    for command in [Agent::command(), Host::command()] {
        // A man page for the verb 'help' would say nothing that users do not know.
        let command = command.disable_help_subcommand(true);
        clap_mangen::generate_to(command.clone(), &man)
            .with_context(|| format!("cannot write man pages into {}", man.display()))?;
        write_completions(&command, &completions)?;
    }
    Ok(())
}

/// Writes the generated files of `docs/`, which are made from other files of the repository and from the agent's
/// output. `agent` is the agent's program, and `scratch` is a directory for a recording that the agent reads.
///
/// # Errors
///
/// A file cannot be read or written, the program cannot be run, or the man page on the format has something that
/// [`page::markdown`] does not know.
pub fn write_pages(root: &Path, agent: &Path, scratch: &Path) -> anyhow::Result<()> {
    let man = root.join("man/smbios-creds-format.7");
    let text = read_to_string(&man).with_context(|| format!("cannot read {}", man.display()))?;
    for (file, content) in [
        ("docs/format.md", page::markdown(&text)?),
        ("docs/schema.json", schema::json(&text)?),
        ("docs/check.svg", picture::svg(agent, scratch)?),
    ] {
        let path = root.join(file);
        write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Writes the completions of a program for each shell, named as the shell's loader looks for them.
fn write_completions(command: &Command, directory: &Path) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    let command = &names::marked(command);
    for (shell, file) in [
        (Shell::Bash, format!("{name}.bash")),
        (Shell::Zsh, format!("_{name}")),
        (Shell::Fish, format!("{name}.fish")),
    ] {
        let text = match shell {
            Shell::Bash => names::bash(&bash::correct(&bash::generated(command)?, &name)?, command)?,
            Shell::Zsh => names::zsh(&generated(shell, command)?, &name)?,
            _ => names::fish(&generated(shell, command)?, command)?,
        };
        let path = directory.join(file);
        write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Returns a program's completion for a shell, as `clap_complete` generates it.
fn generated(shell: Shell, command: &Command) -> anyhow::Result<String> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command.clone(), command.get_name(), &mut text);
    String::from_utf8(text).with_context(|| format!("the {shell} completion is not UTF-8"))
}
