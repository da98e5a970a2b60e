//! Writes the log to stderr, with the priorities that the journal and the kernel's log read.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::sys::stat::{Stat, stat};
use crate::text::escape::Safely;

/// Starts the log: messages of `level` and of more severe levels go to stderr, under the name `program`.
pub fn start(program: &'static str, level: LevelFilter) {
    let log = Log { program, level, prefixed: OnceLock::new(), open: || io::stderr().lock() };
    // This call fails only if a log was started before. In this case, the first log stays in use.
    _ = tracing::subscriber::set_global_default(log);
}

/// Whether an open file is the journal (`$JOURNAL_STREAM`, systemd.exec(5)) or the kernel's log (`/dev/kmsg`).
pub(super) fn is_log_file(file: impl AsFd) -> bool {
    let is_journal =
        |stat: &Stat| std::env::var("JOURNAL_STREAM").is_ok_and(|named| named == stat.identity());
    stat(file).is_ok_and(|stat| stat.is_kernel_log() || is_journal(&stat))
}

/// Writes each event as one line: `<3>message` for the journal or the kernel's log, otherwise `program: error: message`.
/// Fields follow the message as ` name=value`. The field `help` has a line of its own: `<3>help: what to do`, or
/// `program: help: what to do`.
///
/// This type does not support spans, because the programs use none. The crate tracing-subscriber is not used: its
/// thread-local buffers would cost an import four system calls, and 50,000 instructions.
struct Log<F> {
    program: &'static str,
    /// Events that are less severe than this level are not logged.
    level: LevelFilter,
    /// Whether stderr is the journal or the kernel's log. The first event that is logged sets this field.
    prefixed: OnceLock<bool>,
    /// Opens stderr, and locks it for all lines of an event.
    open: F,
}

impl<W: Write, F: Fn() -> W> Log<F> {
    fn write(&self, level: Level, fields: &Fields) -> fmt::Result {
        let (priority, word) = match level {
            Level::ERROR => (3, "error: "),
            Level::WARN => (4, "warning: "),
            Level::INFO => (6, "info: "),
            Level::DEBUG | Level::TRACE => (7, "debug: "),
        };
        let is_prefixed = *self.prefixed.get_or_init(|| is_log_file(io::stderr()));
        let word = if is_prefixed { "" } else { word };
        let mut out = (self.open)();
        for (word, text) in [(word, &fields.line), ("help: ", &fields.help)] {
            if text.is_empty() {
                continue;
            }
            let mut line = String::with_capacity(text.len() + 64);
            if is_prefixed {
                write!(line, "<{priority}>{word}")?;
            } else {
                write!(line, "{}: {word}", self.program)?;
            }
            // Text from the SMBIOS table is already escaped. This call also escapes paths, and messages of the
            // operating system.
            Safely(&mut line).write_str(text)?;
            line.push('\n');
            // Each line has its own call of write(2), because the kernel's log makes one record of each write. If
            // stderr cannot be written, there is no other place to report this failure.
            _ = out.write_all(line.as_bytes());
        }
        Ok(())
    }
}

impl<W: Write, F: Fn() -> W + Send + Sync + 'static> Subscriber for Log<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // Writing to a string cannot fail.
        _ = self.write(*event.metadata().level(), &fields);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
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
        let log = Log {
            program: "smbios-creds",
            level: LevelFilter::TRACE,
            prefixed: OnceLock::from(is_prefixed),
            open: move || writer.clone(),
        };
        tracing::subscriber::with_default(log, events);
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
