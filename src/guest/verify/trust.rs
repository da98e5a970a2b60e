//! Whether a trusted key has signed a set for this machine, and whether the set is still valid.

use super::delivery::Signed;
use super::finding::{Finding, FindingKind, Severity};
use super::origin::Origin;
use super::trust_finding::TrustFinding;
use crate::format::credential::Secret;
use crate::format::manifest::{Manifest, is_audience};
use crate::trust::signature::{KeyId, SIGNATURES_MAX, Signature, TrustedKey, signer};

/// Which keys, names and serials this machine trusts in a set.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// One of these keys must have signed the set. Without keys, sets need no signature. But if the policy demands a
    /// signature and there are no keys, no set is accepted.
    pub keys: Vec<TrustedKey>,
    /// The names of this machine. A set must list one of these names in its audience. Without names, the audience is
    /// not checked.
    pub audience: Vec<Audience>,
    /// The lowest serial that this machine accepts.
    pub min_serial: Option<u64>,
    /// Facts about the running system.
    pub circumstances: Circumstances,
}

/// A name of this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Audience {
    /// A fixed name. Only a user who can change this machine's image or the command line of `smbios-creds` can change
    /// this name.
    Name(String),
    /// The content of `/etc/machine-id`, from this machine's disk.
    MachineId,
    /// The SMBIOS UUID. The host sets the UUID, so an audience with this UUID prevents mistakes but not attacks.
    Uuid,
}

/// A text that is not a valid name of a machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "it is neither @machine-id nor @uuid nor a name of 1 to 255 printable ASCII characters that starts without '@'"
)]
pub struct UnknownAudience;

impl std::str::FromStr for Audience {
    type Err = UnknownAudience;

    fn from_str(text: &str) -> Result<Self, UnknownAudience> {
        match text {
            "@machine-id" => Ok(Self::MachineId),
            "@uuid" => Ok(Self::Uuid),
            name if is_audience(name) && !name.starts_with('@') => Ok(Self::Name(name.to_owned())),
            _ => Err(UnknownAudience),
        }
    }
}

/// The facts about the running system on which the verdict on a signed set depends.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// The time by this machine's clock, in seconds since 1970-01-01 00:00 UTC.
    pub now: Option<u64>,
    /// The highest serial that this machine has already imported.
    pub seen_serial: Option<u64>,
    /// Content of `/etc/machine-id`, if that is a valid machine ID.
    pub machine_id: Option<String>,
    /// The SMBIOS UUID.
    pub uuid: Option<String>,
    /// Whether this machine is a confidential VM or a container, so that the host is not trusted. If the host is not
    /// trusted, the guest does not accept the UUID as a name, because the host sets it.
    pub is_confidential: bool,
    /// Number of credentials that systemd has imported itself; `None` if systemd imports nothing itself.
    pub imported_by_systemd: Option<usize>,
}

impl Trust {
    /// Whether this configuration can distinguish a set for this machine from other sets, even if the host is not
    /// trusted.
    #[must_use]
    pub fn names_a_signer_and_an_audience(&self) -> bool {
        !self.keys.is_empty() && self.audience.iter().any(|audience| *audience != Audience::Uuid)
    }

    /// Returns the names of this machine as they were configured, for example `@uuid` instead of the UUID.
    fn own(&self) -> Vec<String> {
        let shown = |audience: &Audience| match audience {
            Audience::Name(name) => name.clone(),
            Audience::MachineId => "@machine-id".to_owned(),
            Audience::Uuid => "@uuid".to_owned(),
        };
        self.audience.iter().map(shown).collect()
    }

    /// Whether this text is a name of this machine.
    fn is_own(&self, name: &str) -> bool {
        let Circumstances { machine_id, uuid, is_confidential, .. } = &self.circumstances;
        self.audience.iter().any(|audience| match audience {
            Audience::Name(own) => own == name,
            Audience::MachineId => machine_id.as_deref() == Some(name),
            Audience::Uuid => {
                !is_confidential && uuid.as_ref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(name))
            }
        })
    }

    /// Whether this machine accepts a set with this audience name and this serial.
    pub(in crate::guest) fn takes(&self, audience: Option<&str>, serial: Option<u64>) -> bool {
        (self.audience.is_empty() || audience.is_some_and(|name| self.is_own(name)))
            && self.minimum().is_none_or(|(minimum, _)| serial.is_some_and(|serial| serial >= minimum))
    }

    /// Returns the lowest accepted serial, and whether it comes from an earlier import (`true`) or from the
    /// configuration.
    fn minimum(&self) -> Option<(u64, bool)> {
        let seen = self.circumstances.seen_serial.map(|serial| (serial, true));
        self.min_serial.map(|serial| (serial, false)).max(seen)
    }
}

/// The manifest that the guest chose for verifying the set.
#[derive(Clone, Copy)]
pub(super) struct Chosen<'a> {
    pub(super) manifest: &'a Manifest,
    /// The manifest's whole OEM string.
    pub(super) string: &'a Secret,
    pub(super) origin: &'a Origin,
}

/// Returns who has signed the manifest and for which machine, and a finding for each fault of the signature and the
/// terms (audience, serial and end of validity). A missing signature is a fault only if `requires` is true.
#[inline(never)]
pub(super) fn judge(
    trust: &Trust,
    requires: bool,
    chosen: Option<Chosen<'_>>,
    signatures: &[(Secret, Origin)],
) -> (Option<Signed>, Vec<Finding>) {
    let mut judge = Judge { trust, requires, findings: Vec::new() };
    if !judge.requires && !signatures.is_empty() {
        judge.find(TrustFinding::SignatureUnused, Severity::Note, None);
    }
    judge.find_systemd();
    let Some(chosen) = chosen else { return (None, judge.findings) };
    let key = judge.requires.then(|| judge.signer(chosen.string, signatures)).flatten();
    let audience = judge.audience(chosen);
    judge.serial(chosen);
    judge.validity(chosen);
    let serial = chosen.manifest.terms().serial;
    (key.map(|key| Signed { key, audience, serial }), judge.findings)
}

struct Judge<'a> {
    trust: &'a Trust,
    requires: bool,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, kind: TrustFinding, severity: Severity, origin: Option<&Origin>) {
        let kind = FindingKind::Trust(kind);
        self.findings.push(Finding { kind, severity, credential: None, origin: origin.cloned(), more: 0 });
    }

    /// Adds a finding if systemd imports credentials itself, before a signature is checked.
    fn find_systemd(&mut self) {
        if self.requires
            && let Some(credentials) = self.trust.circumstances.imported_by_systemd
        {
            self.find(TrustFinding::ImportedBySystemd { credentials }, Severity::Error, None);
        }
    }

    /// Returns the ID of the trusted key that has signed the manifest; `None` if no trusted key has signed it.
    fn signer(&mut self, manifest: &Secret, sent: &[(Secret, Origin)]) -> Option<KeyId> {
        let keys = &self.trust.keys;
        if keys.is_empty() {
            self.find(TrustFinding::NoTrustedKey, Severity::Error, None);
            return None;
        }
        if sent.len() > SIGNATURES_MAX {
            self.find(TrustFinding::TooManySignatures { found: sent.len() }, Severity::Error, None);
            return None;
        }
        let mut signatures = Vec::new();
        for (text, origin) in sent {
            match Signature::decode(text.expose()) {
                Ok(signature) => signatures.push((signature, origin)),
                Err(reason) => {
                    let kind = TrustFinding::SignatureInvalid { reason };
                    self.find(kind, Severity::Warning, Some(origin));
                }
            }
        }
        let signer = signer(manifest.expose(), signatures.iter().map(|(signature, _)| signature), keys);
        if signer.is_none() {
            self.find_why_unsigned(sent.is_empty(), &signatures);
        }
        signer
    }

    fn find_why_unsigned(&mut self, is_none_sent: bool, signatures: &[(Signature, &Origin)]) {
        let trusted: Vec<KeyId> = self.trust.keys.iter().map(TrustedKey::id).collect();
        let wrong = signatures.iter().find(|(signature, _)| trusted.contains(&signature.key_id()));
        if let Some((signature, origin)) = wrong {
            let kind = TrustFinding::SignatureWrong { key: signature.key_id() };
            self.find(kind, Severity::Error, Some(origin));
        } else if signatures.is_empty() && is_none_sent {
            self.find(TrustFinding::SignatureMissing, Severity::Error, None);
        } else {
            let by = signatures.iter().map(|(signature, _)| signature.key_id()).collect();
            self.find(TrustFinding::NotTrusted { by, trusted }, Severity::Error, None);
        }
    }

    /// Returns the name of this machine in the set's audience; `None` if the audience does not contain this machine.
    fn audience(&mut self, Chosen { manifest, origin, .. }: Chosen<'_>) -> Option<String> {
        let meant = &manifest.terms().audience;
        let name = meant.iter().find(|name| self.trust.is_own(name)).cloned();
        let (own, audience) = (self.trust.own(), meant.clone());
        match (own.is_empty(), audience.is_empty()) {
            (true, false) if self.requires => {
                self.find(TrustFinding::AudienceUnused { audience }, Severity::Warning, Some(origin));
            }
            (false, true) => self.find(TrustFinding::AudienceMissing { own }, Severity::Error, Some(origin)),
            (false, false) if name.is_none() => {
                self.find(TrustFinding::AudienceDiffers { audience, own }, Severity::Error, Some(origin));
            }
            _ => {}
        }
        name
    }

    fn serial(&mut self, Chosen { manifest, origin, .. }: Chosen<'_>) {
        let serial = manifest.terms().serial;
        if let Some((minimum, seen)) = self.trust.minimum()
            && serial.is_none_or(|serial| serial < minimum)
        {
            self.find(TrustFinding::SerialOld { serial, minimum, seen }, Severity::Error, Some(origin));
        }
    }

    /// Checks whether the set is still valid. If a signature is required and the clock cannot be read, a set that has
    /// an end of validity is not accepted.
    fn validity(&mut self, Chosen { manifest, origin, .. }: Chosen<'_>) {
        let now = self.trust.circumstances.now;
        if let Some(not_after) = manifest.terms().not_after
            && now.map_or(self.requires, |now| now > not_after)
        {
            self.find(TrustFinding::Expired { not_after, now }, Severity::Error, Some(origin));
        }
    }
}
