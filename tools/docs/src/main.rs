//! Writes man pages and completions into a directory: `cargo run --package smbios-creds-docs -- DIR`.

use std::path::PathBuf;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let directory: PathBuf = std::env::args_os().nth(1).context("name a directory to write to")?.into();
    docs::write_to(&directory)
}
