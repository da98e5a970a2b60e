//! Logs the error that ended a verb, and what the user can do about it.

use std::borrow::Cow;

use crate::cli::failure::help_of;
use crate::guest::imported::{CloseError, NotPlaced, NotReceived};
use crate::guest::record::write::RecordError;
use crate::guest::source::SourceError;
use crate::text::help::Message;

/// Logs an error, with a second line that says what the user can do about it.
pub fn tell(error: &anyhow::Error) {
    tracing::error!(help = %help(error), "{error:#}");
}

/// Returns what the user can do about an error. The text is empty if the error has no help text.
pub(super) fn help(error: &anyhow::Error) -> Cow<'static, str> {
    help_of::<Message>(error)
        .or_else(|| help_of::<NotReceived>(error))
        .or_else(|| help_of::<SourceError>(error))
        .or_else(|| help_of::<NotPlaced>(error))
        .or_else(|| help_of::<CloseError>(error))
        .or_else(|| help_of::<RecordError>(error))
        .unwrap_or_default()
}
