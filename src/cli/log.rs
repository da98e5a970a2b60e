//! The log: lines on stderr, with the priorities that the journal and the kernel's log read.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{Extensions, ExtensionsMut, LookupSpan, SpanData};

use crate::sys::directory::{Stat, stat};
use crate::text::escape::Safely;

/// Sends everything of `level` and above to stderr, in the name of this program.
pub fn start(program: &'static str, level: LevelFilter) {
    let fields = debug_fn(|line, field, value| match field.name() {
        "message" => write!(line, "{value:?}"),
        name => write!(line, " {name}={value:?}"),
    });
    let lines = tracing_subscriber::fmt::layer()
        // If a line cannot be written, nothing can report it: standard error would be the place, and a failure there
        // a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .fmt_fields(fields)
        .event_format(Lines { program, prefixed: OnceLock::new() });
    let subscriber = NoSpans { level }.with(lines);
    // It fails only if a log has been started before, and that one serves as well.
    _ = tracing::subscriber::set_global_default(subscriber);
}

/// Whether an open file is the journal (`$JOURNAL_STREAM`, systemd.exec(5)) or the kernel's log (`/dev/kmsg`).
pub(super) fn is_log_file(file: impl AsFd) -> bool {
    let is_journal =
        |stat: &Stat| std::env::var("JOURNAL_STREAM").is_ok_and(|named| named == stat.identity());
    stat(file).is_ok_and(|stat| stat.is_kernel_log() || is_journal(&stat))
}

/// One event, one line: `<3>message` for a log that knows priorities, else `program: error: message`. Fields follow
/// as ` name=value`.
///
/// The line is written in one piece, since the kernel's log takes each write for a line.
struct Lines {
    program: &'static str,
    /// Whether stderr is such a log. It is looked at when the first line is logged.
    prefixed: OnceLock<bool>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (priority, word) = match *event.metadata().level() {
            Level::ERROR => (3, "error"),
            Level::WARN => (4, "warning"),
            Level::INFO => (6, "info"),
            Level::DEBUG | Level::TRACE => (7, "debug"),
        };
        if *self.prefixed.get_or_init(|| is_log_file(std::io::stderr())) {
            write!(line, "<{priority}>")?;
        } else {
            write!(line, "{}: {word}: ", self.program)?;
        }
        // Text of the table has been escaped before; this is for the paths and system messages between.
        context.format_fields(Writer::new(&mut Safely(&mut line)), event)?;
        line.write_char('\n')
    }
}

/// What is below the lines: a subscriber without spans, of which this program has none. The registry of
/// tracing-subscriber maps 64 KiB and a block of thread-local memory for them, which are two system calls of an import.
struct NoSpans {
    /// What is below it is not logged.
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

/// The data of a span, of which there is none.
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
