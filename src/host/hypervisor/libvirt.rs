//! libvirt: domain XML for its QEMU driver, to be written into a domain by others.
//!
//! libvirt gives QEMU all strings in one argument, where every user of the host can read them, and writes that to the
//! domain's log (`src/qemu/qemu_command.c`, `qemu_process.c`). It has no way to pass a file.

use std::fmt::Write as _;

use super::argument::push_escaped;
use super::qemu;
use crate::format::credential::Secret;
use crate::format::smbios::write;
use crate::host::capacity::{Counted, Excess, FEWER, Limit, Route, Structures, Unit};
use crate::host::strings::OemStrings;

/// Strings in the one Type 11 structure that QEMU builds of libvirt's.
pub const STRINGS_LIMIT: Limit = Limit {
    name: "libvirt: strings",
    unit: Unit::Strings,
    maximum: write::STRINGS_MAX,
    above: "the count wraps, and readers that go by it lose strings",
    advice: FEWER,
    source: "measured with QEMU 7.2 and 10.0",
    counts: Counted::Strings,
    excess: Excess::Refuse,
};

/// The way through its one argument for QEMU, which builds one structure of the strings.
#[must_use]
pub fn route() -> Route {
    let limits = vec![(&qemu::TABLE_LIMIT, qemu::OWN_STRUCTURES), (&STRINGS_LIMIT, 0)];
    Route { structures: Structures::One, limits }
}

/// The two elements of a domain: `<os>` needs the first beside what it has, `<domain>` the second.
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

/// An element of a domain with arguments that libvirt adds to QEMU's. They hold no secret. libvirt marks such a domain
/// as tainted (`custom-argv`), and nothing else.
#[must_use]
pub fn command_line<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let mut xml =
        String::from("<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n");
    for argument in arguments {
        let value = argument.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;");
        // Writing to a string cannot fail.
        _ = writeln!(xml, "  <qemu:arg value='{value}'/>");
    }
    xml + "</qemu:commandline>\n"
}

/// Bytes of the argument that libvirt makes of the strings for QEMU.
#[must_use]
pub fn argument_size(strings: &OemStrings) -> usize {
    qemu::option(strings).len()
}
