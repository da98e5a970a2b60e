//! Data on stdout.

use std::io::{IsTerminal as _, Write};
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use nix::errno::Errno;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use super::agent::args::Json;
use crate::text::listing::{Text, Tone};

/// Writes text that holds no secret.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever read has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

/// Writes text for people, coloured on a terminal that shows colours.
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

/// Whether standard output is a terminal that shows colours, and nobody has asked for none (<https://no-color.org>).
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

/// Writes JSON, indented or on one line.
pub(super) fn json(value: &impl Serialize, form: Json) -> anyhow::Result<()> {
    text(&String::from_utf8_lossy(&to_json(value, form)?))
}

/// JSON, indented or on one line, with a newline at its end.
pub(super) fn to_json(value: &impl Serialize, form: Json) -> anyhow::Result<Vec<u8>> {
    let mut json = Vec::new();
    let layout = Layout(if form == Json::Pretty { Some(PrettyFormatter::new()) } else { None });
    value.serialize(&mut Serializer::with_formatter(&mut json, layout))?;
    json.push(b'\n');
    Ok(json)
}

/// Indented or on one line, decided when it is written: with the two formatters of `serde_json` everything that can be
/// written as JSON would be compiled twice.
struct Layout(Option<PrettyFormatter<'static>>);

/// Forwards to the formatter that was chosen.
macro_rules! forward {
    ($($method:ident($($argument:ident: $kind:ty),*);)*) => {
        $(fn $method<W: ?Sized + Write>(&mut self, writer: &mut W $(, $argument: $kind)*) -> std::io::Result<()> {
            match &mut self.0 {
                Some(pretty) => pretty.$method(writer $(, $argument)*),
                None => CompactFormatter.$method(writer $(, $argument)*),
            }
        })*
    };
}

impl Formatter for Layout {
    forward! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }
}

/// Writes a secret, past the buffers of the standard library, which are never wiped.
pub(super) fn secret(mut bytes: &[u8]) -> anyhow::Result<()> {
    let stdout = std::io::stdout();
    while !bytes.is_empty() {
        match nix::unistd::write(stdout.as_fd(), bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot write to standard output"),
        }
    }
    Ok(())
}
