//! libvirt: domain XML for its QEMU driver, to be written into a domain by others.
//!
//! libvirt gives QEMU all strings in one argument, where every user of the host can read them, and writes that to the
//! domain's log (`src/qemu/qemu_command.c`, `qemu_process.c`). It has no way to pass a file.

#[cfg(feature = "cli")]
pub mod edit;

use std::fmt::Write as _;

use super::argument::push_escaped;
use super::qemu;
use crate::format::credential::Secret;
use crate::format::smbios::write;
use crate::host::capacity::{Counted, Excess, FEWER, Limit, Route, Structures, Unit};
use crate::host::strings::OemStrings;

/// The namespace of what QEMU's driver adds to a domain (`src/conf/domain_conf.h` and `src/qemu/qemu_domain.h`).
const NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

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
    let arguments = argument_elements("qemu:", arguments);
    format!("<qemu:commandline xmlns:qemu='{NAMESPACE}'>\n{arguments}</qemu:commandline>\n")
}

/// One element a line for each of these arguments. `prefix` stands for QEMU's namespace, with its colon.
fn argument_elements<'a>(prefix: &str, arguments: impl IntoIterator<Item = &'a str>) -> String {
    let mut xml = String::new();
    for argument in arguments {
        let value = argument.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;");
        // Writing to a string cannot fail.
        _ = writeln!(xml, "  <{prefix}arg value='{value}'/>");
    }
    xml
}

/// Bytes of the argument that libvirt makes of the strings for QEMU.
#[must_use]
pub fn argument_size(strings: &OemStrings) -> usize {
    qemu::option(strings).len()
}
