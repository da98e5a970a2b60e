//! The log: lines on stderr, with the priorities that the journal and the kernel's log read.

use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;

use nix::sys::stat::{FileStat, SFlag, fstat, major, minor};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Sends everything of `level` and above to stderr, in the name of this program.
pub fn start(program: &'static str, level: LevelFilter) {
    let subscriber = NoSpans.with(Lines { program, prefixed: OnceLock::new() }).with(level);
    // It fails only where a log has been started before, and that one serves as well.
    _ = tracing::subscriber::set_global_default(subscriber);
}

/// Logs a message. Every message comes through here: the macros would put a copy of themselves in each place.
pub fn say(level: Level, message: fmt::Arguments<'_>) {
    match level {
        Level::ERROR => tracing::error!("{message}"),
        Level::WARN => tracing::warn!("{message}"),
        Level::INFO => tracing::info!("{message}"),
        Level::DEBUG | Level::TRACE => tracing::debug!("{message}"),
    }
}

/// Whether stderr is the journal or the kernel's log.
fn reads_priorities() -> bool {
    fstat(std::io::stderr()).is_ok_and(|stat| is_log(&stat))
}

/// Whether a file is the journal (`$JOURNAL_STREAM`, systemd.exec(5)) or the kernel's log (`/dev/kmsg`).
pub(super) fn is_log(stat: &FileStat) -> bool {
    let is_kmsg = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 11);
    let journal = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    is_kmsg || journal == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// One event, one line: `<3>message` for a log that knows priorities, else `program: error: message`.
struct Lines {
    program: &'static str,
    prefixed: OnceLock<bool>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (priority, word) = match *event.metadata().level() {
            Level::ERROR => (3, "error"),
            Level::WARN => (4, "warning"),
            Level::INFO => (6, "info"),
            Level::DEBUG | Level::TRACE => (7, "debug"),
        };
        let prefixed = *self.prefixed.get_or_init(reads_priorities);
        let mut line = if prefixed { format!("<{priority}>") } else { format!("{}: {word}: ", self.program) };
        event.record(&mut Message { line: &mut line });
        line.push('\n');
        // In one piece, since the kernel's log takes each write for a line. Nobody is left to tell if it fails.
        _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// What stands below the lines: it knows no spans, of which this program has none. tracing-subscriber's own
/// registry keeps a store of them, at the price of a tenth of the agent's size.
struct NoSpans;

impl Subscriber for NoSpans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
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

/// Writes a character that can do no harm as it is, and any other as `\u{…}`. What comes from the table has been
/// escaped before; this is for the paths and system messages between.
///
/// # Errors
/// Those of `out`.
pub fn write_safely(out: &mut impl fmt::Write, character: char) -> fmt::Result {
    let directs_text = matches!(
        character,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    if character.is_control() || directs_text {
        write!(out, "{}", character.escape_unicode())
    } else {
        out.write_char(character)
    }
}

/// The message of an event, and its other fields as `name=value`.
struct Message<'a> {
    line: &'a mut String,
}

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = match field.name() {
            "message" => format!("{value:?}"),
            name => format!(" {name}={value:?}"),
        };
        for character in text.chars() {
            // Writing to a string cannot fail.
            _ = write_safely(self.line, character);
        }
    }
}
