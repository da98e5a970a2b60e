//! Data on stdout.

use std::io::Write;
use std::os::fd::AsFd;

use anyhow::Context as _;
use nix::errno::Errno;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use super::agent::Json;

/// Writes text that holds no secret.
pub(super) fn text(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever read has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
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
