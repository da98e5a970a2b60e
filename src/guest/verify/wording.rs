//! The messages of findings: what happened, to which credential, and where.

use std::fmt::{self, Display, Formatter};

use super::finding::{Finding, FindingKind};
use super::refusal::Refusal;
use crate::format::smbios::Extent;

impl Display for Finding {
    /// Writes one line: what happened, to which credential, and where. [`Finding::advice`] is not part of this line.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.credential {
            write!(f, "credential {name}: ")?;
        }
        write!(f, "{}", self.kind)?;
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        if self.more > 0 { write!(f, ", and {} more like it", self.more) } else { Ok(()) }
    }
}

impl Display for FindingKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.fmt_table(f)
            .or_else(|| self.fmt_structure(f))
            .or_else(|| self.fmt_place(f))
            .or_else(|| self.fmt_again(f))
            .or_else(|| self.fmt_set(f))
            .unwrap_or(Ok(()))
    }
}

impl FindingKind {
    /// Writes the message of a finding about the table as a whole; `None` for other findings.
    fn fmt_table(&self, f: &mut Formatter<'_>) -> Option<fmt::Result> {
        Some(match self {
            Self::EntryPoint { reason } => write!(f, "the SMBIOS entry point is damaged: {reason}"),
            Self::TableCut(extent) => write!(f, "the SMBIOS table is cut: {}", Sizes(extent)),
            Self::TableShort(extent) => {
                write!(
                    f,
                    "the SMBIOS table is shorter than announced, but no structure is missing: {}",
                    Sizes(extent)
                )
            }
            Self::TableLong(extent) => {
                write!(f, "the SMBIOS table is longer than announced: {}", Sizes(extent))
            }
            Self::MoreStructures(extent) => {
                write!(f, "the SMBIOS table has more structures than announced: {}", Sizes(extent))
            }
            Self::Damaged { remaining, reason } => {
                write!(f, "the SMBIOS table is damaged: its last {remaining} bytes are not a structure: {reason}")
            }
            Self::NoEndOfTable => f.write_str("the SMBIOS table has no end-of-table structure"),
            Self::BehindEndOfTable { remaining } => {
                write!(f, "{remaining} bytes after the end of the SMBIOS table were not read")
            }
            Self::NoOemStrings => {
                f.write_str("the SMBIOS table has no OEM strings (Type 11): the host sent no credentials")
            }
            Self::OemStringsUnknown => f.write_str(
                "the readable part of the SMBIOS table has no OEM strings (Type 11); whether the host sent any is \
                 not known",
            ),
            Self::OemStringsBroken => f.write_str(
                "the SMBIOS table breaks inside an OEM strings structure (Type 11), whose strings are lost",
            ),
            Self::NoCredentials => f.write_str("none of the OEM strings is a credential"),
            _ => return None,
        })
    }

    /// Writes the message of a finding about a Type 11 structure or an item of `fw_cfg`; `None` for other findings.
    fn fmt_structure(&self, f: &mut Formatter<'_>) -> Option<fmt::Result> {
        Some(match self {
            Self::StructureLength { length } => {
                write!(f, "an OEM strings structure has a formatted area of {length} bytes instead of 5")
            }
            Self::LongStructure { size } => {
                write!(f, "an OEM strings structure of {size} bytes is larger than a page")
            }
            Self::StringsMissing { announced, found: 0 } => {
                write!(
                    f,
                    "{announced} OEM strings are announced, but none arrived: the hypervisor dropped the strings"
                )
            }
            Self::StringsMissing { announced, found } => {
                write!(
                    f,
                    "{announced} OEM strings are announced, but {found} arrived: the hypervisor dropped strings"
                )
            }
            Self::StringSplit { announced, found } => write!(
                f,
                "{announced} OEM strings are announced, but {found} arrived: a NUL byte inside a string has split it"
            ),
            Self::CountUnclear { announced, found } => write!(
                f,
                "the count byte says {announced}, but {found} OEM strings arrived: it cannot count past 255, or NUL \
                 bytes inside strings have split them"
            ),
            Self::CountWrapped { announced, found } => write!(
                f,
                "the count byte says {announced}, but {found} OEM strings arrived: it cannot count past 255"
            ),
            Self::SetEndedEarly => f.write_str(
                "text follows the OEM strings: an empty string has ended the list early, and the strings after it \
                 are lost",
            ),
            Self::EmptyString => f.write_str("an OEM string is empty"),
            Self::NearMiss { meant } => {
                write!(
                    f,
                    "an OEM string almost starts with '{meant}': its prefix is probably mistyped, so it was not read"
                )
            }
            Self::ItemNotACredential { reason, size } => {
                write!(f, "the fw_cfg item of {size} bytes {reason}")
            }
            // The match in fmt_set() lists all other kinds of findings.
            _ => return None,
        })
    }

    /// Writes the message of a finding about the place to which a credential is written; `None` for other findings.
    fn fmt_place(&self, f: &mut Formatter<'_>) -> Option<fmt::Result> {
        Some(match self {
            Self::Ineffective => f.write_str(
                "no effect in this boot: only PID 1 and generators read this credential, and they do not read \
                 /run/credstore",
            ),
            Self::NotHandedOver => f.write_str(
                "not written to /run/credentials/@initrd: systemd ignores names that start with a dot there, and leaves \
                 them in plain text",
            ),
            // All other findings are about what arrived, not about a place.
            _ => return None,
        })
    }

    /// Writes the message of a finding that a name, a manifest or an address for a receipt was sent again; `None` for
    /// other findings.
    fn fmt_again(&self, f: &mut Formatter<'_>) -> Option<fmt::Result> {
        Some(f.write_str(match self {
            Self::Duplicate { identical: true } => "was sent again, with the same value",
            Self::Duplicate { identical: false } => "was sent again with another value; the first one counts",
            Self::ManifestAgain { identical: true } => "the manifest was sent again",
            Self::ManifestAgain { identical: false } => {
                "a second, different manifest was sent; the first one counts"
            }
            Self::ReceiptAgain => "a second, different address for a receipt was sent; the first one counts",
            _ => return None,
        }))
    }

    /// Writes the message of a finding about a string, a credential, the manifest or the set as a whole; `None` for
    /// other findings.
    fn fmt_set(&self, f: &mut Formatter<'_>) -> Option<fmt::Result> {
        Some(match self {
            Self::NotACredential { reason, size } => write!(f, "the OEM string of {size} bytes {reason}"),
            Self::MaybeCut { found } => {
                write!(f, "the table is damaged after it, so its {found} bytes may be incomplete; it was refused")
            }
            Self::NameBlank => f.write_str("its name begins or ends with a blank, which belongs to the name"),
            Self::AboveSystemd { credentials, bytes } => {
                write!(f, "{credentials} credentials of {bytes} bytes are more than systemd imports")
            }
            Self::ManifestMissing => f.write_str("a manifest is required, but none was sent"),
            Self::ManifestInvalid { reason } => write!(f, "the manifest cannot be read: {reason}"),
            Self::ReceiptInvalid { reason } => {
                write!(f, "the address for a receipt cannot be read: {reason}")
            }
            Self::Missing { expected: Some(expected), required, .. } => {
                let required = if *required { "required, " } else { "" };
                write!(f, "missing: {required}sent with {expected} bytes, but did not arrive")
            }
            Self::Missing { expected: None, .. } => f.write_str("missing: required, but did not arrive"),
            Self::SizeDiffers { expected, found } => write!(f, "{expected} bytes were sent, {found} arrived"),
            Self::DigestDiffers => f.write_str(
                "the digest does not match: a value changed on the way, although every size is right; all listed \
                 credentials were refused",
            ),
            Self::Trust(trust) => trust.fmt(f),
            Self::Sealed(sealed) => sealed.fmt(f),
            Self::NotListed => f.write_str("the manifest does not list this credential"),
            Self::Empty { required: true } => f.write_str("required, but empty (0 bytes)"),
            Self::Empty { required: false } => f.write_str("empty (0 bytes)"),
            Self::EntryPoint { .. }
            | Self::TableCut(_)
            | Self::TableShort(_)
            | Self::TableLong(_)
            | Self::MoreStructures(_)
            | Self::Damaged { .. }
            | Self::NoEndOfTable
            | Self::BehindEndOfTable { .. }
            | Self::NoOemStrings
            | Self::OemStringsUnknown
            | Self::OemStringsBroken
            | Self::NoCredentials
            | Self::StructureLength { .. }
            | Self::LongStructure { .. }
            | Self::StringsMissing { .. }
            | Self::StringSplit { .. }
            | Self::CountUnclear { .. }
            | Self::CountWrapped { .. }
            | Self::SetEndedEarly
            | Self::EmptyString
            | Self::NearMiss { .. }
            | Self::ItemNotACredential { .. }
            | Self::Duplicate { .. }
            | Self::ManifestAgain { .. }
            | Self::ReceiptAgain
            | Self::Ineffective
            | Self::NotHandedOver => return None,
        })
    }
}

impl Refusal {
    /// Returns the reason as a sentence, for the REASON column of the listing.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoEquals => "there is no '=' between name and value",
            Self::BadName => "systemd does not allow this name",
            Self::BadBase64 => "its value is not base64",
            Self::TooLarge => "its value is larger than systemd allows",
            Self::Duplicate => "the name was sent before, and the first value counts",
            Self::Copy => "the same value came by fw_cfg",
            Self::Empty => "its value is empty",
            Self::MaybeCut => "the table is damaged after it, so its end may be missing",
            Self::SizeDiffers => "its size differs from the size that was sent",
            Self::DigestDiffers => "a value of the set changed on the way",
            Self::NotListed => "a manifest is required, but it does not list this credential",
            Self::NotABlob => "it is not the output of 'systemd-creds encrypt'",
            Self::NullKey => "it is encrypted with the null key, which everybody has",
            Self::SentAsPlain => "it is encrypted, but was sent as a plain credential",
            Self::AlsoPlain => "it was sent both plain and encrypted",
            Self::CiphertextDiffers => "the ciphertext differs from the one that was sent",
            Self::Unproven => "a trusted signature is required, but no such signature proves the whole set",
        }
    }
}

/// Displays the announced and the found size of a table.
struct Sizes<'a>(&'a Extent);

impl Display for Sizes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Extent { announced_bytes, found_bytes, announced_structures, found_structures } = self.0;
        write!(f, "{announced_bytes} bytes announced, {found_bytes} found")?;
        match announced_structures {
            Some(announced) => write!(f, "; {announced} structures announced, {found_structures} found"),
            None => Ok(()),
        }
    }
}
