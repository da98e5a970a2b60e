//! The limits of each route from the host into the guest, as constants.
//!
//! For almost all of these limits, no program reports an error if the limit is exceeded: OEM strings are dropped, the
//! SMBIOS table is cut, or the guest's kernel is overwritten. So this program checks a set of strings against every
//! limit on its route before the hypervisor starts.

use std::borrow::Cow;
use std::ops::Range;

use super::strings::{Content, OemStrings};
use crate::format::credential::Name;
use crate::format::smbios::write;
use crate::format::systemd;
use crate::text::help::Help;

/// A limit on the route into the guest.
#[derive(Debug, Eq, PartialEq, serde::Serialize)]
pub struct Limit {
    /// Short name of the limit, for messages and tables.
    pub name: &'static str,
    /// The unit of the limit.
    pub unit: Unit,
    /// The largest permitted amount, in the limit's unit.
    pub maximum: usize,
    /// What would happen if a set of strings above the limit were sent.
    pub above: &'static str,
    /// What to do if the limit is exceeded.
    pub advice: &'static str,
    /// Where the limit is documented, or how it was measured.
    pub source: &'static str,
    /// The property of a set that the limit applies to.
    #[serde(skip)]
    pub counts: Counted,
    /// What this program does if the limit is exceeded: it refuses the set, or logs a warning.
    #[serde(rename = "severity")]
    pub excess: Excess,
}

/// The unit that a limit counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// OEM strings.
    Strings,
    /// Credentials.
    Credentials,
    /// Items of `fw_cfg`.
    Items,
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Bytes => "bytes",
            Self::Strings => "strings",
            Self::Credentials => "credentials",
            Self::Items => "items",
        })
    }
}

/// The property of a set that a limit applies to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Counted {
    /// Bytes of all Type 11 structures.
    Structures,
    /// Bytes of all strings, each with its NUL.
    Area,
    /// Number of strings.
    Strings,
    /// Size in bytes of a JSON array of the strings.
    JsonArray,
    /// Bytes of the hypervisor's largest argument that contains strings in plain text.
    Argument,
    /// Bytes of all values.
    Values,
    /// Number of credentials that are not empty.
    Credentials,
    /// Bytes of the strings in the largest structure, with their NULs and the NUL that ends the structure.
    LargestArea,
    /// Items of `fw_cfg`: one for each credential, one for the manifest, one for each signature, and one for the
    /// address for a receipt.
    Items,
    /// Bytes of the contents of all `fw_cfg` items together.
    ItemBytes,
}

/// What this program does if a limit is exceeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Excess {
    /// This program refuses the set: it does not start the hypervisor, and `emit` writes nothing.
    Refuse,
    /// This program only logs a warning, because the effect depends on the guest.
    Warn,
}

/// The advice for most limits.
pub(super) const FEWER: &str = "send fewer or smaller credentials";

/// Maximum number of bytes of one argument of a program. libvirt puts all strings into one argument.
pub const ARGUMENT: Limit = Limit {
    name: "Linux: size of one argument",
    unit: Unit::Bytes,
    maximum: 131_071,
    above: "the hypervisor cannot be executed (E2BIG)",
    advice: FEWER,
    source: "MAX_ARG_STRLEN, Linux include/uapi/linux/binfmts.h",
    counts: Counted::Argument,
    excess: Excess::Refuse,
};

/// Maximum total size, in bytes, of the values that systemd imports.
pub const SYSTEMD_TOTAL: Limit = Limit {
    name: "systemd in the guest: size of all values",
    unit: Unit::Bytes,
    maximum: systemd::TOTAL_MAX,
    above: "systemd skips credentials, and reports this only in the guest's log",
    advice: "send fewer, or import only with smbios-creds",
    source: "CREDENTIALS_TOTAL_SIZE_MAX, systemd src/shared/creds-util.h",
    counts: Counted::Values,
    excess: Excess::Warn,
};

/// Maximum number of credentials that systemd can import. Empty credentials do not count.
pub const SYSTEMD_FILES: Limit = Limit {
    name: "systemd in the guest: number of credentials",
    unit: Unit::Credentials,
    maximum: systemd::FILES_MAX,
    above: "systemd drops credentials after the 256th: its tmpfs has 256 pages, one for each file",
    advice: "send fewer, or import only with smbios-creds",
    source: "measured with systemd 252 to 262; mount_credentials_fs()",
    counts: Counted::Credentials,
    excess: Excess::Warn,
};

/// Largest string area (all strings with their NULs), in bytes, of a structure that systemd 256 and older reads
/// completely.
pub const SYSTEMD_256: Limit = Limit {
    name: "systemd 256 and older in the guest: size of one structure",
    unit: Unit::Bytes,
    maximum: write::STRING_AREA_MAX,
    above: "such a guest loses the strings after it, or gets a cut value, without a message",
    advice: "use systemd 257 or newer in the guest, or import with smbios-creds",
    source: "read_virtual_file(), systemd src/core/import-creds.c before 257; measured",
    counts: Counted::LargestArea,
    excess: Excess::Warn,
};

/// Largest total size of the strings, in bytes, that every hypervisor supports. This limit is checked if the hypervisor
/// is not known.
pub const EVERYWHERE: Limit = Limit {
    name: "any hypervisor: size of the strings in the table",
    unit: Unit::Bytes,
    maximum: 32_768,
    above: "not every hypervisor and API can carry them",
    advice: "use --format with the hypervisor's name to see its limits",
    source: "below every other limit, with room for the rest of a machine's configuration",
    counts: Counted::Area,
    excess: Excess::Warn,
};

/// How much of a limit a set of strings uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// The limit that is checked.
    pub limit: &'static Limit,
    /// The amount that the set needs.
    pub used: usize,
    /// The amount that is available to the set: the limit's maximum, minus the amount that other data uses.
    pub available: usize,
}

impl Usage {
    fn new(limit: &'static Limit, used: usize, taken: usize) -> Self {
        Self { limit, used, available: limit.maximum.saturating_sub(taken) }
    }

    /// Whether the set needs more than is available.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.used > self.available
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Limit { name, unit, above, .. } = self.limit;
        let (used, available) = (self.used, self.available);
        write!(f, "{name}: {used} {unit}")?;
        if self.is_exceeded() {
            let excess = used.saturating_sub(available);
            write!(f, ", {excess} more than the limit of {available}: {above}")
        } else {
            write!(f, " of {available}")
        }
    }
}

impl Help for Usage {
    fn help(&self) -> Option<Cow<'static, str>> {
        self.is_exceeded().then_some(self.limit.advice.into())
    }
}

/// How strings become Type 11 structures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Structures {
    /// This program packs the strings into structures that every version of systemd reads completely.
    Packed,
    /// A hypervisor builds one structure from all strings.
    One,
    /// There are no structures: each credential is an item of `fw_cfg`.
    None,
}

/// The route of a set of strings into a guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// How strings on this route become Type 11 structures.
    pub structures: Structures,
    /// Every limit on this route. The number is the part of the limit that other data than the set uses, such as QEMU's
    /// own structures.
    pub limits: Vec<(&'static Limit, usize)>,
}

impl Route {
    /// Returns the route for strings whose hypervisor is not known.
    #[must_use]
    pub fn anywhere() -> Self {
        Self { structures: Structures::Packed, limits: vec![(&EVERYWHERE, 0)] }
    }

    /// Divides strings of these sizes into structures. Returns the range of strings for each structure.
    #[must_use]
    pub fn pack(&self, sizes: &[usize]) -> Vec<Range<usize>> {
        match self.structures {
            Structures::Packed => write::pack(sizes),
            Structures::One => std::iter::once(0..sizes.len()).collect(),
            Structures::None => Vec::new(),
        }
    }
}

/// Compares a set with every limit on its route. `argument` is the size of the largest argument that contains strings
/// in plain text, or `None` if no argument contains them.
#[must_use]
pub fn check(strings: &OemStrings, route: &Route, argument: Option<usize>) -> Vec<Usage> {
    let sizes = strings.sizes();
    let area: usize = sizes.iter().map(|size| size + 1).sum();
    let packed = route.pack(&sizes);
    let structures = || packed.iter().map(|range| sizes.get(range.clone()).unwrap_or_default());
    let values = || strings.credentials().map(|(_, size, _)| size);
    let accompanying = || strings.signatures().chain(strings.receipt());
    let used = |counted| match counted {
        Counted::Structures => structures().map(write::structure_size).sum(),
        Counted::Area => area,
        Counted::Strings => sizes.len(),
        // The array has two brackets, two quotes for each string, and a backslash before each escaped byte. `area`
        // counts one NUL for each string, and the array has one comma less than it has strings.
        Counted::JsonArray => {
            let is_escaped = |byte: &&u8| matches!(byte, b'"' | b'\\');
            area + 2 * sizes.len() + 1 + strings.texts().flatten().filter(is_escaped).count()
        }
        Counted::Argument => argument.unwrap_or_default(),
        Counted::Values => values().sum(),
        Counted::Credentials => values().filter(|&size| size > 0).count(),
        Counted::LargestArea => structures().map(string_area).max().unwrap_or_default(),
        Counted::Items => values().count() + 1 + accompanying().count(),
        Counted::ItemBytes => {
            values().sum::<usize>()
                + strings.manifest().len()
                + accompanying().map(<[u8]>::len).sum::<usize>()
        }
    };
    let own = route.limits.iter().copied();
    let argument = argument.map(|_| (&ARGUMENT, 0));
    let systemd = [(&SYSTEMD_TOTAL, 0), (&SYSTEMD_FILES, 0)];
    // systemd 256 and older cuts large structures, but reads `fw_cfg` items completely. So if the route has no
    // structures, `SYSTEMD_256` is not checked.
    let systemd_256 = (route.structures != Structures::None).then_some((&SYSTEMD_256, 0));
    own.chain(argument)
        .chain(systemd)
        .chain(systemd_256)
        .map(|(limit, taken)| Usage::new(limit, used(limit.counts), taken))
        .collect()
}

/// Returns the string area of a structure in bytes. The string area includes the NUL after each string, and the NUL
/// that ends the structure.
fn string_area(sizes: &[usize]) -> usize {
    sizes.iter().map(|size| size + 1).sum::<usize>() + 1
}

/// Returns the credentials that a guest with systemd 256 or older would not receive completely, in the order of their
/// strings in the table.
#[must_use]
pub fn lost_in_systemd_256(strings: &OemStrings, structures: Structures) -> Vec<Name> {
    if structures == Structures::None {
        return Vec::new();
    }
    let mut at = 0;
    let mut lost = Vec::new();
    for (content, size) in strings.contents() {
        at = size + 1 + if structures == Structures::One { at } else { 0 };
        // `>=` is correct here, because `at` does not count the NUL that ends the structure.
        if let Content::Credential { name, .. } = content
            && at >= write::STRING_AREA_MAX
        {
            lost.push(name.clone());
        }
    }
    lost
}
