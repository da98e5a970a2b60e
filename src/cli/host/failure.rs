//! Logs the error that ended a subcommand, or the reason why nothing is started or written, and the remedy.

use std::borrow::Cow;
use std::fmt::Display;

use crate::cli::failure::help_of;
use crate::format::smbios::write::WriteError;
use crate::host::await_receipt::AwaitError;
use crate::host::hypervisor::incus::IncusError;
use crate::host::publish::PublishError;
use crate::host::verifier::VerifierFileError;
use crate::text::help::{Help, Message};

/// Logs an error, and its remedy on a second line.
pub fn tell(error: &anyhow::Error) {
    tracing::error!(help = %help(error).unwrap_or_default(), "{error:#}");
}

/// Logs the error, and after it `what_not`, which says what is not done because of the error. Logs the remedy on a
/// second line.
pub(super) fn refuse(error: &impl Help, what_not: &str) {
    refuse_with(error, error.help(), what_not);
}

/// Does the same as [`refuse`] for an error of any type.
pub(super) fn refuse_any(error: &anyhow::Error, what_not: &str) {
    refuse_with(&format_args!("{error:#}"), help(error), what_not);
}

fn refuse_with(error: &dyn Display, help: Option<Cow<'static, str>>, what_not: &str) {
    tracing::error!(help = %help.unwrap_or_default(), "{error}; {what_not}");
}

/// Returns the remedy for an error, if its type has one.
fn help(error: &anyhow::Error) -> Option<Cow<'static, str>> {
    help_of::<Message>(error)
        .or_else(|| help_of::<PublishError>(error))
        .or_else(|| help_of::<VerifierFileError>(error))
        .or_else(|| help_of::<AwaitError>(error))
        .or_else(|| help_of::<IncusError>(error))
        .or_else(|| help_of::<WriteError>(error))
}
