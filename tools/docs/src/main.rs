//! Writes man pages and completions into a directory: `cargo run --package smbios-creds-docs -- DIR`. With `--pages`, writes
//! the generated files of `docs/`: run this program in the root of the repository, after `cargo build`.

use std::path::Path;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let argument = std::env::args_os().nth(1).context("name a directory to write to, or --pages")?;
    if argument != "--pages" {
        return docs::write_to(Path::new(&argument));
    }
    // Cargo puts the agent next to this program.
    let agent = std::env::current_exe()?.with_file_name("smbios-creds");
    let scratch = std::env::temp_dir().join(format!("smbios-creds-docs-{}", std::process::id()));
    let written = docs::write_pages(Path::new("."), &agent, &scratch);
    std::fs::remove_dir_all(&scratch)
        .with_context(|| format!("cannot remove {}", scratch.display()))
        .and(written)
}
