//! Makes a [`Plan`] from credentials, a hypervisor and the hypervisor's command line. The plan contains what would be
//! sent, what other users would see, and every limit on the route into the guest. This module starts no program and
//! writes no file. The module `start` reads the credentials and the program's executable file.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use super::capacity::{self, Excess, Route, Structures, Usage};
use super::hypervisor::{Argument, Channel, Features, Hypervisor, MergeError, Part, Written, hidden};
use super::strings::{EmitError, Existing, OemStrings, Origin};
use super::supply::Sent;
use crate::format::credential::Name;
use crate::format::receipt::Address;
use crate::format::systemd::NOTIFY_SOCKET;
use crate::text::escape::Escaped;
use crate::text::help::{Help, Message};
use crate::text::listing::listed;

/// The hypervisor to start, and the credentials to send.
#[derive(Debug)]
pub struct Order {
    /// The kind of hypervisor.
    pub hypervisor: &'static dyn Hypervisor,
    /// The program to start.
    pub program: PathBuf,
    /// The name that the program gets as `argv[0]`.
    pub argv0: OsString,
    /// The arguments after `argv[0]`.
    pub arguments: Vec<OsString>,
    /// The words of [`Hypervisor::questions`] that were found in the program's executable file.
    pub features: Features,
    /// The credentials to send.
    pub sends: Sent,
    /// Names of the credentials on the command line that are allowed to have an empty value.
    pub allow_empty: Vec<Name>,
    /// Whether OEM strings may be in an argument that every user can read, if the hypervisor does not read them from
    /// files.
    pub allow_argv: bool,
    /// The address to which the guest must send a receipt.
    pub receipt: Option<Address>,
}

/// Why a plan cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The command line cannot be merged with OEM strings.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// The credentials cannot be written as OEM strings.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// A credential on the command line, or in a file that the command line names, has an empty value.
    #[error(
        "credential {0}: its value {place} is empty",
        place = if *.1 == Origin::File { "in a file that the command line names" } else { "on the command line" }
    )]
    Empty(Name, Origin),
}

impl Help for PlanError {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Merge(error) => error.help(),
            Self::Emit(error) => error.help(),
            Self::Empty(name, _) => Some(format!("if it may be empty, use --allow-empty {name}").into()),
        }
    }
}

/// How OEM strings get to the hypervisor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// Files that exist only in memory, and that no program can change after they are written.
    SealedMemfds,
    /// An argument that only the hypervisor can see.
    PrivateArgument,
    /// An argument that every user of the host can see.
    PlainArgument,
}

/// Which program receives the OEM strings that other programs must not see.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Receiver {
    /// The program that is started receives the strings.
    Program,
    /// The started program is a wrapper. The first program that the wrapper executes with all arguments, and whose
    /// executable file contains this word, receives the strings.
    Executed {
        /// A part of the name, or of the help text, of the hypervisor's option for OEM strings.
        word: &'static str,
    },
}

/// A planned start.
#[derive(Debug)]
pub struct Plan {
    /// The program to start.
    pub program: PathBuf,
    /// The name that the program gets as `argv[0]`.
    pub argv0: OsString,
    /// The kind of hypervisor.
    pub hypervisor: &'static dyn Hypervisor,
    /// How the strings get to the hypervisor.
    pub carrier: Carrier,
    /// The program that receives the strings.
    pub receiver: Receiver,
    /// The route of the strings into the guest, with its limits.
    pub route: Route,
    /// The OEM strings to send.
    pub strings: OemStrings,
    /// The arguments after `argv[0]`, including those with the OEM strings.
    pub arguments: Vec<Argument>,
    /// Credentials that are only in `fw_cfg` items of the command line, and not in an OEM string.
    items: BTreeSet<Name>,
    /// Credentials that are passed in `fw_cfg` items in addition to SMBIOS.
    pub copies: Vec<Name>,
    /// Every limit on the route, and how much of it the set uses.
    pub usages: Vec<Usage>,
    /// Warnings for the user. They do not prevent the start.
    pub warnings: Vec<Message>,
}

impl Plan {
    /// Merges credentials with a command line.
    ///
    /// # Errors
    /// [`PlanError`], if the guest would not get the intended credentials. An exceeded limit is not an error here: see
    /// [`Plan::exceeded`].
    pub fn new(order: Order) -> Result<Self, PlanError> {
        let Order {
            hypervisor,
            program,
            argv0,
            arguments,
            features,
            sends,
            allow_empty,
            allow_argv,
            receipt,
        } = order;
        let mut read = hypervisor.read(&program, &arguments, &features)?;
        let line = read.line();
        let (route, existing) = (line.route.clone(), std::mem::take(&mut line.existing));
        let existing = Existing { receipt, ..existing };
        let mut warnings: Vec<Message> = line.warnings.iter().map(|&warning| Message::new(warning)).collect();
        let strings = sends.beside(existing)?;
        let empty = strings.credentials().find(|(name, size, origin)| {
            matches!(origin, Origin::CommandLine | Origin::File) && *size == 0 && !allow_empty.contains(name)
        });
        if let Some((name, _, origin)) = empty {
            return Err(PlanError::Empty(name.clone(), origin));
        }
        let Written { arguments, copies } = read.write(&strings)?;
        let private = arguments.iter().find_map(|argument| match argument {
            Argument::Private(text) => Some(text.len()),
            _ => None,
        });
        let carrier = match private {
            None => Carrier::SealedMemfds,
            Some(_) if allow_argv => Carrier::PlainArgument,
            Some(_) => Carrier::PrivateArgument,
        };
        let receiver = receiver(hypervisor, carrier, &features);
        let plain = private.filter(|_| carrier == Carrier::PlainArgument);
        let usages = capacity::check(&strings, &route, plain);
        warnings.extend(own_warnings(&strings, carrier));
        warnings.extend(limit_warnings(&strings, route.structures, &usages, &copies));
        let items = strings.items().map(|(item, _)| item.name.clone()).collect();
        Ok(Self {
            program,
            argv0,
            hypervisor,
            carrier,
            receiver,
            route,
            strings,
            arguments,
            items,
            copies,
            usages,
            warnings,
        })
    }

    /// Returns the channels through which a credential gets into the guest. A credential that systemd 256 and older
    /// cannot read completely from SMBIOS may be sent through SMBIOS and `fw_cfg`.
    #[must_use]
    pub fn channels(&self, name: &Name) -> Vec<Channel> {
        if self.items.contains(name) || self.route.structures == Structures::None {
            vec![Channel::FwCfg]
        } else if self.copies.contains(name) {
            vec![Channel::Smbios, Channel::FwCfg]
        } else {
            vec![Channel::Smbios]
        }
    }

    /// Returns the exceeded limits that prevent the start.
    pub fn exceeded(&self) -> impl Iterator<Item = &Usage> {
        self.usages.iter().filter(|usage| usage.is_exceeded() && usage.limit.excess == Excess::Refuse)
    }

    /// Returns the arguments as other users will see them, escaped for printing. The first element is the program's
    /// name.
    #[must_use]
    pub fn visible(&self) -> Vec<String> {
        let text = |text: &OsString| Escaped(text.as_encoded_bytes()).to_string();
        let mut files = 0;
        let rest = self.arguments.iter().map(|argument| match argument {
            Argument::Public(argument) => text(argument),
            Argument::Files(parts) if self.receiver != Receiver::Program => {
                files += 1;
                text(&hidden(parts, files))
            }
            Argument::Files(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Text(part) => text(part),
                    Part::File(_) => "/proc/self/fd/N".to_owned(),
                })
                .collect(),
            Argument::Private(_) if self.carrier == Carrier::PlainArgument => {
                format!("({} OEM strings in plain text)", self.strings.sizes().len())
            }
            Argument::Private(_) => self.placeholder(),
        });
        std::iter::once(text(&self.argv0)).chain(rest).collect()
    }

    /// Returns the text that other users see instead of an argument that only the hypervisor may see. No hypervisor
    /// accepts this text: a hypervisor that gets the text exits with an error, and does not start a machine without
    /// credentials. The text contains no blanks, so a script that does not quote its arguments passes the text on
    /// unchanged.
    #[must_use]
    pub fn placeholder(&self) -> String {
        format!("smbios-creds-host:{}-OEM-strings-that-only-the-hypervisor-sees", self.strings.sizes().len())
    }
}

/// Returns which program receives the strings: the started program, or a program that the started program executes.
fn receiver(hypervisor: &dyn Hypervisor, carrier: Carrier, features: &Features) -> Receiver {
    let parses = |word| match carrier {
        Carrier::PlainArgument => true,
        Carrier::PrivateArgument => features.has(word),
        // The started program gets the files if its executable file contains any word of `questions`. If it contains
        // none of these words, the program is a wrapper.
        Carrier::SealedMemfds => !features.0.is_empty(),
    };
    match hypervisor.receiver_word() {
        Some(word) if !parses(word) => Receiver::Executed { word },
        _ => Receiver::Program,
    }
}

fn own_warnings(strings: &OemStrings, carrier: Carrier) -> Vec<Message> {
    let mut warnings = Vec::new();
    if carrier == Carrier::PlainArgument {
        warnings.push(Message::new(
            "--allow-argv: every user of this host can read the secrets on the command line, and the journal keeps them",
        ));
    }
    let is_seen = |(name, _, origin): &(&Name, usize, Origin)| {
        *origin == Origin::CommandLine && name.as_str() != NOTIFY_SOCKET
    };
    let seen: Vec<&Name> = strings.credentials().filter(is_seen).map(|(name, _, _)| name).collect();
    if !seen.is_empty() {
        let seen = listed(&seen);
        warnings.push(Message::new(format!(
            "given on the command line, where other users could read them: credentials {seen}"
        )));
    }
    warnings
}

/// What to do about a credential's name that programs in the guest may read differently.
const HELP_RENAME: &str = "send it under another name, --credential GUEST=HOST";

/// Returns warnings about credentials' names, and about exceeded limits that matter only in some guests. `copies` are
/// the credentials that are also sent in `fw_cfg` items.
#[must_use]
pub fn limit_warnings(
    strings: &OemStrings,
    structures: Structures,
    usages: &[Usage],
    copies: &[Name],
) -> Vec<Message> {
    let mut warnings = Vec::new();
    let hidden: Vec<&Name> =
        strings.credentials().map(|(name, ..)| name).filter(|name| name.as_str().starts_with('.')).collect();
    if !hidden.is_empty() {
        let what = format!(
            "systemd ignores names that begin with '.' in @initrd and fw_cfg, so services may not get the \
             credential, and it may stay there in plain text (credentials {})",
            listed(&hidden)
        );
        warnings.push(Message::new(what).with_help(HELP_RENAME));
    }
    let blank: Vec<&Name> =
        strings.credentials().map(|(name, ..)| name).filter(|name| name.has_outer_blank()).collect();
    if !blank.is_empty() {
        let what = format!(
            "a blank at the beginning or end of a name belongs to the name: a service that asks for the name without \
             the blank gets nothing (credentials {})",
            listed(&blank)
        );
        warnings.push(Message::new(what).with_help(HELP_RENAME));
    }
    for usage in usages.iter().filter(|u| u.is_exceeded() && u.limit.excess == Excess::Warn) {
        if *usage.limit == capacity::SYSTEMD_256 {
            let lost = capacity::lost_in_systemd_256(strings, structures);
            let (passed, lost): (Vec<Name>, Vec<Name>) =
                lost.into_iter().partition(|name| copies.contains(name));
            if !lost.is_empty() {
                let what = format!("{usage} (credentials {})", listed(&lost));
                warnings.push(Message::new(what).with_help(usage.limit.advice));
            }
            if !passed.is_empty() {
                warnings.push(Message::new(format!(
                    "systemd 256 and older in the guest cannot read all bytes of these from SMBIOS: they are also \
                     sent by fw_cfg, which such a guest reads if its kernel has qemu_fw_cfg (credentials {})",
                    listed(&passed)
                )));
            }
        } else {
            warnings.push(Message::from(usage));
        }
    }
    warnings
}
