//! Options of the agent. The options of `import` and `exec` are in structs. A struct's options are defined in clap only
//! if the command line contains one of them ([`super::short`]).
//!
//! These structs have no doc comments: clap would use each doc comment as a description of the command, which takes
//! 2,000 instructions.
#![expect(clippy::doc_markdown, reason = "help text is not Markdown")]

use std::path::PathBuf;

use clap::Args;
use tracing::level_filters::LevelFilter;

use super::asked::{Asked, Named};
use crate::format::credential::Name;
use crate::guest::place::choose::Into;
use crate::guest::source::Input;
use crate::guest::system::System;
use crate::guest::verify::policy::{Confidential, ManifestPolicy, Policy};
use crate::guest::verify::trust::{Audience, Trust};
use crate::trust::signature::TrustedKey;

// The log level.
#[derive(Args, Debug)]
#[group(skip)]
pub(super) struct LogLevel {
    /// Log messages of this level and of more severe ones: error, warn, info, debug, trace or off
    #[arg(long, id = "log-level", global = true, value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: LevelFilter,
}

impl Default for LogLevel {
    fn default() -> Self {
        Self { log_level: LevelFilter::INFO }
    }
}

impl Named for LogLevel {
    const NAMES: &'static [&'static str] = &["log-level"];
}

// The root directory of the system.
#[derive(Args, Debug)]
#[group(skip)]
pub(super) struct Root {
    /// (for testing) Root directory of the running system
    #[arg(long, global = true, value_name = "DIR", default_value = "/", hide = true)]
    pub(super) root: PathBuf,
}

impl Default for Root {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl Named for Root {
    const NAMES: &'static [&'static str] = &["root"];
}

// From where credentials are read: a recording or the running system.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct From {
    /// Read this recording, not the running system: a directory with smbios_entry_point and DMI, qemu_fw_cfg, or both; or
    /// a file of dmidecode --dump-bin
    #[arg(long, value_name = "PATH")]
    pub(super) from: Option<PathBuf>,
}

impl From {
    /// Returns where to read credentials: the running system or a recording.
    #[must_use]
    pub(super) fn input<'a>(&'a self, system: &'a System) -> Input<'a> {
        self.from.as_deref().map_or(Input::Running(system), Input::named)
    }
}

impl Named for From {
    const NAMES: &'static [&'static str] = &["from"];
}

// The directory to which credentials are written.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct IntoArg {
    /// Where to write the credentials: auto, system, initrd, credstore, or a path with a '/'
    #[arg(long, value_name = "SINK", default_value = "auto")]
    pub(super) into: Into,
}

impl Named for IntoArg {
    const NAMES: &'static [&'static str] = &["into"];
}

// The requirements for the credentials.
#[derive(Args, Debug)]
#[group(skip)]
pub(super) struct PolicyArgs {
    #[command(flatten)]
    pub(super) require: Asked<Require>,
    #[command(flatten)]
    pub(super) allow_empty: Asked<AllowEmpty>,
    #[command(flatten)]
    pub(super) manifest: Asked<Manifest>,
    #[command(flatten)]
    pub(super) confidential: Asked<ConfidentialArg>,
    #[command(flatten)]
    pub(super) trust: Asked<TrustArgs>,
}

impl PolicyArgs {
    /// Returns the policy that these options set. These options do not include `--strict`, so the policy is not strict.
    #[must_use]
    pub(super) fn policy(&self) -> Policy {
        Policy {
            require: self.require.require.clone(),
            allow_empty: self.allow_empty.allow_empty.clone(),
            manifest: self.manifest.manifest,
            strict: false,
            about: None,
            confidential: self.confidential.confidential,
            trust: self.trust.trust(),
        }
    }
}

// The required credentials.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct Require {
    /// Credentials that must be present and not empty
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(super) require: Vec<Name>,
}

impl Named for Require {
    const NAMES: &'static [&'static str] = &["require"];
}

// The credentials that may be empty.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct AllowEmpty {
    /// Credentials that may be empty
    #[arg(long, id = "allow-empty", value_name = "NAME", num_args = 1..)]
    pub(super) allow_empty: Vec<Name>,
}

impl Named for AllowEmpty {
    const NAMES: &'static [&'static str] = &["allow-empty"];
}

// How to use the manifest.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct Manifest {
    /// What to do with the manifest; if it is not signed, it finds faults, not attackers
    #[arg(long, value_enum, default_value_t)]
    pub(super) manifest: ManifestPolicy,
}

impl Named for Manifest {
    const NAMES: &'static [&'static str] = &["manifest"];
}

// What to do in a confidential VM or a container, where the running system's table proves nothing.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct ConfidentialArg {
    /// What to do in a confidential VM or a container, where the running system's table proves nothing
    #[arg(long, value_enum, default_value_t)]
    pub(super) confidential: Confidential,
}

impl Named for ConfidentialArg {
    const NAMES: &'static [&'static str] = &["confidential"];
}

// The trusted keys, the names of this machine and the lowest serial that is accepted.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct TrustArgs {
    /// minisign public keys (RW...), added to those in /etc/smbios-creds/trusted; one of them must have signed the set
    #[arg(long, value_name = "KEY", num_args = 1..)]
    pub(super) trust: Vec<TrustedKey>,

    /// Names of this machine (a name, @machine-id or @uuid); a set must have been packed for one of them
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(super) audience: Vec<Audience>,

    /// Lowest serial that is accepted; a set with a lower serial is refused
    #[arg(long, id = "min-serial", value_name = "N")]
    pub(super) min_serial: Option<u64>,
}

impl TrustArgs {
    /// Returns the trusted keys, the names of this machine and the lowest accepted serial, as these options set them.
    #[must_use]
    pub(super) fn trust(&self) -> Trust {
        let Self { trust, audience, min_serial } = self;
        Trust { keys: trust.clone(), audience: audience.clone(), min_serial: *min_serial, ..Trust::default() }
    }
}

impl Named for TrustArgs {
    const NAMES: &'static [&'static str] = &["trust", "audience", "min-serial"];
}

// Whether an import writes nothing if verification fails.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct Strict {
    /// Import nothing unless verification passes
    #[arg(long)]
    pub(super) strict: bool,
}

impl Named for Strict {
    const NAMES: &'static [&'static str] = &["strict"];
}

// Whether the import is a dry run.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct DryRun {
    /// Verify, and show which credentials would be written; writes nothing
    #[arg(long, id = "dry-run")]
    pub(super) dry_run: bool,
}

impl Named for DryRun {
    const NAMES: &'static [&'static str] = &["dry-run"];
}

// Whether an import without credentials is a success.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct AllowNone {
    /// End with exit status 0 instead of 4 if nothing was sent, unless --require, --manifest=require or --strict is given
    /// or the guest has a trusted key
    #[arg(long, id = "allow-none", overrides_with = "allow-none")]
    pub(super) allow_none: bool,
}

impl Named for AllowNone {
    const NAMES: &'static [&'static str] = &["allow-none"];
}

// Whether to close the table after the import.
#[derive(Args, Debug, Default)]
#[group(skip)]
pub(super) struct Close {
    /// After everything is verified and imported, make the table unreadable, even for root: its files in /sys get mode
    /// 0000. In an initrd, this option does nothing
    #[arg(long, overrides_with = "close", conflicts_with = "from")]
    pub(super) close: bool,
}

impl Named for Close {
    const NAMES: &'static [&'static str] = &["close"];
}
