//! Writes man pages and completions for bash, zsh and fish into a folder, from the definitions that the programs parse
//! their arguments with: `cargo run --example docs -- DIR`. The page on the format, `man/smbios-creds-format.7`, is
//! written by hand.

use std::fs::create_dir_all;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use smbios_creds::cli::agent::args::Agent;
use smbios_creds::cli::host::args::Host;

fn main() -> anyhow::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).context("give a folder to write to")?.into();
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    for folder in [&man, &completions] {
        create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for command in [Agent::command(), Host::command()] {
        // What '--help' is for is known, and a page for 'help' would say nothing.
        let command = command.disable_help_subcommand(true);
        clap_mangen::generate_to(command.clone(), &man).context("cannot write man pages")?;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let name = command.get_name().to_owned();
            clap_complete::generate_to(shell, &mut command.clone(), name, &completions)
                .context("cannot write completions")?;
        }
    }
    Ok(())
}
