//! What the guest requires of a delivery, and when the guest trusts the delivery at all.

use super::trust::Trust;
use crate::format::credential::Name;

/// What the guest requires of a delivery.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Credentials that must be present and non-empty.
    pub require: Vec<Name>,
    /// Credentials that may be empty.
    pub allow_empty: Vec<Name>,
    /// How to use the manifest.
    pub manifest: ManifestPolicy,
    /// Whether an import is all or nothing: nothing is materialized unless the verdict passes.
    pub strict: bool,
    /// What to do if the running system's table proves nothing.
    pub confidential: Confidential,
    /// Which keys, names and serials this machine trusts in a set.
    pub trust: Trust,
    /// A credential whose findings are all kept, and of which the delivery says what the manifest says. It need not be there.
    pub about: Option<Name>,
}

/// How to use the manifest. An unsigned manifest detects transmission errors, but not attacks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum ManifestPolicy {
    /// Verify the credentials with the manifest, if one was sent.
    #[default]
    Use,
    /// Fail if no manifest was sent, or if it does not list a credential.
    Require,
    /// Fail unless a trusted key has signed the manifest; import the complete set or nothing.
    Signed,
    /// Ignore the manifest, unless there is a trusted key.
    Ignore,
}

/// What to do in a confidential VM or a container, where the running system's table proves nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Confidential {
    /// Do not read the table.
    Refuse,
    /// Accept only a set that is signed for an audience of this machine. Without a trusted key and an audience, do not
    /// read the table.
    #[default]
    Signed,
    /// Trust the table.
    Allow,
}

impl Policy {
    /// Whether this policy has a condition. A program that [`Policy`] guards does not start while a condition is unmet.
    #[must_use]
    pub fn has_conditions(&self) -> bool {
        self.strict
            || !self.require.is_empty()
            || self.manifest == ManifestPolicy::Require
            || self.requires_signature()
    }

    /// Whether a trusted key must have signed the set: true if a trusted key exists, or if the policy demands a
    /// signature. Then the import is all or nothing.
    #[must_use]
    pub fn requires_signature(&self) -> bool {
        self.manifest == ManifestPolicy::Signed || !self.trust.keys.is_empty()
    }

    /// Whether somebody asks for the credential of this name.
    pub(super) fn asks_for(&self, name: &Name) -> bool {
        self.require.contains(name) || self.about.as_ref() == Some(name)
    }

    /// Whether the manifest must list every credential.
    pub(super) fn requires_listing(&self) -> bool {
        self.manifest == ManifestPolicy::Require || self.requires_signature()
    }
}
