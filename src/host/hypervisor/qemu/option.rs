//! How QEMU reads its options: `lookup_opt()` and `system/vl.c`, `get_opt_name_value()` in `util/qemu-option.c`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// Options of QEMU 7.2 to 10.2 that take no value. Every other takes one.
const FLAGS: [&str; 50] = [
    "S",
    "alt-grab",
    "async-teardown",
    "audio-help",
    "ctrl-grab",
    "curses",
    "daemonize",
    "enable-fips",
    "enable-kvm",
    "enable-sync-profile",
    "full-screen",
    "h",
    "help",
    "jitdump",
    "mem-prealloc",
    "no-acpi",
    "no-fd-bootchk",
    "no-frame",
    "no-hpet",
    "no-kvm",
    "no-kvm-irqchip",
    "no-kvm-pit",
    "no-quit",
    "no-reboot",
    "no-shutdown",
    "no-user-config",
    "nodefaults",
    "nodefconfig",
    "nographic",
    "old-param",
    "one-insn-per-tb",
    "only-migratable",
    "perfmap",
    "portrait",
    "preconfig",
    "s",
    "sdl",
    "semihosting",
    "show-cursor",
    "singlestep",
    "snapshot",
    "tdf",
    "trace-help",
    "usb",
    "version",
    "win2k-hack",
    "xen-attach",
    "xen-create",
    "xen-domid-restrict",
    "nouserconfig",
];

/// A parameter of an option, `name=value`, with `,,` in the value read as `,`. A name alone has no value.
pub(super) struct Parameter {
    pub(super) name: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// The name of an option, of which `--name` is another spelling. `-` alone is none.
pub(super) fn option_name(argument: &OsStr) -> Option<&[u8]> {
    let name = argument.as_bytes().strip_prefix(b"-")?;
    Some(name.strip_prefix(b"-").unwrap_or(name)).filter(|name| !name.is_empty())
}

pub(super) fn is_flag(name: &[u8]) -> bool {
    FLAGS.iter().any(|flag| flag.as_bytes() == name)
}

/// Splits `name=value,name=value`. The first may be a value alone, that of `implied` if that is not empty.
pub(super) fn parameters(text: &[u8], implied: &[u8]) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'=' || byte == b',').unwrap_or(rest.len());
        let is_value = parameters.is_empty() && !implied.is_empty() && rest.get(end) != Some(&b'=');
        let name = if is_value { implied } else { rest.get(..end).unwrap_or_default() };
        let value = if is_value {
            let (value, behind) = unescape(rest);
            rest = behind;
            Some(value)
        } else if rest.get(end) == Some(&b'=') {
            let (value, behind) = unescape(rest.get(end + 1..).unwrap_or_default());
            rest = behind;
            Some(value)
        } else {
            rest = rest.get(end + 1..).unwrap_or_default();
            None
        };
        parameters.push(Parameter { name: name.to_vec(), value });
    }
    parameters
}

/// A value up to the first `,` that is not doubled, and what is behind that.
fn unescape(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut end = 0;
    while let Some(&byte) = text.get(end) {
        match (byte, text.get(end + 1)) {
            (b',', Some(b',')) => end += 2,
            (b',', _) => break,
            _ => end += 1,
        }
    }
    let (escaped, behind) = text.split_at_checked(end).unwrap_or((text, b""));
    // In one allocation: one that grows leaves copies behind.
    let mut value = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        value.push(byte);
        if byte == b',' {
            bytes.next();
        }
    }
    (value, behind.get(1..).unwrap_or_default())
}

/// A number as strtoull(3) reads it with base 0.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        u64::from_str_radix(digits, 16).ok()
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(text, 8).ok()
    } else {
        text.parse().ok()
    }
}
