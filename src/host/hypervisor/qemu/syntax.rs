//! Parses QEMU's options in the same way as these functions of QEMU: `lookup_opt()` in `system/vl.c`,
//! `get_opt_name_value()` in `util/qemu-option.c`, `keyval_parse_one()` in `util/keyval.c` and `qobject_from_json()` in
//! `qobject/json-parser.c`.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use crate::host::hypervisor::error::MergeError;

/// The option for SMBIOS structures.
pub(super) const SMBIOS: &str = "-smbios";

/// The option for a configuration file.
pub(super) const READCONFIG: &str = "-readconfig";

/// Options of QEMU 7.2 to 10.2 that need no value. Every other option needs a value.
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

/// An argument, or an option with its value. Names do not include the hyphens.
pub(super) enum Item<'a> {
    /// An option, and the argument after it.
    Option { argument: &'a OsString, name: &'a [u8], value: &'a OsString },
    /// An option that needs no value.
    Flag { argument: &'a OsString, name: &'a [u8] },
    /// The path of a disk image, which is an argument without an option.
    Image(&'a OsString),
}

impl<'a> Item<'a> {
    /// Returns the original arguments of this item: an option and its value, or a single argument.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &'a OsString> {
        let (first, second) = match *self {
            Self::Option { argument, value, .. } => (argument, Some(value)),
            Self::Flag { argument, .. } | Self::Image(argument) => (argument, None),
        };
        std::iter::once(first).chain(second)
    }
}

/// Splits arguments into options and images, as QEMU does. Items after an error must not be used, because they may be
/// wrong.
pub(super) fn items(arguments: &[OsString]) -> impl Iterator<Item = Result<Item<'_>, MergeError>> {
    let mut rest = arguments.iter();
    std::iter::from_fn(move || {
        let argument = rest.next()?;
        let Some(name) = option_name(argument) else { return Some(Ok(Item::Image(argument))) };
        if is_flag(name) {
            return Some(Ok(Item::Flag { argument, name }));
        }
        Some(match (rest.next(), deciding(name)) {
            (Some(value), _) => match option_name(value).filter(|name| deciding(name).is_some()) {
                Some(option) => {
                    let (before, option) = (argument.as_bytes().to_vec(), [b"-", option].concat());
                    Err(MergeError::Ambiguous { before, option })
                }
                None => Ok(Item::Option { argument, name, value }),
            },
            (None, Some(option)) => Err(MergeError::NoValue { option }),
            (None, None) => Ok(Item::Flag { argument, name }),
        })
    })
}

/// If the option `name` determines what happens to the OEM strings, returns its usual spelling. Such an option must
/// never be read as the value of another option.
fn deciding(name: &[u8]) -> Option<&'static str> {
    match name {
        b"smbios" => Some(SMBIOS),
        b"M" | b"machine" => Some("-machine"),
        b"fw_cfg" => Some("-fw_cfg"),
        b"readconfig" => Some(READCONFIG),
        _ => None,
    }
}

/// A parameter of an option, `name=value`. In the value, `,,` has been replaced by `,`. The value may be missing.
pub(super) struct Parameter<'a> {
    pub(super) name: Cow<'a, [u8]>,
    pub(super) value: Option<Cow<'a, [u8]>>,
}

impl<'a> Parameter<'a> {
    pub(super) fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        Self { name: Cow::Borrowed(name), value: Some(Cow::Borrowed(value)) }
    }
}

/// The settings of one group of options (QEMU's term), from an option or from a section of a configuration file.
pub(super) struct Settings<'a> {
    /// Name of the group, spelled as in configuration files: for example `machine`, `object` or `fw_cfg`.
    pub(super) group: &'a [u8],
    pub(super) parameters: Vec<Parameter<'a>>,
}

impl<'a> Settings<'a> {
    /// Returns the settings of an option. An option that is an abbreviation, such as `-bios`, is read like the full
    /// option.
    pub(super) fn of_option(name: &'a [u8], value: &'a [u8]) -> Self {
        let (group, implied): (&[u8], &[u8]) = match name {
            b"M" | b"machine" => (b"machine", b"type"),
            b"object" => (b"object", b"qom-type"),
            b"name" => (b"name", b"guest"),
            b"fw_cfg" => (b"fw_cfg", b"name"),
            b"bios" => return Self::of_sugar(b"machine", &[(b"firmware", value)]),
            b"pflash" => return Self::of_sugar(b"drive", &[(b"if", b"pflash"), (b"file", value)]),
            name => (name, b""),
        };
        // The first byte must be `{`, because QEMU does not accept a blank before the JSON.
        let json = if name == b"object" && value.starts_with(b"{") { json(value) } else { None };
        Self { group, parameters: json.unwrap_or_else(|| parameters(value, implied)) }
    }

    fn of_sugar(group: &'a [u8], parameters: &[(&'a [u8], &'a [u8])]) -> Self {
        let parameter = |&(name, value)| Parameter::new(name, value);
        Self { group, parameters: parameters.iter().map(parameter).collect() }
    }

    /// Returns the value of a parameter. If the parameter occurs several times, returns the last value, as QEMU does.
    pub(super) fn last(&self, name: &[u8]) -> Option<&[u8]> {
        self.parameters.iter().rfind(|parameter| *parameter.name == *name)?.value.as_deref()
    }

    /// Whether a parameter exists, with or without a value.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.parameters.iter().any(|parameter| *parameter.name == *name)
    }

    /// Whether an option asks QEMU for help, such as a list of all CPU types or of a device's properties
    /// (`is_help_option()`). With such an option, QEMU prints the list and exits, or prints an error and exits. In both
    /// cases, QEMU starts no machine. This was measured with QEMU 7.2 for the options in `has_help`.
    pub(super) fn asks_for_help(&self) -> bool {
        let is_asked =
            |parameter: &Parameter| match (self.group, &*parameter.name, parameter.value.as_deref()) {
                (_, name, None) => matches!(name, b"help" | b"?"),
                (b"machine", b"type", Some(value)) | (b"object", b"qom-type", Some(value)) => {
                    matches!(value, b"help" | b"?")
                }
                _ => false,
            };
        let has_help = [
            &b"accel"[..],
            b"audiodev",
            b"chardev",
            b"cpu",
            b"device",
            b"display",
            b"machine",
            b"netdev",
            b"object",
        ];
        has_help.contains(&self.group) && self.parameters.iter().any(is_asked)
    }
}

/// Returns the name of an option, which begins with `-` or `--`. Returns `None` for a single `-`.
fn option_name(argument: &OsStr) -> Option<&[u8]> {
    let name = argument.as_bytes().strip_prefix(b"-")?;
    Some(name.strip_prefix(b"-").unwrap_or(name)).filter(|name| !name.is_empty())
}

fn is_flag(name: &[u8]) -> bool {
    FLAGS.iter().any(|flag| flag.as_bytes() == name)
}

/// Splits `name=value,name=value`. If `implied` is not empty, the first parameter may be a value without a name. Its
/// name is then `implied`.
fn parameters<'a>(text: &'a [u8], implied: &'a [u8]) -> Vec<Parameter<'a>> {
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
        parameters.push(Parameter { name: Cow::Borrowed(name), value });
    }
    parameters
}

/// Returns a value that ends at the first single `,`, and the text after this comma. In the value, `,,` is replaced by
/// `,`.
fn unescape(text: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let mut end = 0;
    while let Some(&byte) = text.get(end) {
        match (byte, text.get(end + 1)) {
            (b',', Some(b',')) => end += 2,
            (b',', _) => break,
            _ => end += 1,
        }
    }
    let (escaped, behind) = text.split_at_checked(end).unwrap_or((text, b""));
    let behind = behind.get(1..).unwrap_or_default();
    if !escaped.contains(&b',') {
        return (Cow::Borrowed(escaped), behind);
    }
    // All bytes go into one allocation. A vector that grows leaves copies of its bytes in freed memory.
    let mut value = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        value.push(byte);
        if byte == b',' {
            bytes.next();
        }
    }
    (Cow::Owned(value), behind)
}

/// Returns the members of a JSON object that are strings. Some options accept such an object as their value. Returns
/// `None` if the text is not a JSON object: QEMU would not start.
fn json(text: &[u8]) -> Option<Vec<Parameter<'static>>> {
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&in_double_quotes(text)).ok()?;
    let strings = members.into_iter().filter_map(|(name, value)| match value {
        serde_json::Value::String(value) => Some((name.into_bytes(), value.into_bytes())),
        _ => None,
    });
    let parameter = |(name, value)| Parameter { name: Cow::Owned(name), value: Some(Cow::Owned(value)) };
    Some(strings.map(parameter).collect())
}

/// Replaces single quotes by double quotes. QEMU's JSON also allows strings in `'`, and the escape `\'` (`json_lexer`
/// in `qobject/json-lexer.c`).
fn in_double_quotes(text: &[u8]) -> Vec<u8> {
    let mut json = Vec::with_capacity(text.len());
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', Some(_)) => match bytes.next() {
                Some(b'\'') => json.push(b'\''),
                escaped => json.extend([byte].into_iter().chain(escaped)),
            },
            (b'\'' | b'"', None) => {
                quote = Some(byte);
                json.push(b'"');
            }
            (byte, Some(end)) if byte == end => {
                quote = None;
                json.push(b'"');
            }
            (b'"', Some(_)) => json.extend(*b"\\\""),
            _ => json.push(byte),
        }
    }
    json
}

/// Parses a number in the same way as strtoull(3) with base 0.
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
