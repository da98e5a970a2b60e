//! What the guest expects of a delivery, and where it believes one at all.

use crate::format::credential::Name;

/// What the guest expects of a delivery.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Credentials that must be there, and not empty.
    pub require: Vec<Name>,
    /// Credentials that may be empty.
    pub allow_empty: Vec<Name>,
    /// What to do with the manifest.
    pub manifest: ManifestPolicy,
    /// Whether an import is all or nothing: it materializes nothing unless the verdict passes.
    pub strict: bool,
    /// What to do where the running system's table proves nothing.
    pub confidential: Confidential,
}

/// What to do with the manifest. It is not signed: it finds faults, not attackers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum ManifestPolicy {
    /// Verify it if it is there.
    #[default]
    Use,
    /// Fail without it, and on credentials it does not list.
    Require,
    /// Do not look at it.
    Ignore,
}

/// What to do in a confidential VM or a container, where the running system's table proves nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Confidential {
    /// Do not look at the table.
    #[default]
    Refuse,
    /// Believe the table.
    Allow,
}

impl Policy {
    /// Whether it names a condition. A program that [`Policy`] guards is not started where such a condition is unmet.
    #[must_use]
    pub fn has_conditions(&self) -> bool {
        self.strict || !self.require.is_empty() || self.manifest == ManifestPolicy::Require
    }
}
