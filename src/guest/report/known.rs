//! The data that a later run of this program reads from a report: the counterpart of
//! [`last::Report`](super::last::Report).

use std::fmt::{self, Display, Formatter};

use serde::Deserialize;

use crate::format::credential::Name;
use crate::guest::verify::origin::Origin;
use crate::text::escape::Escaped;

/// What a report says about a delivery.
#[derive(Deserialize)]
pub(super) struct Delivered {
    /// Whether a manifest proved that the set was the one that was sent.
    pub(super) proven: bool,
    /// Who signed the set; `None` if no trusted signature proved that the set was the one that was sent.
    pub(super) signature: Option<KnownSignature>,
    pub(super) credentials: Vec<Known>,
}

/// What a report says about one credential.
#[derive(Deserialize)]
pub(super) struct Known {
    pub(super) name: Option<Name>,
    pub(super) size: Option<u64>,
    pub(super) encoding: String,
    /// The kind of key that encrypts the credential, if it is encrypted.
    pub(super) key: Option<String>,
    pub(super) state: String,
    pub(super) source: Origin,
}

/// The number of credentials that a report leaves out, because the report would be too large.
#[derive(Deserialize)]
pub(super) struct Left {
    pub(super) credentials: usize,
}

/// Who signed a set, and for which machine: the counterpart of [`Signed`](crate::guest::verify::delivery::Signed).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct KnownSignature {
    pub(super) key: String,
    pub(super) audience: Option<String>,
    pub(super) serial: Option<u64>,
}

impl Display for KnownSignature {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(self.key.as_bytes()))?;
        if let Some(audience) = &self.audience {
            write!(f, " for {}", Escaped(audience.as_bytes()))?;
        }
        self.serial.map_or(Ok(()), |serial| write!(f, ", serial {serial}"))
    }
}
