//! The findings of verification, as values with a type and a place. The report, the JSON and the log use the same
//! findings.
//!
//! A finding never contains the value of a credential, nor any text of a string that is not a credential.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::origin::Origin;
use super::sealed_finding::SealedFinding;
use super::trust_finding::TrustFinding;
use crate::format::credential::Name;
use crate::format::manifest::ManifestError;
use crate::format::oem_string::DecodeError;
use crate::format::receipt::AddressError;
use crate::format::smbios::entry_point::EntryPointError;
use crate::format::smbios::{Damage, Extent};

/// How serious a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The finding is only information: the user need not do anything.
    Note,
    /// What was found is unusual, but no credential was lost.
    Warning,
    /// The guest did not get what the host meant to send, so verification fails.
    Error,
}

impl Display for Severity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One result of verification.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What verification found.
    pub kind: FindingKind,
    /// How serious the finding is.
    pub severity: Severity,
    /// The name of the credential that the finding is about.
    pub credential: Option<Name>,
    /// The place of the finding in the table or in `fw_cfg`; `None` if the finding is about the whole set.
    pub origin: Option<Origin>,
    /// The number of further findings in the same group, which are only counted ([`super::findings::Findings`]).
    pub more: usize,
}

/// The kinds of findings.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The entry point cannot be read.
    EntryPoint {
        /// Why the entry point cannot be read.
        #[serde(serialize_with = "as_text")]
        reason: EntryPointError,
    },
    /// The table has fewer bytes or structures than its entry point announces, and nothing shows that it is complete.
    TableCut(Extent),
    /// The table is shorter than its entry point announces, but no structure is missing.
    TableShort(Extent),
    /// The table is longer than its entry point announces.
    TableLong(Extent),
    /// The table has more structures than its entry point announces, and the kernel would not read the additional ones.
    MoreStructures(Extent),
    /// From the place of the finding to the end of the table, the bytes are not a structure.
    Damaged {
        /// Number of bytes from the place of the finding to the end of the table.
        remaining: usize,
        /// Why these bytes are not a structure.
        #[serde(serialize_with = "as_text")]
        reason: Damage,
    },
    /// The table has no Type 127 structure, which would mark the end of the table.
    NoEndOfTable,
    /// Bytes follow the structure that marks the end of the table (Type 127).
    BehindEndOfTable {
        /// Number of bytes after the end of the table.
        remaining: usize,
    },
    /// The table was read to its end, and has no Type 11 structure.
    NoOemStrings,
    /// There is no Type 11 structure in the part of the table that could be read, but the rest of the table may have
    /// contained one.
    OemStringsUnknown,
    /// The table breaks off in a Type 11 structure.
    OemStringsBroken,
    /// There are Type 11 structures, but none contains a credential.
    NoCredentials,
    /// The formatted area of a Type 11 structure is not 5 bytes long.
    StructureLength {
        /// Length of the formatted area in bytes.
        length: u8,
    },
    /// A Type 11 structure is larger than 4096 bytes, and systemd 256 and older reads only its first 4096 bytes.
    LongStructure {
        /// Size of the structure in bytes.
        size: usize,
    },
    /// The count byte announces more strings than the structure has.
    StringsMissing {
        /// Number of strings that the count byte announces.
        announced: usize,
        /// Number of strings that the structure contains.
        found: usize,
    },
    /// The structure has more than 255 strings, and its count byte does not show why: either the host sent more than
    /// 255 strings, so that the count byte wrapped, or NUL bytes have split some strings.
    CountUnclear {
        /// Number of strings that the count byte announces.
        announced: usize,
        /// Number of strings that the structure contains.
        found: usize,
    },
    /// The structure has more strings than its count byte announces: a NUL byte has split a string.
    StringSplit {
        /// Number of strings that the count byte announces.
        announced: usize,
        /// Number of strings that the structure contains.
        found: usize,
    },
    /// The structure has more than 255 strings, so the count byte wrapped.
    CountWrapped {
        /// Number of strings that the count byte announces.
        announced: usize,
        /// Number of strings that the structure contains.
        found: usize,
    },
    /// Text follows the structure: an empty string has ended the string set too early.
    SetEndedEarly,
    /// The string set of a structure begins with an empty string.
    EmptyString,
    /// The prefix of a string is probably mistyped.
    NearMiss {
        /// The prefix that the host probably meant.
        meant: &'static str,
    },
    /// A string has the prefix of a credential, but does not contain a credential.
    NotACredential {
        /// Size of the string in bytes.
        size: usize,
        /// Why the string is not a credential.
        #[serde(serialize_with = "as_text")]
        reason: DecodeError,
    },
    /// An item of `fw_cfg` has a path in systemd's directory, but does not contain a credential.
    ItemNotACredential {
        /// Size of the item in bytes.
        size: usize,
        /// Why the item is not a credential.
        #[serde(serialize_with = "as_text")]
        reason: DecodeError,
    },
    /// A credential is next to the place where the table breaks off, so the end of the credential may be missing.
    MaybeCut {
        /// Number of bytes of the value that arrived.
        found: usize,
    },
    /// The name of a credential begins or ends with a blank.
    NameBlank,
    /// A credential with the same name was sent before.
    Duplicate {
        /// Whether both credentials have the same value too.
        identical: bool,
    },
    /// The credentials exceed a limit of systemd.
    AboveSystemd {
        /// Number of credentials.
        credentials: usize,
        /// Size of all values together, in bytes.
        bytes: usize,
    },
    /// No manifest was sent.
    ManifestMissing,
    /// The manifest cannot be read.
    ManifestInvalid {
        /// Why the manifest cannot be read.
        #[serde(serialize_with = "as_text")]
        reason: ManifestError,
    },
    /// A second manifest was sent after a first manifest that can be read.
    ManifestAgain {
        /// Whether both manifests have the same content.
        identical: bool,
    },
    /// The address for a receipt cannot be read.
    ReceiptInvalid {
        /// Why the address cannot be read.
        #[serde(serialize_with = "as_text")]
        reason: AddressError,
    },
    /// A second address for a receipt was sent, which differs from the first one.
    ReceiptAgain,
    /// A credential that the manifest lists or the policy requires did not arrive.
    Missing {
        /// Size of the credential in bytes according to the manifest; `None` if the manifest does not list the
        /// credential.
        #[serde(skip_serializing_if = "Option::is_none")]
        expected: Option<u64>,
        /// Whether the policy requires the credential.
        required: bool,
        /// A similar name that arrived. The advice asks whether this name was meant.
        #[serde(skip)]
        near: Option<Name>,
    },
    /// The size of a value differs from the size in the manifest.
    SizeDiffers {
        /// Number of bytes that were sent, according to the manifest.
        expected: u64,
        /// Number of bytes that arrived.
        found: u64,
    },
    /// The size of every credential is right, but the digest shows that the set is not the one that was sent.
    DigestDiffers,
    /// A credential arrived that the manifest does not list.
    NotListed,
    /// The value of a credential is empty.
    Empty {
        /// Whether the policy requires the credential.
        required: bool,
    },
    /// Only PID 1 and generators read this credential, and in this boot they do not read the place to which the
    /// credential was written.
    Ineffective,
    /// The initrd cannot hand the credential over to the stage after switch-root, because its name starts with a
    /// dot.
    NotHandedOver,
    /// A finding about a signature, or about the terms in a signed manifest: audience, serial and end of validity.
    #[serde(untagged)]
    Trust(TrustFinding),
    /// A finding about an encrypted credential.
    #[serde(untagged)]
    Sealed(SealedFinding),
}

fn as_text<S: serde::Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
