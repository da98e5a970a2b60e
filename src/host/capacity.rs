//! What can be carried on each part of the way, as data.
//!
//! Almost every one of these limits is exceeded without an error: strings are dropped, a table is cut, a guest kernel
//! is overwritten. So all of them are held against a set before anything starts.

use super::strings::{Content, OemStrings};
use crate::format::credential::Name;
use crate::format::smbios::write;

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
    /// Whether nothing is started above it.
    pub severity: Severity,
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
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Bytes => "bytes",
            Self::Strings => "strings",
            Self::Credentials => "credentials",
        })
    }
}

/// What comes of a limit that is exceeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is started.
    Refuse,
    /// It depends on the guest: a warning.
    Warn,
}

const FEWER: &str = "send fewer or smaller credentials";

/// QEMU's structure table.
///
/// It is the limit of a 32-bit entry point. With a 64-bit one QEMU knows no limit, but SeaBIOS up to 1.16.3 copies
/// the size modulo 65,536, and QEMU 9.0 and newer changes from one to the other by itself.
pub const QEMU_TABLE: Limit = Limit {
    name: "QEMU: structure table",
    unit: Unit::Bytes,
    maximum: 65_535,
    above: "QEMU refuses to start, or its firmware cuts the table",
    advice: FEWER,
    source: "smbios_validate_table(), QEMU hw/smbios/smbios.c; u16 in SeaBIOS src/fw/biostables.c before 1.17.0",
    severity: Severity::Refuse,
};

/// Bytes of a table that QEMU and its firmware need for structures of their own.
///
/// Measured without further options: 330 bytes, and 67 for the Type 0 of SeaBIOS. Each further socket takes about
/// 100 bytes and each 16 GiB of memory about 50, so this is enough for a terabyte on four sockets.
pub const QEMU_OWN: usize = 4096;

/// Strings of cloud-hypervisor's one Type 11 structure, each with its NUL. With no other SMBIOS field its table has
/// 114 bytes beside them.
pub const CLOUD_HYPERVISOR_TABLE: Limit = Limit {
    name: "cloud-hypervisor: strings in the table",
    unit: Unit::Bytes,
    maximum: 65_398,
    above: "the table runs past 1 MiB: the guest has no SMBIOS at all, or its kernel is overwritten",
    advice: FEWER,
    source: "measured with v53.0; SMBIOS_START 0xf0000, arch/src/x86_64/smbios.rs",
    severity: Severity::Refuse,
};

/// Strings in cloud-hypervisor's one Type 11 structure.
pub const CLOUD_HYPERVISOR_STRINGS: Limit = Limit {
    name: "cloud-hypervisor: strings",
    unit: Unit::Strings,
    maximum: write::STRINGS_MAX,
    above: "the count wraps, and readers that go by it lose strings",
    advice: FEWER,
    source: "'len() as u8', arch/src/x86_64/smbios.rs, measured with v53.0",
    severity: Severity::Refuse,
};

/// Body of a request to cloud-hypervisor's API.
pub const CLOUD_HYPERVISOR_BODY: Limit = Limit {
    name: "cloud-hypervisor: API request",
    unit: Unit::Bytes,
    maximum: 51_200,
    above: "cloud-hypervisor up to v53 answers 400, and the rest of the machine's configuration needs room too",
    advice: FEWER,
    source: "MAX_PAYLOAD_SIZE, micro_http src/server.rs; measured with v53.0",
    severity: Severity::Warn,
};

/// Strings of crosvm's one Type 11 structure, each with its NUL. Its table has 88 bytes beside them.
pub const CROSVM_TABLE: Limit = Limit {
    name: "crosvm: strings in the table",
    unit: Unit::Bytes,
    maximum: 65_424,
    above: "the table runs past 1 MiB, where the guest cannot map it",
    advice: FEWER,
    source: "by arithmetic: SMBIOS_START 0xf0000, crosvm x86_64/src/smbios.rs",
    severity: Severity::Refuse,
};

/// Strings in crosvm's one Type 11 structure.
pub const CROSVM_STRINGS: Limit = Limit {
    name: "crosvm: strings",
    unit: Unit::Strings,
    maximum: write::STRINGS_MAX,
    above: "crosvm refuses to start",
    advice: FEWER,
    source: "TooManyOemStrings, crosvm x86_64/src/smbios.rs",
    severity: Severity::Refuse,
};

/// Strings in the one Type 11 structure that QEMU builds of libvirt's.
pub const LIBVIRT_STRINGS: Limit = Limit {
    name: "libvirt: strings",
    unit: Unit::Strings,
    maximum: write::STRINGS_MAX,
    above: "the count wraps, and readers that go by it lose strings",
    advice: FEWER,
    source: "measured with QEMU 7.2 and 10.0",
    severity: Severity::Refuse,
};

/// One argument of a program. libvirt puts all strings into one.
pub const ARGUMENT: Limit = Limit {
    name: "Linux: one argument",
    unit: Unit::Bytes,
    maximum: 131_071,
    above: "the hypervisor cannot be executed (E2BIG)",
    advice: FEWER,
    source: "MAX_ARG_STRLEN, Linux include/uapi/linux/binfmts.h",
    severity: Severity::Refuse,
};

/// Bytes of all values that systemd's importer takes.
pub const SYSTEMD_TOTAL: Limit = Limit {
    name: "systemd in the guest: all values",
    unit: Unit::Bytes,
    maximum: 1_048_576,
    above: "systemd skips credentials, and says so in the guest's log only",
    advice: "send fewer, or import with smbios-creds alone",
    source: "CREDENTIALS_TOTAL_SIZE_MAX, systemd src/shared/creds-util.h",
    severity: Severity::Warn,
};

/// Credentials that systemd's importer can hold, those without a byte aside.
pub const SYSTEMD_FILES: Limit = Limit {
    name: "systemd in the guest: credentials",
    unit: Unit::Credentials,
    maximum: 256,
    above: "systemd drops those behind the 256th: its tmpfs has 256 pages, one a file",
    advice: "send fewer, or import with smbios-creds alone",
    source: "measured with systemd 252 to 262; mount_credentials_fs()",
    severity: Severity::Warn,
};

/// Largest string area of one structure of which systemd 256 and older reads all.
pub const SYSTEMD_256: Limit = Limit {
    name: "systemd 256 and older in the guest: one structure",
    unit: Unit::Bytes,
    maximum: write::STRING_AREA_MAX,
    above: "such a guest loses what is behind, or has a cut value, without a word",
    advice: "use systemd 257 or newer there, or let smbios-creds import",
    source: "read_virtual_file(), systemd src/core/import-creds.c before 257; measured",
    severity: Severity::Warn,
};

/// What fits every hypervisor, for strings of which nobody knows where they go.
pub const EVERYWHERE: Limit = Limit {
    name: "every hypervisor: strings in the table",
    unit: Unit::Bytes,
    maximum: 32_768,
    above: "not every hypervisor and API can carry them",
    advice: "give --format the hypervisor's name to know",
    source: "below every other limit, with room for the rest of a machine's configuration",
    severity: Severity::Warn,
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

/// What a set of strings goes through on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// QEMU reads structures from files.
    Qemu {
        /// Bytes that other options of the command line add to its table.
        others: usize,
    },
    /// cloud-hypervisor builds one structure.
    CloudHypervisor {
        /// Bytes that other options of the command line add to its table.
        others: usize,
    },
    /// The same, through its API.
    CloudHypervisorApi,
    /// crosvm builds one structure.
    Crosvm {
        /// Bytes that other options of the command line add to its table.
        others: usize,
    },
    /// libvirt gives the strings to QEMU in one argument.
    Libvirt,
    /// It is not known.
    Unknown,
}

/// Holds a set against every limit on its way. `argument` is the size of the largest argument that holds strings in
/// plain text, if there is one.
#[must_use]
pub fn check(strings: &OemStrings, way: Way, argument: Option<usize>) -> Vec<Usage> {
    let sizes = strings.sizes();
    let count = sizes.len();
    let area: usize = sizes.iter().map(|size| size + 1).sum();
    let packed = write::pack(&sizes);
    let of = |range: &std::ops::Range<usize>| sizes.get(range.clone()).unwrap_or_default();
    let structures: usize = packed.iter().map(|range| write::structure_size(of(range))).sum();
    // Where a hypervisor builds one structure of all strings, that is what an old systemd has to read.
    let largest_packed = packed.iter().map(|range| string_area(of(range))).max();
    let largest = match way {
        Way::Qemu { .. } | Way::Unknown => largest_packed.unwrap_or_default(),
        _ => string_area(&sizes),
    };
    let mut usages = match way {
        Way::Qemu { others } => vec![Usage::new(&QEMU_TABLE, structures, QEMU_OWN + others)],
        Way::CloudHypervisor { others } => vec![
            Usage::new(&CLOUD_HYPERVISOR_TABLE, area, others),
            Usage::new(&CLOUD_HYPERVISOR_STRINGS, count, 0),
        ],
        Way::CloudHypervisorApi => vec![
            Usage::new(&CLOUD_HYPERVISOR_TABLE, area, 0),
            Usage::new(&CLOUD_HYPERVISOR_STRINGS, count, 0),
            // As JSON, each string has two quotes and a comma; none holds anything that must be escaped but a name.
            Usage::new(&CLOUD_HYPERVISOR_BODY, area + 2 * count, 0),
        ],
        Way::Crosvm { others } => {
            vec![Usage::new(&CROSVM_TABLE, area, others), Usage::new(&CROSVM_STRINGS, count, 0)]
        }
        Way::Libvirt => {
            vec![
                Usage::new(&QEMU_TABLE, write::structure_size(&sizes), QEMU_OWN),
                Usage::new(&LIBVIRT_STRINGS, count, 0),
            ]
        }
        Way::Unknown => vec![Usage::new(&EVERYWHERE, area, 0)],
    };
    usages.extend(argument.map(|size| Usage::new(&ARGUMENT, size, 0)));
    let values = strings.credentials().map(|(_, size, _)| size);
    let (total, files) =
        values.fold((0, 0), |(total, files), size| (total + size, files + usize::from(size > 0)));
    usages.push(Usage::new(&SYSTEMD_TOTAL, total, 0));
    usages.push(Usage::new(&SYSTEMD_FILES, files, 0));
    usages.push(Usage::new(&SYSTEMD_256, largest, 0));
    usages
}

/// Bytes of strings in a structure, the NUL that ends each and the one that ends the set included.
fn string_area(sizes: &[usize]) -> usize {
    sizes.iter().map(|size| size + 1).sum::<usize>() + 1
}

/// Credentials that a guest with systemd 256 or older would not have whole, in table order.
#[must_use]
pub fn lost_in_systemd_256(strings: &OemStrings, way: Way) -> Vec<Name> {
    let one_structure = !matches!(way, Way::Qemu { .. } | Way::Unknown);
    let mut at = 0;
    let mut lost = Vec::new();
    for (content, size) in strings.contents() {
        at = if one_structure { at + size + 1 } else { size + 1 };
        // The NUL that ends the set is one more.
        if let Content::Credential { name, .. } = content
            && at >= write::STRING_AREA_MAX
        {
            lost.push(name.clone());
        }
    }
    lost
}
