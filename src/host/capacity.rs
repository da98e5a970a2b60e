//! What can be carried on each part of the way, as data.
//!
//! Almost every one of these limits is exceeded without an error: strings are dropped, a table is cut, a guest kernel
//! is overwritten. So all of them are held against a set before anything starts.

use std::ops::Range;

use super::strings::{Content, OemStrings};
use crate::format::credential::Name;
use crate::format::smbios::write;
use crate::format::systemd;

/// Something that cannot be exceeded.
#[derive(Debug, Eq, PartialEq, serde::Serialize)]
pub struct Limit {
    /// A short name.
    pub name: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// The largest value that works.
    pub maximum: usize,
    /// What happens above it.
    pub above: &'static str,
    /// What to do.
    pub advice: &'static str,
    /// How it is known.
    pub source: &'static str,
    /// What of a set is held against it.
    #[serde(skip)]
    pub counts: Counted,
    /// Whether nothing is started above it.
    #[serde(rename = "severity")]
    pub excess: Excess,
}

/// What a limit counts.
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

/// What of a set is held against a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Counted {
    /// Bytes of all structures.
    Structures,
    /// Bytes of all strings, each with its NUL.
    Area,
    /// Number of strings.
    Strings,
    /// Bytes of a JSON array of the strings.
    JsonArray,
    /// Bytes of the largest argument that holds strings in plain text.
    Argument,
    /// Bytes of all values.
    Values,
    /// Credentials that have a byte.
    Credentials,
    /// Bytes of the largest structure, without its formatted area.
    LargestArea,
    /// Items of `fw_cfg`: one a credential, one for the manifest, one for each signature, and one for the address of a
    /// receipt.
    Items,
    /// Bytes of all items.
    ItemBytes,
}

/// What comes of a limit that is exceeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Excess {
    /// Nothing is started.
    Refuse,
    /// It depends on the guest: a warning.
    Warn,
}

/// What helps against most limits.
pub(super) const FEWER: &str = "send fewer or smaller credentials";

/// One argument of a program. libvirt puts all strings into one.
pub const ARGUMENT: Limit = Limit {
    name: "Linux: one argument",
    unit: Unit::Bytes,
    maximum: 131_071,
    above: "the hypervisor cannot be executed (E2BIG)",
    advice: FEWER,
    source: "MAX_ARG_STRLEN, Linux include/uapi/linux/binfmts.h",
    counts: Counted::Argument,
    excess: Excess::Refuse,
};

/// Bytes of all values that systemd's importer takes.
pub const SYSTEMD_TOTAL: Limit = Limit {
    name: "systemd in the guest: all values",
    unit: Unit::Bytes,
    maximum: systemd::TOTAL_MAX,
    above: "systemd skips credentials, and says so in the guest's log only",
    advice: "send fewer, or import with smbios-creds alone",
    source: "CREDENTIALS_TOTAL_SIZE_MAX, systemd src/shared/creds-util.h",
    counts: Counted::Values,
    excess: Excess::Warn,
};

/// Credentials that systemd's importer can hold, those without a byte aside.
pub const SYSTEMD_FILES: Limit = Limit {
    name: "systemd in the guest: credentials",
    unit: Unit::Credentials,
    maximum: systemd::FILES_MAX,
    above: "systemd drops those behind the 256th: its tmpfs has 256 pages, one a file",
    advice: "send fewer, or import with smbios-creds alone",
    source: "measured with systemd 252 to 262; mount_credentials_fs()",
    counts: Counted::Credentials,
    excess: Excess::Warn,
};

/// Largest string area of one structure of which systemd 256 and older reads all.
pub const SYSTEMD_256: Limit = Limit {
    name: "systemd 256 and older in the guest: one structure",
    unit: Unit::Bytes,
    maximum: write::STRING_AREA_MAX,
    above: "such a guest loses what is behind, or has a cut value, without a word",
    advice: "use systemd 257 or newer there, or let smbios-creds import",
    source: "read_virtual_file(), systemd src/core/import-creds.c before 257; measured",
    counts: Counted::LargestArea,
    excess: Excess::Warn,
};

/// What fits every hypervisor, for strings of which nobody knows where they go.
pub const EVERYWHERE: Limit = Limit {
    name: "every hypervisor: strings in the table",
    unit: Unit::Bytes,
    maximum: 32_768,
    above: "not every hypervisor and API can carry them",
    advice: "give --format the hypervisor's name to know",
    source: "below every other limit, with room for the rest of a machine's configuration",
    counts: Counted::Area,
    excess: Excess::Warn,
};

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// The limit.
    pub limit: &'static Limit,
    /// What a set needs.
    pub used: usize,
    /// What there is: the maximum, less what the hypervisor needs for itself.
    pub available: usize,
}

impl Usage {
    fn new(limit: &'static Limit, used: usize, taken: usize) -> Self {
        Self { limit, used, available: limit.maximum.saturating_sub(taken) }
    }

    /// Whether more is used than there is.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.used > self.available
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Limit { name, unit, above, advice, .. } = self.limit;
        let (used, available) = (self.used, self.available);
        write!(f, "{name}: {used} {unit}")?;
        if self.is_exceeded() {
            let excess = used.saturating_sub(available);
            write!(f, ", {excess} more than the {available} there are: {above}; {advice}")
        } else {
            write!(f, " of {available}")
        }
    }
}

/// How strings become structures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Structures {
    /// We pack them into structures that every systemd reads whole.
    Packed,
    /// A hypervisor builds one structure of all of them.
    One,
    /// They do not: each credential is an item of `fw_cfg`.
    None,
}

/// What a set of strings goes through on its way to a guest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// How strings become structures.
    pub structures: Structures,
    /// Every limit of this way, and how much of it others take.
    pub limits: Vec<(&'static Limit, usize)>,
}

impl Route {
    /// The way of strings whose destination is not known.
    #[must_use]
    pub fn anywhere() -> Self {
        Self { structures: Structures::Packed, limits: vec![(&EVERYWHERE, 0)] }
    }

    /// The structures that strings of these sizes become, as ranges of them.
    #[must_use]
    pub fn pack(&self, sizes: &[usize]) -> Vec<Range<usize>> {
        match self.structures {
            Structures::Packed => write::pack(sizes),
            Structures::One => std::iter::once(0..sizes.len()).collect(),
            Structures::None => Vec::new(),
        }
    }
}

/// Holds a set against every limit on its way. `argument` is the size of the largest argument that holds strings in
/// plain text, if there is one.
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
        // Two brackets, two quotes a string, a comma between strings (as many as `area` has NULs, less one), and a
        // backslash before each byte that is escaped.
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
    // It cuts structures, and reads items whole.
    let systemd_256 = (route.structures != Structures::None).then_some((&SYSTEMD_256, 0));
    own.chain(argument)
        .chain(systemd)
        .chain(systemd_256)
        .map(|(limit, taken)| Usage::new(limit, used(limit.counts), taken))
        .collect()
}

/// Bytes of strings in a structure, the NUL that ends each and the one that ends the set included.
fn string_area(sizes: &[usize]) -> usize {
    sizes.iter().map(|size| size + 1).sum::<usize>() + 1
}

/// Credentials that a guest with systemd 256 or older would not have whole, in table order.
#[must_use]
pub fn lost_in_systemd_256(strings: &OemStrings, structures: Structures) -> Vec<Name> {
    if structures == Structures::None {
        return Vec::new();
    }
    let mut at = 0;
    let mut lost = Vec::new();
    for (content, size) in strings.contents() {
        at = size + 1 + if structures == Structures::One { at } else { 0 };
        // The NUL that ends the set is one more.
        if let Content::Credential { name, .. } = content
            && at >= write::STRING_AREA_MAX
        {
            lost.push(name.clone());
        }
    }
    lost
}
