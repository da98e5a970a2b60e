//! Writes data to standard output.

use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use serde::Serialize;

use super::json::Json;
use crate::sys::Errno;
use crate::text::json::{self, Layout};
use crate::text::listing::{Text, Tone};

/// Writes text that contains no secret.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    bytes(text.as_bytes())
}

fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(bytes) {
        // Standard output is a pipe, and the program that reads from this pipe has closed it, because it needs no more
        // output.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Writes human-readable text, in colours if standard output is a terminal that shows colours.
pub(super) fn people(people: &Text) -> anyhow::Result<()> {
    if !shows_colours() {
        return text(people.as_str());
    }
    let mut coloured = String::new();
    let mut end = 0;
    for (range, tone) in people.marks() {
        let style = style(*tone);
        coloured.push_str(people.as_str().get(end..range.start).unwrap_or_default());
        let part = people.as_str().get(range.clone()).unwrap_or_default();
        // Writing to a string cannot fail.
        _ = std::fmt::Write::write_fmt(&mut coloured, format_args!("{style}{part}{style:#}"));
        end = range.end;
    }
    coloured.push_str(people.as_str().get(end..).unwrap_or_default());
    text(&coloured)
}

/// Whether standard output is a terminal that shows colours, and `NO_COLOR` is not set (<https://no-color.org>).
fn shows_colours() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !is_set("NO_COLOR") && !is_dumb && std::io::stdout().is_terminal()
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Heading => Style::new().underline(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Doubtful => AnsiColor::Yellow.on_default(),
        Tone::Bad => AnsiColor::Red.on_default(),
    }
}

/// Writes JSON, indented or on one line, and a newline at the end.
pub(super) fn json(value: &impl Serialize, form: Json) -> anyhow::Result<()> {
    let layout = if form == Json::Pretty { Layout::Pretty } else { Layout::Short };
    let mut json = Vec::new();
    json::write(&mut json, value, layout)?;
    json.push(b'\n');
    bytes(&json)
}

/// Writes a secret, but not through the buffers of the standard library, which are never wiped.
pub(super) fn secret(mut bytes: &[u8]) -> anyhow::Result<()> {
    let stdout = std::io::stdout();
    while !bytes.is_empty() {
        match nix::unistd::write(stdout.as_fd(), bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(std::io::Error::from(error)).context("cannot write to standard output"),
        }
    }
    Ok(())
}
