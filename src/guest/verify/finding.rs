//! What verification has to say: typed values with their place, the same for the report, the JSON and the log.
//!
//! A finding never holds a value, nor any text of a string that is not a credential.

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

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Odd, and nothing was lost by it.
    Warning,
    /// What the host meant to send is not what is here. The verdict fails.
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

/// One thing that verification has to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// How much it weighs.
    pub severity: Severity,
    /// The name of the credential it is about.
    pub credential: Option<Name>,
    /// Where; `None` if it is about the set as a whole.
    pub origin: Option<Origin>,
    /// How many more of its group there are, which are counted only ([`super::findings::Findings`]).
    pub more: usize,
}

/// What a finding can be.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The entry point cannot be read.
    EntryPoint {
        /// Why.
        #[serde(serialize_with = "as_text")]
        reason: EntryPointError,
    },
    /// The table is shorter than announced.
    TableCut(Extent),
    /// The table is shorter than announced, and yet complete.
    TableShort(Extent),
    /// The table is longer than announced.
    TableLong(Extent),
    /// The table has more structures than announced.
    MoreStructures(Extent),
    /// The bytes stop being structures.
    Damaged {
        /// Bytes from there to the end.
        remaining: usize,
        /// Why.
        #[serde(serialize_with = "as_text")]
        reason: Damage,
    },
    /// There is no type 127 structure.
    NoEndOfTable,
    /// Bytes behind the end of the table.
    BehindEndOfTable {
        /// How many.
        remaining: usize,
    },
    /// There is no Type 11 structure in a table that was read to its end.
    NoOemStrings,
    /// There is no Type 11 structure in what could be read of the table.
    OemStringsUnknown,
    /// The table breaks in a Type 11 structure.
    OemStringsBroken,
    /// There are Type 11 structures without any credential.
    NoCredentials,
    /// A Type 11 structure whose formatted area is not 5 bytes long.
    StructureLength {
        /// Its length.
        length: u8,
    },
    /// A Type 11 structure larger than a page.
    LongStructure {
        /// Its size in bytes.
        size: usize,
    },
    /// The count byte announces strings that are not there.
    StringsMissing {
        /// By the count byte.
        announced: usize,
        /// In the table.
        found: usize,
    },
    /// More than 255 strings, of which the count byte does not tell whether it wrapped or NUL bytes have split some.
    CountUnclear {
        /// By the count byte.
        announced: usize,
        /// In the table.
        found: usize,
    },
    /// More strings than announced: a NUL byte has split one.
    StringSplit {
        /// By the count byte.
        announced: usize,
        /// In the table.
        found: usize,
    },
    /// More than 255 strings, so that the count byte wrapped.
    CountWrapped {
        /// By the count byte.
        announced: usize,
        /// In the table.
        found: usize,
    },
    /// What follows the structure is text: an empty string has ended the set before its time.
    SetEndedEarly,
    /// An empty string at the beginning of a set.
    EmptyString,
    /// A mistyped prefix.
    NearMiss {
        /// The prefix that was probably meant.
        meant: &'static str,
    },
    /// A string with the prefix of a credential that holds none.
    NotACredential {
        /// Its size in bytes.
        size: usize,
        /// Why.
        #[serde(serialize_with = "as_text")]
        reason: DecodeError,
    },
    /// An item of `fw_cfg` in systemd's directory that holds no credential.
    ItemNotACredential {
        /// Its size in bytes.
        size: usize,
        /// Why.
        #[serde(serialize_with = "as_text")]
        reason: DecodeError,
    },
    /// A credential next to where the table breaks, whose end may be missing.
    MaybeCut {
        /// Bytes that are here.
        found: usize,
    },
    /// A name that begins or ends with a blank.
    NameBlank,
    /// The same name again.
    Duplicate {
        /// Whether the value is the same, too.
        identical: bool,
    },
    /// More than systemd takes.
    AboveSystemd {
        /// Number of credentials.
        credentials: usize,
        /// Bytes of all values.
        bytes: usize,
    },
    /// There is no manifest.
    ManifestMissing,
    /// The manifest cannot be read.
    ManifestInvalid {
        /// Why.
        #[serde(serialize_with = "as_text")]
        reason: ManifestError,
    },
    /// There is a second manifest.
    ManifestAgain {
        /// Whether it says the same.
        identical: bool,
    },
    /// The address for a receipt cannot be read.
    ReceiptInvalid {
        /// Why.
        #[serde(serialize_with = "as_text")]
        reason: AddressError,
    },
    /// There is a second address for a receipt, and it is another one.
    ReceiptAgain,
    /// A credential that was sent or is required is not here.
    Missing {
        /// Size it was sent with, if that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        expected: Option<u64>,
        /// Whether the policy requires it.
        required: bool,
    },
    /// A value has another size than it was sent with.
    SizeDiffers {
        /// Bytes that were sent.
        expected: u64,
        /// Bytes that are here.
        found: u64,
    },
    /// All sizes are right, and still it is not the set that was sent.
    DigestDiffers,
    /// A credential that the manifest does not list.
    NotListed,
    /// A value of no bytes.
    Empty {
        /// Whether the policy requires the credential.
        required: bool,
    },
    /// Only PID 1 and generators read it, and in this boot they do not look where it goes.
    Ineffective,
    /// The initrd cannot hand it over: its name starts with a dot.
    NotHandedOver,
    /// A signature, or what a signed manifest says.
    #[serde(untagged)]
    Trust(TrustFinding),
    /// An encrypted credential.
    #[serde(untagged)]
    Sealed(SealedFinding),
}

fn as_text<S: serde::Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
