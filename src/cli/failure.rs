//! What to do about an error that ends a verb.

use std::borrow::Cow;

use crate::text::help::Help;

/// What to do by an error of this type, if the error or one that it was made from has the type.
pub(super) fn help_of<H>(error: &anyhow::Error) -> Option<Cow<'static, str>>
where
    H: Help + std::fmt::Debug + Send + Sync + 'static,
{
    error.downcast_ref::<H>()?.help()
}
