//! What a later run reads of a report: the counterpart of [`last::Report`](super::last::Report).

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::format::credential::Name;
use crate::guest::verify::origin::Origin;

/// What is read of a delivery.
#[derive(Deserialize)]
pub(super) struct Delivered {
    /// Whether a manifest proved the set.
    pub(super) proven: bool,
    /// Who signed it, if a trusted signature proved it.
    pub(super) signature: Option<IgnoredAny>,
    pub(super) credentials: Vec<Known>,
}

/// What is read of a credential.
#[derive(Deserialize)]
pub(super) struct Known {
    pub(super) name: Option<Name>,
    pub(super) size: Option<u64>,
    pub(super) encoding: String,
    /// The kind of key that opens it, if it is encrypted.
    pub(super) key: Option<String>,
    pub(super) state: String,
    pub(super) source: Origin,
}

/// What is read of what is left out.
#[derive(Deserialize)]
pub(super) struct Left {
    pub(super) credentials: usize,
}
