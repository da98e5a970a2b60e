//! Finds the remedy for an error that ends a subcommand.

use std::borrow::Cow;

use crate::text::help::Help;

/// Returns the remedy for `error`, if `error` itself, or a context that was added to it, has the type `H`.
pub(super) fn help_of<H>(error: &anyhow::Error) -> Option<Cow<'static, str>>
where
    H: Help + std::fmt::Debug + Send + Sync + 'static,
{
    error.downcast_ref::<H>()?.help()
}
