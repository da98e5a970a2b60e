//! What to do about an error that ends a verb.

use std::borrow::Cow;

use crate::text::help::Help;

/// Returns what to do about the error, if the error, or an error that caused it, has this type.
pub(super) fn help_of<H>(error: &anyhow::Error) -> Option<Cow<'static, str>>
where
    H: Help + std::fmt::Debug + Send + Sync + 'static,
{
    error.downcast_ref::<H>()?.help()
}
