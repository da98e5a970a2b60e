//! Tells what ended a verb, or why nothing is started or written, and what to do about it.

use std::borrow::Cow;
use std::fmt::Display;

use crate::cli::failure::help_of;
use crate::format::smbios::write::WriteError;
use crate::host::await_receipt::AwaitError;
use crate::host::hypervisor::incus::IncusError;
use crate::host::publish::PublishError;
use crate::host::verifier::VerifierFileError;
use crate::text::help::{Help, Message};

/// Logs an error, and below it what to do.
pub fn tell(error: &anyhow::Error) {
    tracing::error!(help = %help(error).unwrap_or_default(), "{error:#}");
}

/// Logs why something is not done, with `what_not`, and below it what to do.
pub(super) fn refuse(error: &impl Help, what_not: &str) {
    refuse_with(error, error.help(), what_not);
}

/// Logs why something is not done, where the error ended a verb.
pub(super) fn refuse_any(error: &anyhow::Error, what_not: &str) {
    refuse_with(&format_args!("{error:#}"), help(error), what_not);
}

fn refuse_with(error: &dyn Display, help: Option<Cow<'static, str>>, what_not: &str) {
    tracing::error!(help = %help.unwrap_or_default(), "{error}; {what_not}");
}

/// What to do about an error.
fn help(error: &anyhow::Error) -> Option<Cow<'static, str>> {
    help_of::<Message>(error)
        .or_else(|| help_of::<PublishError>(error))
        .or_else(|| help_of::<VerifierFileError>(error))
        .or_else(|| help_of::<AwaitError>(error))
        .or_else(|| help_of::<IncusError>(error))
        .or_else(|| help_of::<WriteError>(error))
}
