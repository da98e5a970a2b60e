//! Writes man pages and completions into a directory: `cargo run --package smbios-creds-docs -- DIR`. With `--pages`, writes
//! the pages of `docs/` that are made: run it in the root of the repository.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let argument = std::env::args_os().nth(1).context("name a directory to write to, or --pages")?;
    if argument == "--pages" {
        docs::write_pages(Path::new("."))
    } else {
        docs::write_to(&PathBuf::from(argument))
    }
}
