//! What the guest requires of a delivery, and under which conditions the guest trusts the delivery at all.

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
    /// Whether the import writes no credential at all if verification fails (`--strict`).
    pub strict: bool,
    /// What to do in a confidential VM or a container, where the SMBIOS table must not be trusted.
    pub confidential: Confidential,
    /// Which keys, names and serials this machine trusts in a set.
    pub trust: Trust,
    /// A credential that the user asks about, which may be missing. Findings about this credential are always kept, and
    /// [`Delivery::listed`](super::delivery::Delivery::listed) says what the manifest says about it.
    pub about: Option<Name>,
}

/// How to use the manifest. An unsigned manifest detects transmission errors, but not attacks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum ManifestPolicy {
    /// Verify the credentials with the manifest, if one was sent.
    #[default]
    Use,
    /// Fail if no manifest was sent, or if the manifest does not list every credential that arrived.
    Require,
    /// Fail unless a trusted key has signed the manifest; import the complete set or nothing.
    Signed,
    /// Ignore the manifest. If there is a trusted key, the manifest is not ignored, and must be signed.
    Ignore,
}

/// What to do in a confidential VM or a container, where nothing proves that the running system's table is genuine.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Confidential {
    /// Do not read the table.
    Refuse,
    /// Accept only a set that a trusted key has signed for this machine. If this machine has no trusted key or no
    /// configured name, do not read the table.
    #[default]
    Signed,
    /// Trust the table.
    Allow,
}

impl Policy {
    /// Whether this policy has a condition that a set must meet. If a condition is not met, `smbios-creds exec` does
    /// not start its program.
    #[must_use]
    pub fn has_conditions(&self) -> bool {
        self.strict
            || !self.require.is_empty()
            || self.manifest == ManifestPolicy::Require
            || self.requires_signature()
    }

    /// Whether a trusted key must have signed the set: true if a trusted key exists, or if the policy demands a
    /// signature. If a signature is required, the import writes the whole set or nothing.
    #[must_use]
    pub fn requires_signature(&self) -> bool {
        self.manifest == ManifestPolicy::Signed || !self.trust.keys.is_empty()
    }

    /// Whether the policy requires the credential of this name, or has this name in its field `about`.
    pub(super) fn asks_for(&self, name: &Name) -> bool {
        self.require.contains(name) || self.about.as_ref() == Some(name)
    }

    /// Whether the manifest must list every credential.
    pub(super) fn requires_listing(&self) -> bool {
        self.manifest == ManifestPolicy::Require || self.requires_signature()
    }
}
