//! Writes domain XML for libvirt's QEMU driver. The user or another program puts the XML into a domain.
//!
//! libvirt passes all strings to QEMU in one argument, which every user of the host can read. libvirt also writes the
//! argument to the domain's log (`src/qemu/qemu_command.c`, `qemu_process.c`). libvirt cannot pass the strings in a
//! file.

#[cfg(feature = "cli")]
pub mod edit;

use std::fmt::Write as _;

use super::argument::push_escaped;
use super::qemu;
use crate::format::credential::Secret;
use crate::format::smbios::write;
use crate::host::capacity::{Counted, Excess, FEWER, Limit, Route, Structures, Unit};
use crate::host::strings::OemStrings;

/// The XML namespace of elements that only libvirt's QEMU driver reads (`src/conf/domain_conf.h` and
/// `src/qemu/qemu_domain.h`).
const NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// Maximum number of strings in the one Type 11 structure that QEMU builds from libvirt's strings.
pub const STRINGS_LIMIT: Limit = Limit {
    name: "libvirt: number of strings",
    unit: Unit::Strings,
    maximum: write::STRINGS_MAX,
    above: "the count overflows, and readers that use it lose strings",
    advice: FEWER,
    source: "measured with QEMU 7.2 and 10.0",
    counts: Counted::Strings,
    excess: Excess::Refuse,
};

/// Returns the route through libvirt, which passes all strings to QEMU in one argument. QEMU builds one structure from
/// the strings.
#[must_use]
pub fn route() -> Route {
    let limits = vec![(&qemu::TABLE_LIMIT, qemu::OWN_STRUCTURES), (&STRINGS_LIMIT, 0)];
    Route { structures: Structures::One, limits }
}

/// Writes the XML elements `<os>` and `<sysinfo>`, which make libvirt pass the strings to QEMU. Add the content of
/// `<os>` to the domain's own `<os>`, and add `<sysinfo>` to its `<domain>`.
#[must_use]
pub fn xml(strings: &OemStrings) -> Secret {
    let mut parts: Vec<&[u8]> =
        vec![b"<os><smbios mode='sysinfo'/></os>\n<sysinfo type='smbios'>\n  <oemStrings>\n"];
    for text in strings.texts() {
        parts.push(b"    <entry>");
        push_escaped(&mut parts, text, |byte| match byte {
            b'&' => Some(b"&amp;"),
            b'<' => Some(b"&lt;"),
            b'>' => Some(b"&gt;"),
            _ => None,
        });
        parts.push(b"</entry>\n");
    }
    parts.push(b"  </oemStrings>\n</sysinfo>\n");
    parts.concat().into()
}

/// Writes an XML element that contains additional QEMU arguments for a libvirt domain. The arguments contain no
/// secrets. The only effect of the element in libvirt is that the domain is marked as tainted (`custom-argv`).
#[must_use]
pub fn command_line<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let arguments = argument_elements("qemu:", arguments);
    format!("<qemu:commandline xmlns:qemu='{NAMESPACE}'>\n{arguments}</qemu:commandline>\n")
}

/// Writes an `arg` element for each of these arguments, one per line. `prefix` is the prefix of QEMU's namespace, with
/// its colon.
fn argument_elements<'a>(prefix: &str, arguments: impl IntoIterator<Item = &'a str>) -> String {
    let mut xml = String::new();
    for argument in arguments {
        let value = argument.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;");
        // Writing to a string cannot fail.
        _ = writeln!(xml, "  <{prefix}arg value='{value}'/>");
    }
    xml
}

/// Returns the size in bytes of the argument that libvirt makes from the strings for QEMU.
#[must_use]
pub fn argument_size(strings: &OemStrings) -> usize {
    qemu::option(strings).len()
}
