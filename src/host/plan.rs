//! Credentials + hypervisor + its command line -> [`Plan`]: what would be delivered, what others would see, and every
//! limit on the way. Nothing is started here, and nothing is written.

use std::ffi::OsString;
use std::path::PathBuf;

use super::capacity::{self, Severity, Usage, Way};
use super::hypervisor::{Argument, CommandLine, Features, Kind, MergeError, Part};
use super::strings::{EmitError, OemStrings};
use crate::format::credential::{Credential, Name};
use crate::text::escape::Escaped;

/// A credential that is no secret: where the guest of microvm.nix says that it is up.
const NOTIFY_SOCKET: &str = "vmm.notify_socket";

/// What is to be started, and what it is to be given.
#[derive(Debug)]
pub struct Order {
    /// Which hypervisor it is.
    pub kind: Kind,
    /// The program.
    pub program: PathBuf,
    /// The name that the program is given as its first argument.
    pub argv0: OsString,
    /// The arguments behind that.
    pub arguments: Vec<OsString>,
    /// What is known of the program.
    pub features: Features,
    /// Credentials to send.
    pub credentials: Vec<Credential>,
    /// Credentials whose value may be empty, for those that are on the command line.
    pub allow_empty: Vec<Name>,
    /// Whether strings may be on the command line in plain text, where they cannot be passed otherwise.
    pub allow_argv: bool,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The command line cannot be merged with OEM strings.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The credentials cannot be OEM strings.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// A credential of the command line has no value.
    #[error(
        "credential {0}: its value on the command line is empty; if that is meant, give --allow-empty {0}"
    )]
    Empty(Name),
}

/// How OEM strings reach the hypervisor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// In files that exist in memory alone and can no longer be changed.
    SealedMemfds,
    /// In an argument that the hypervisor alone sees.
    PrivateArgument,
    /// In an argument that everybody sees.
    PlainArgument,
}

/// What would be done.
#[derive(Debug)]
pub struct Plan {
    /// What is to be started.
    pub program: PathBuf,
    /// The name that the program is given.
    pub argv0: OsString,
    /// Which hypervisor it is.
    pub kind: Kind,
    /// How the strings get there.
    pub delivery: Delivery,
    /// The strings.
    pub strings: OemStrings,
    /// The arguments behind the name, with the strings.
    pub arguments: Vec<Argument>,
    /// Every limit on the way, and how much of it is used.
    pub usages: Vec<Usage>,
    /// What to know before it is started.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Merges credentials with a command line.
    ///
    /// # Errors
    /// [`PlanError`], if the guest would not get what is meant. A limit that is exceeded is none: see
    /// [`Plan::exceeded`].
    pub fn new(order: Order) -> Result<Self, PlanError> {
        let Order { kind, program, argv0, arguments, features, credentials, allow_empty, allow_argv } = order;
        let mut line = CommandLine::read(kind, &program, &arguments, features)?;
        let strings = OemStrings::beside(line.take_existing(), &credentials)?;
        drop(credentials);
        let empty = strings
            .credentials()
            .find(|(name, size, existing)| *existing && *size == 0 && !allow_empty.contains(name));
        if let Some((name, _, _)) = empty {
            return Err(PlanError::Empty(name.clone()));
        }
        let way = line.way();
        let mut warnings: Vec<String> = line.warnings().iter().map(|&warning| warning.to_owned()).collect();
        let copies = line.copies(&strings);
        let arguments = line.merge(&strings)?;
        let private = arguments.iter().find_map(|argument| match argument {
            Argument::Private(text) => Some(text.len()),
            _ => None,
        });
        let delivery = match private {
            None => Delivery::SealedMemfds,
            Some(_) if allow_argv => Delivery::PlainArgument,
            Some(_) => Delivery::PrivateArgument,
        };
        let plain = private.filter(|_| delivery == Delivery::PlainArgument);
        let usages = capacity::check(&strings, way, plain);
        warnings.extend(own_warnings(&strings, way, delivery, &usages, &copies));
        Ok(Self { program, argv0, kind, delivery, strings, arguments, usages, warnings })
    }

    /// The limits above which nothing is started, and that are exceeded.
    pub fn exceeded(&self) -> impl Iterator<Item = &Usage> {
        self.usages.iter().filter(|usage| usage.is_exceeded() && usage.limit.severity == Severity::Refuse)
    }

    /// The arguments as others will see them, the program's name first, escaped for printing.
    #[must_use]
    pub fn visible(&self) -> Vec<String> {
        let text = |text: &OsString| Escaped(text.as_encoded_bytes()).to_string();
        let rest = self.arguments.iter().map(|argument| match argument {
            Argument::Public(argument) => text(argument),
            Argument::Files(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Text(part) => text(part),
                    Part::File(_) => "/proc/self/fd/N".to_owned(),
                })
                .collect(),
            Argument::Private(_) if self.delivery == Delivery::PlainArgument => {
                format!("({} OEM strings in plain text)", self.strings.sizes().len())
            }
            Argument::Private(_) => self.placeholder(),
        });
        std::iter::once(text(&self.argv0)).chain(rest).collect()
    }

    /// What others see in place of a private argument. No hypervisor can read it: should it ever get there, the
    /// hypervisor ends with an error, and does not start a machine without credentials.
    #[must_use]
    pub fn placeholder(&self) -> String {
        format!("(smbios-creds-host: {} OEM strings that the program alone sees)", self.strings.sizes().len())
    }
}

fn own_warnings(
    strings: &OemStrings,
    way: Way,
    delivery: Delivery,
    usages: &[Usage],
    copies: &[Name],
) -> Vec<String> {
    let mut warnings = Vec::new();
    if delivery == Delivery::PlainArgument {
        warnings.push(
            "--allow-argv: every user of this host can read the secrets on the command line, and the journal keeps \
             them"
                .to_owned(),
        );
    }
    let seen: Vec<String> = strings
        .credentials()
        .filter(|(name, _, existing)| *existing && name.as_str() != NOTIFY_SOCKET)
        .map(|(name, _, _)| name.to_string())
        .collect();
    if !seen.is_empty() {
        warnings.push(format!(
            "given on the command line, where others could read them: credentials {}",
            seen.join(", ")
        ));
    }
    warnings.extend(limit_warnings(strings, way, usages, copies));
    warnings
}

/// Limits that depend on the guest, and what it would lose. `copies` are passed by `fw_cfg` as well.
#[must_use]
pub fn limit_warnings(strings: &OemStrings, way: Way, usages: &[Usage], copies: &[Name]) -> Vec<String> {
    let mut warnings = Vec::new();
    for usage in usages.iter().filter(|u| u.is_exceeded() && u.limit.severity == Severity::Warn) {
        if *usage.limit == capacity::SYSTEMD_256 {
            let lost = capacity::lost_in_systemd_256(strings, way);
            let (passed, lost): (Vec<Name>, Vec<Name>) =
                lost.into_iter().partition(|name| copies.contains(name));
            if !lost.is_empty() {
                warnings.push(format!("{usage} (credentials {})", listed(&lost)));
            }
            if !passed.is_empty() {
                warnings.push(format!(
                    "systemd 256 and older in the guest cannot read these whole from SMBIOS: they are passed by fw_cfg as \
                     well, which such a guest reads if its kernel has qemu_fw_cfg (credentials {})",
                    listed(&passed)
                ));
            }
        } else {
            warnings.push(usage.to_string());
        }
    }
    warnings
}

fn listed(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}
