//! Writes the log to stderr, with the priorities that the journal and the kernel's log read.

use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{Extensions, ExtensionsMut, LookupSpan, SpanData};

use crate::sys::directory::{Stat, stat};
use crate::text::escape::Safely;

/// Starts the log: messages of `level` and of more severe levels go to stderr, under the name `program`.
pub fn start(program: &'static str, level: LevelFilter) {
    let lines = tracing_subscriber::fmt::layer()
        // If a line cannot be written to standard error, the layer of tracing-subscriber must not report this failure:
        // its report would also go to standard error, and it would panic.
        .log_internal_errors(false)
        .with_writer(|| LineByLine(io::stderr().lock()))
        .event_format(Lines { program, prefixed: OnceLock::new() });
    let subscriber = NoSpans { level }.with(lines);
    // This call fails only if a log was started before. In this case, the first log stays in use.
    _ = tracing::subscriber::set_global_default(subscriber);
}

/// Whether an open file is the journal (`$JOURNAL_STREAM`, systemd.exec(5)) or the kernel's log (`/dev/kmsg`).
pub(super) fn is_log_file(file: impl AsFd) -> bool {
    let is_journal =
        |stat: &Stat| std::env::var("JOURNAL_STREAM").is_ok_and(|named| named == stat.identity());
    stat(file).is_ok_and(|stat| stat.is_kernel_log() || is_journal(&stat))
}

/// Formats each event as one line: `<3>message` for the journal or the kernel's log, otherwise `program: error:
/// message`. Fields follow the message as ` name=value`. The field `help` has a line of its own: `<3>help: what to do`,
/// or `program: help: what to do`.
struct Lines {
    program: &'static str,
    /// Whether stderr is the journal or the kernel's log. The first line that is logged sets this field.
    prefixed: OnceLock<bool>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (priority, word) = match *event.metadata().level() {
            Level::ERROR => (3, "error: "),
            Level::WARN => (4, "warning: "),
            Level::INFO => (6, "info: "),
            Level::DEBUG | Level::TRACE => (7, "debug: "),
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let is_prefixed = *self.prefixed.get_or_init(|| is_log_file(io::stderr()));
        let word = if is_prefixed { "" } else { word };
        for (word, text) in [(word, fields.line), ("help: ", fields.help)] {
            if text.is_empty() {
                continue;
            }
            if is_prefixed {
                write!(line, "<{priority}>{word}")?;
            } else {
                write!(line, "{}: {word}", self.program)?;
            }
            // Text from the SMBIOS table is already escaped. This call also escapes paths, and messages of the
            // operating system.
            Safely(&mut line).write_str(&text)?;
            line.write_char('\n')?;
        }
        Ok(())
    }
}

/// The text of an event, and its remedy.
#[derive(Default)]
struct Fields {
    /// The message, and every field except `help`.
    line: String,
    help: String,
}

impl Visit for Fields {
    /// Writes the string without the quotation marks of `Debug`.
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        _ = match field.name() {
            "message" => write!(self.line, "{value:?}"),
            "help" => write!(self.help, "{value:?}"),
            name => write!(self.line, " {name}={value:?}"),
        };
    }
}

/// Writes each line with its own call of write(2), because the kernel's log makes one record of each write.
struct LineByLine<W>(W);

impl<W: io::Write> io::Write for LineByLine<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let line = text.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
        self.0.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A subscriber that does not support spans, because the programs use none. The registry of tracing-subscriber maps 64
/// KiB and a block of thread-local memory for spans, which costs an import two system calls.
struct NoSpans {
    /// Events that are less severe than this level are not logged.
    level: LevelFilter,
}

impl Subscriber for NoSpans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl LookupSpan<'_> for NoSpans {
    type Data = NoSpan;

    fn span_data(&self, _: &Id) -> Option<NoSpan> {
        None
    }
}

/// The data of a span. There are no spans, so no value of this type exists.
enum NoSpan {}

impl SpanData<'_> for NoSpan {
    fn id(&self) -> Id {
        match *self {}
    }

    fn metadata(&self) -> &'static Metadata<'static> {
        match *self {}
    }

    fn parent(&self) -> Option<&Id> {
        match *self {}
    }

    fn extensions(&self) -> Extensions<'_> {
        match *self {}
    }

    fn extensions_mut(&self) -> ExtensionsMut<'_> {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Stores each write as a record of its own, as the kernel's log does.
    #[derive(Clone, Default)]
    struct Records(Arc<Mutex<Vec<String>>>);

    impl io::Write for Records {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(String::from_utf8(text.to_vec()).unwrap());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the records that the events write to a log with priorities (`is_prefixed`) or to a log without
    /// priorities.
    fn records(is_prefixed: bool, events: impl FnOnce()) -> Vec<String> {
        let records = Records::default();
        let writer = records.clone();
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(move || LineByLine(writer.clone()))
            .event_format(Lines { program: "smbios-creds", prefixed: OnceLock::from(is_prefixed) });
        tracing::subscriber::with_default(NoSpans { level: LevelFilter::TRACE }.with(lines), events);
        records.0.lock().unwrap().clone()
    }

    fn cut() {
        tracing::error!(help = "send less", size = 44, "credential db: it is cut");
    }

    #[test]
    fn help_is_a_line_of_its_own_in_a_record_of_its_own() {
        let lines =
            ["smbios-creds: error: credential db: it is cut size=44\n", "smbios-creds: help: send less\n"];
        assert_eq!(records(false, cut), lines);
        assert_eq!(records(true, cut), ["<3>credential db: it is cut size=44\n", "<3>help: send less\n"]);
        let warn = || tracing::warn!(help = %String::new(), "it is on a disk");
        assert_eq!(records(true, warn), ["<4>it is on a disk\n"], "help without a word is none");
    }

    #[test]
    fn no_field_can_forge_a_line_or_drive_a_terminal() {
        let event = || tracing::error!(help = "a\n<0>b\x1b[2J", "c\r\n<0>d");
        assert_eq!(records(true, event), ["<3>c\\u{d}\\u{a}<0>d\n", "<3>help: a\\u{a}<0>b\\u{1b}[2J\n"]);
    }
}
