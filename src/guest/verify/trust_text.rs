//! The messages and the advice for findings about a signature.

use std::fmt::{self, Display, Formatter};

use super::delivery::{Proof, Signed};
use super::trust_finding::TrustFinding;
use crate::text::day::Day;
use crate::text::listing::count;
use crate::trust::signature::SignatureError;

/// Maximum number of names or keys that a message lists.
const SHOWN_MAX: usize = 4;

impl Display for TrustFinding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignatureMissing => f.write_str(
                "the set is not signed, but this machine accepts only sets that a trusted key has signed",
            ),
            Self::NoTrustedKey => {
                f.write_str("a signed set is required, but this machine has no trusted key")
            }
            Self::SignatureUnused => {
                f.write_str("the set is signed, but this machine has no trusted key to verify the signature")
            }
            Self::SignatureInvalid { reason } => write!(f, "a signature cannot be read: {reason}"),
            Self::NotTrusted { by, trusted } if by.is_empty() => {
                write!(f, "no signature of the set can be read (trusted: {})", List(trusted))
            }
            Self::NotTrusted { by, trusted } => {
                write!(f, "signed by {}, which is not trusted here (trusted: {})", List(by), List(trusted))
            }
            Self::SignatureWrong { key } => write!(
                f,
                "the signature by {key} does not match the manifest: one of the two was changed, or they do not belong together"
            ),
            Self::TooManySignatures { found } => {
                write!(f, "the set has {found} signatures, but at most 8 are allowed; none was checked")
            }
            Self::AudienceDiffers { .. }
            | Self::AudienceMissing { .. }
            | Self::AudienceUnused { .. }
            | Self::SerialOld { .. }
            | Self::Expired { .. } => self.fmt_terms(f),
            Self::ImportedBySystemd { credentials: 0 } => {
                f.write_str("systemd imports credentials before smbios-creds can verify them")
            }
            Self::ImportedBySystemd { credentials } => {
                let credentials = count(*credentials, "credential");
                write!(f, "systemd imported {credentials} before smbios-creds could verify the set")
            }
        }
    }
}

impl TrustFinding {
    /// Writes the message of a finding about the terms in a manifest (audience, serial and end of validity).
    fn fmt_terms(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AudienceDiffers { audience, own } => {
                write!(f, "the set is meant for {}, but this machine is {}", List(audience), List(own))
            }
            Self::AudienceMissing { own } => {
                write!(
                    f,
                    "the set does not name the machine that it is meant for; this machine is {}",
                    List(own)
                )
            }
            Self::AudienceUnused { audience } => {
                write!(
                    f,
                    "the set is meant for {}, but this machine does not know its own name",
                    List(audience)
                )
            }
            Self::SerialOld { serial, minimum, seen } => {
                match serial {
                    Some(serial) => _ = write!(f, "serial {serial} is older than {minimum}, "),
                    None => {
                        _ = write!(
                            f,
                            "the set has no serial, but this machine requires at least {minimum}, "
                        );
                    }
                }
                f.write_str(if *seen {
                    "which this machine has seen: an old set was sent again"
                } else {
                    "the lowest that --min-serial allows"
                })
            }
            Self::Expired { not_after, now: Some(now) } => {
                let (end, now) = (Day(*not_after), Day(*now));
                write!(f, "the set expired on {end}; this machine's clock says {now}")
            }
            Self::Expired { not_after, now: None } => {
                write!(
                    f,
                    "the set is not valid after {}, but this machine's clock cannot be read",
                    Day(*not_after)
                )
            }
            // The caller has already written the messages of all other kinds of findings.
            _ => Ok(()),
        }
    }

    /// Returns what to do about the finding.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::SignatureMissing => {
                "pack the set with 'smbios-creds-host pack', sign it with 'minisign -S', and send it with 'run --set'"
            }
            Self::NoTrustedKey => {
                "put the signer's public key into /etc/smbios-creds/trusted, with a name that ends in .pub, or name \
                 it with --trust"
            }
            Self::SignatureUnused => {
                "to accept only signed sets, put the signer's public key into /etc/smbios-creds/trusted"
            }
            Self::SignatureInvalid { reason: SignatureError::Legacy } => {
                "sign the manifest again with 'minisign -S' without -l, or with -H if minisign is older than 0.10"
            }
            Self::SignatureInvalid { .. } => "sign the manifest again with 'minisign -S'",
            Self::NotTrusted { .. } => {
                "sign the set with a trusted key, or add the signer's public key to this machine's image"
            }
            Self::SignatureWrong { .. } => {
                "sign the manifest that is sent, and do not change it after signing"
            }
            Self::TooManySignatures { .. } => "send the signatures of the keys that are in use",
            Self::AudienceDiffers { .. } => {
                "send this machine its own set, or correct --audience in this machine's image"
            }
            Self::AudienceMissing { .. } => {
                "name the machine in the set ('smbios-creds-host pack --audience'), and sign it again"
            }
            Self::AudienceUnused { .. } => "set this machine's name with --audience",
            Self::SerialOld { .. } => "send the newest set, or one with a higher serial",
            Self::Expired { .. } => "set the clock if it is wrong; otherwise pack and sign a new set",
            Self::ImportedBySystemd { .. } => {
                "add CREDENTIALS_DIRECTORY=/run/credentials/@system to the kernel's command line: then systemd \
                 imports nothing itself, and passes on the credentials that smbios-creds has verified"
            }
        }
    }
}

impl Display for Proof {
    /// Writes what proves that the set is the one that was sent, as part of a sentence.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("nothing proves that the set is complete"),
            Self::Digest => f.write_str("the manifest proves that the set is complete"),
            Self::Signature(Signed { key, audience, serial }) => {
                write!(f, "the set is complete and signed by {key}")?;
                if let Some(audience) = audience {
                    write!(f, " for {audience}")?;
                }
                serial.map_or(Ok(()), |serial| write!(f, ", serial {serial}"))
            }
        }
    }
}

/// Displays the first [`SHOWN_MAX`] names or keys of a list, and the number of further ones.
struct List<'a, T>(&'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().take(SHOWN_MAX).enumerate() {
            write!(f, "{}{item}", if index > 0 { ", " } else { "" })?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
