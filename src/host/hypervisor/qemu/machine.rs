//! Reads QEMU's arguments to find the machine's type, and what may prevent its guest from receiving OEM strings.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::config;
use super::syntax::{Item, READCONFIG, Settings, items, number};
use crate::format::fw_cfg;
use crate::host::hypervisor::error::MergeError;
use crate::host::hypervisor::line::{Channel, read_file};
use crate::sys::file::{self, Content};
use crate::text::escape::ShownPath;
use crate::text::help::Message;

/// Size in bytes of the largest configuration file that is read.
const CONFIG_MAX: usize = 1 << 20;

/// A machine, as options and configuration files describe it. If several options or files set the same property of the
/// machine, QEMU uses the value that was set last.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// The machine's type. `None` means QEMU's default type.
    kind: Option<Vec<u8>>,
    /// Whether the options or files set the machine's firmware. Without firmware, `virt` machines have no SMBIOS.
    has_firmware: bool,
    /// Name of the object that protects the machine's memory from the host. Empty if there is no such object.
    guard: Vec<u8>,
    /// Names (`opt/...`) of the `fw_cfg` items on the command line and in configuration files.
    pub(super) fw_cfg: BTreeSet<Vec<u8>>,
    /// The maximum number of `fw_cfg` items that the command line sets. `None` means QEMU's default.
    pub(super) fw_cfg_slots: Option<usize>,
    doubts: BTreeSet<Doubt>,
    /// Whether QEMU would only print information and exit.
    prints: bool,
}

/// Why a guest may not receive the strings.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Doubt {
    /// A configuration file was not read, because it is not a regular file.
    UnreadConfig,
    /// The machine continues from a migration or from a saved state (`-incoming` or `-loadvm`).
    Restored,
    /// The machine is a confidential VM, whose guest does not trust the host.
    Confidential,
    /// The machine passes structures in a form that only SeaBIOS reads, but it may have other firmware.
    OnlySeaBios,
}

impl Doubt {
    fn warning(self) -> &'static str {
        match self {
            Self::UnreadConfig => {
                "the file given with -readconfig is not a regular file, so it was not read: if it sets the machine \
                 to microvm, the guest has no SMBIOS"
            }
            Self::Restored => {
                "a machine that is migrated or restored keeps the credentials with which it was started: it gets the \
                 new ones at the earliest when it is reset"
            }
            Self::Confidential => {
                "this is a confidential VM, which does not trust its host: its guest accepts no credential from the \
                 host unless its configuration allows this"
            }
            Self::OnlySeaBios => {
                "machine types before pc-i440fx-2.1 pass SMBIOS structures in a form that only SeaBIOS reads: with \
                 UEFI firmware, the guest gets none of these credentials; use a newer machine type there"
            }
        }
    }
}

impl Machine {
    /// Reads arguments, and the configuration files that they name.
    ///
    /// # Errors
    /// [`MergeError`], if arguments or a file cannot be read, or can be read in several ways.
    pub(super) fn read(arguments: &[OsString]) -> Result<Self, MergeError> {
        let mut machine = Self::default();
        for item in items(arguments) {
            match item? {
                Item::Option { name: b"readconfig", value, .. } => machine.read_config(value)?,
                Item::Option { name, value, .. } => {
                    machine.take(&Settings::of_option(name, value.as_bytes()));
                }
                Item::Flag { name: b"h" | b"help" | b"version", .. } => machine.prints = true,
                Item::Flag { .. } | Item::Image(_) => {}
            }
        }
        Ok(machine)
    }

    fn read_config(&mut self, path: &OsStr) -> Result<(), MergeError> {
        // A pipe is not read here: the bytes would be missing when QEMU reads the pipe.
        let opened = file::open(Path::new(path)).and_then(|file| file::read(&file, 0));
        if matches!(opened, Ok(Content::Other(_))) {
            self.doubts.insert(Doubt::UnreadConfig);
            return Ok(());
        }
        let option = READCONFIG;
        let text = read_file(option, path.as_bytes(), CONFIG_MAX)?;
        let sections = config::sections(text.expose()).map_err(|line| MergeError::File {
            option,
            file: ShownPath::from(Path::new(path)),
            reason: format!("line {line} is neither a group nor a key of a group"),
        })?;
        for section in &sections {
            let item = section.last(b"name").filter(|_| section.group == b"fw_cfg");
            if let Some(item) = item.filter(|item| fw_cfg::kind(item).is_some()) {
                let reason = "it is in a file of -readconfig, so the manifest cannot list it";
                let help = "send it with the option -fw_cfg, or from the credentials directory";
                return Err(MergeError::Item { item: item.to_vec(), reason, help: Some(help) });
            }
            self.take(section);
        }
        Ok(())
    }

    fn take(&mut self, settings: &Settings) {
        let last = |name| settings.last(name).map(<[u8]>::to_vec);
        match settings.group {
            b"machine" => {
                self.kind = last(b"type").or(self.kind.take());
                self.has_firmware |= [&b"firmware"[..], b"pflash0"].iter().any(|name| settings.has(name));
                // QEMU also accepts these names of properties with underscores instead of hyphens (`keyval_dashify()`).
                let is_link = |name: &[u8]| {
                    [&b"confidential-guest-support"[..], b"confidential_guest_support"].contains(&name)
                        || [&b"memory-encryption"[..], b"memory_encryption"].contains(&name)
                };
                let link = settings.parameters.iter().rfind(|parameter| is_link(&parameter.name));
                if let Some(link) = link {
                    self.guard = link.value.as_deref().unwrap_or_default().to_vec();
                }
            }
            b"object" if settings.last(b"qom-type").is_some_and(is_guard) => {
                self.doubts.insert(Doubt::Confidential);
            }
            b"drive" => self.has_firmware |= settings.last(b"if") == Some(b"pflash"),
            b"fw_cfg" => self.fw_cfg.extend(last(b"name")),
            b"global" => self.fw_cfg_slots = slots(settings).or(self.fw_cfg_slots),
            b"incoming" | b"loadvm" => {
                self.doubts.insert(Doubt::Restored);
            }
            _ => {}
        }
        self.prints |= settings.asks_for_help();
    }

    /// Whether QEMU starts no guest with these arguments. QEMU then either prints information, or makes a machine
    /// without a processor, so that other programs can query QEMU.
    pub(super) fn has_no_guest(&self) -> bool {
        self.prints || self.kind.as_deref() == Some(b"none")
    }

    /// Whether SeaBIOS makes the table from structures that QEMU passes one by one (`smbios_legacy_mode`, QEMU
    /// `hw/i386/pc_piix.c` and `pc_q35.c`). SeaBIOS does this for machine types up to 2.0, and for `isapc`.
    pub(super) fn has_old_table(&self) -> bool {
        let kind = self.kind.as_deref().and_then(|kind| std::str::from_utf8(kind).ok()).unwrap_or_default();
        let version = ["pc-i440fx-", "pc-q35-", "pc-"].iter().find_map(|family| kind.strip_prefix(family));
        let version = version.and_then(|version| version.split_once('.'));
        let numbers = version.and_then(|(major, minor)| {
            Some((major.parse::<u32>().ok()?, minor.split('.').next()?.parse::<u32>().ok()?))
        });
        kind == "isapc" || numbers.is_some_and(|numbers| numbers <= (2, 0))
    }

    /// Returns warnings for the user about why the guest may not receive the strings.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &'static str> + use<> {
        let guarded = (!self.guard.is_empty()).then_some(Doubt::Confidential);
        let only_seabios = (self.has_old_table() && self.has_firmware).then_some(Doubt::OnlySeaBios);
        let doubts = self.doubts.iter().copied().chain(guarded).chain(only_seabios);
        let doubts: BTreeSet<Doubt> = doubts.collect();
        doubts.into_iter().map(Doubt::warning)
    }

    /// Returns the channel through which the guest can receive credentials. `microvm` ignores `-smbios` without an
    /// error, and `virt` passes SMBIOS only through UEFI firmware. Both machine types have `fw_cfg`.
    ///
    /// # Errors
    /// [`MergeError`], if the guest can receive credentials neither through SMBIOS nor through `fw_cfg`.
    pub(super) fn channel(&self, architecture: &str) -> Result<Channel, MergeError> {
        let refuse = |reason: &str| Err(MergeError::NoSmbios(Message::new(reason)));
        let refuse_and_help = |reason: &str, help| Err(MergeError::no_smbios(reason, help));
        match (architecture, self.kind.as_deref()) {
            (_, Some(b"none")) => refuse("QEMU's machine 'none' has no SMBIOS"),
            ("x86_64" | "i386", Some(b"microvm")) => Ok(Channel::FwCfg),
            ("x86_64" | "i386", _) => Ok(Channel::Smbios),
            ("aarch64" | "arm" | "riscv32" | "riscv64" | "loongarch64", kind) => {
                let is_virt = kind.map_or(architecture == "loongarch64", |kind| {
                    kind == b"virt" || kind.starts_with(b"virt-")
                });
                if !is_virt {
                    refuse_and_help(
                        "on this architecture, QEMU has SMBIOS only in its machine 'virt'",
                        "use -M virt",
                    )
                } else if self.has_firmware {
                    Ok(Channel::Smbios)
                } else if architecture == "loongarch64" {
                    refuse_and_help(
                        "on this architecture, QEMU passes SMBIOS to the guest through UEFI firmware only",
                        "add UEFI firmware with -bios or -drive if=pflash",
                    )
                } else {
                    Ok(Channel::FwCfg)
                }
            }
            _ => refuse("QEMU has no SMBIOS on this architecture"),
        }
    }
}

/// Returns the maximum number of `fw_cfg` items that a global property sets: `-global DRIVER.PROPERTY=VALUE`, or
/// `-global driver=DRIVER,property=PROPERTY,value=VALUE` (`qemu_global_option()`, `system/qdev-monitor.c`). The driver
/// of `fw_cfg` is `fw_cfg_io` on x86, and `fw_cfg_mem` on other architectures.
fn slots(settings: &Settings) -> Option<usize> {
    let drivers = [&b"fw_cfg"[..], b"fw_cfg_io", b"fw_cfg_mem"];
    let short = settings.parameters.iter().rfind(|parameter| {
        let driver = parameter.name.strip_suffix(b".x-file-slots");
        driver.is_some_and(|driver| drivers.contains(&driver))
    });
    let long = settings.last(b"driver").is_some_and(|driver| drivers.contains(&driver))
        && settings.last(b"property") == Some(b"x-file-slots");
    let value = short.and_then(|parameter| parameter.value.as_deref());
    let value = value.or_else(|| settings.last(b"value").filter(|_| long))?;
    number(value).and_then(|slots| u16::try_from(slots).ok()).map(usize::from)
}

/// Whether an object of this kind (`qom-type`) protects a machine's memory from its host, on architectures with SMBIOS
/// (QEMU `qapi/qom.json`).
fn is_guard(kind: &[u8]) -> bool {
    matches!(kind, b"sev-guest" | b"sev-snp-guest" | b"tdx-guest" | b"rme-guest")
}
