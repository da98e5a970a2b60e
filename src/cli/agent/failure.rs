//! Tells what ended a verb, and what to do about it.

use std::borrow::Cow;

use crate::cli::failure::help_of;
use crate::guest::imported::{CloseError, NotPlaced, NotReceived};
use crate::guest::record::write::RecordError;
use crate::guest::source::SourceError;
use crate::text::help::Message;

/// Logs an error, and below it what to do.
pub fn tell(error: &anyhow::Error) {
    tracing::error!(help = %help(error), "{error:#}");
}

/// What to do about an error; empty if there is nothing that always helps.
pub(super) fn help(error: &anyhow::Error) -> Cow<'static, str> {
    help_of::<Message>(error)
        .or_else(|| help_of::<NotReceived>(error))
        .or_else(|| help_of::<SourceError>(error))
        .or_else(|| help_of::<NotPlaced>(error))
        .or_else(|| help_of::<CloseError>(error))
        .or_else(|| help_of::<RecordError>(error))
        .unwrap_or_default()
}
