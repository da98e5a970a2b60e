//! Arguments of `smbios-creds`, the guest's program. The doc comments of the arguments are their `--help` texts.
#![expect(clippy::doc_markdown, reason = "help text is not Markdown")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use super::asked::Asked;
use super::deferred::Deferred;
use super::options::{
    AllowEmpty, AllowNone, Close, ConfidentialArg, DryRun, From, IntoArg, LogLevel, PolicyArgs, Root, Strict,
    TrustArgs,
};
use super::transcode::Transcode;
use crate::cli::json::JsonArg;
use crate::format::credential::Name;
use crate::guest::import::Request;
use crate::guest::place::choose::Into;
use crate::guest::report::listing::Legend;
use crate::guest::verify::policy::Policy;

/// List, verify and import the credentials that the host sent to this virtual machine over SMBIOS Type 11.
#[derive(Debug, Parser)]
#[command(
    name = "smbios-creds",
    version,
    after_help = super::help::AFTER
)]
pub struct Agent {
    /// The selected subcommand, with its arguments.
    #[command(subcommand)]
    pub verb: Verb,

    #[command(flatten)]
    pub(super) log_level: Asked<LogLevel>,

    #[command(flatten)]
    pub(super) root: Asked<Root>,
}

impl Agent {
    /// Returns the level of the least severe messages that are logged. With `list --quiet`, notes (level `info`) are
    /// not logged.
    #[must_use]
    pub fn log_level(&self) -> LevelFilter {
        match &self.verb {
            Verb::List(list) if list.quiet => self.log_level.log_level.min(LevelFilter::WARN),
            _ => self.log_level.log_level,
        }
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check the credentials that arrived, and say what is wrong and what to do; writes nothing
    Check(Deferred<Check>),
    /// List the credentials that arrived: names, sizes and states, never values
    List(Deferred<List>),
    /// Verify the credentials that arrived, and write them to a directory in one step
    Import(Deferred<Import>),
    /// Import the credentials, then execute a program with $CREDENTIALS_DIRECTORY set
    Exec(Deferred<Exec>),
    /// Print the values of credentials
    Cat(Deferred<Cat>),
    /// Write a recording of the table for a bug report; without secrets unless --with-secrets is given
    Record(Deferred<Record>),
}

/// The arguments of the subcommand `list`.
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    pub(super) from: From,
    /// Compare with the credentials in: auto, system, initrd, credstore, or a path with a '/'
    #[arg(long, value_name = "SINK", default_value = "auto")]
    pub(super) into: Into,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    #[command(flatten)]
    pub(super) json: JsonArg,
    /// Do not print the line with the column names
    #[arg(long)]
    pub(super) no_legend: bool,
    /// Print neither the line with the column names nor notes
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// No effect: this program starts no pager
    #[arg(long)]
    pub no_pager: bool,
}

impl List {
    /// Returns whether the listing has a line with the names of its columns.
    pub(super) fn legend(&self) -> Legend {
        if self.no_legend || self.quiet { Legend::Hidden } else { Legend::Shown }
    }
}

/// The arguments of the subcommand `check`.
#[derive(Args, Debug)]
#[command(
    after_help = "With NAME, the exit status is 3 if this credential did not arrive or was refused. Otherwise, \
                        it is the exit status for the whole set. --map shows offsets and lengths in bytes. Below \
                        each place with a finding, it shows '^' and the first words of the finding. The first 8 \
                        structures of Type 11, and the first 32 strings of each, have their own lines. Later \
                        structures and strings have a line only if there is a finding about them; the others are \
                        counted."
)]
pub struct Check {
    /// Show the whole way of this credential instead: sent, arrived, verified, in place, asked for by which units
    #[arg(value_name = "NAME", conflicts_with = "map")]
    pub(super) name: Option<Name>,
    #[command(flatten)]
    pub(super) from: From,
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    #[command(flatten)]
    pub(super) json: JsonArg,
    /// Draw the table first: where each structure and string is, and where it breaks
    #[arg(long, conflicts_with = "json")]
    pub(super) map: bool,
    /// Print no verdict; only the exit status shows it
    #[arg(short, long, conflicts_with_all = ["json", "map"])]
    pub(super) quiet: bool,
    /// No effect: this program starts no pager
    #[arg(long)]
    pub no_pager: bool,
}

/// The arguments of the subcommand `import`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(
    after_help = "With --close, the import after switch-root sets mode 0000 on /sys/firmware/dmi/tables/DMI, \
                        on raw in /sys/firmware/dmi/entries/11-* and on raw of the fw_cfg items that may contain \
                        credentials. This stops programs that read the table by habit or by accident, also in \
                        containers. It does not stop root: 'chmod 400' makes the files readable again. A later \
                        import ends with exit status 0 if everything that the last report lists is in its place."
)]
pub struct Import {
    #[command(flatten)]
    pub(super) options: ImportOptions,
    #[command(flatten)]
    pub(super) dry_run: Asked<DryRun>,
    #[command(flatten)]
    pub(super) allow_none: Asked<AllowNone>,
    #[command(flatten)]
    pub(super) close: Asked<Close>,
}

impl Import {
    /// Returns the import request with the values of these options.
    pub(super) fn request(&self) -> Request {
        Request { close: self.close.close, ..self.options.request() }
    }
}

/// The options that `import` and `exec` share.
#[derive(Args, Debug)]
#[group(skip)]
pub struct ImportOptions {
    #[command(flatten)]
    pub(super) from: Asked<From>,
    #[command(flatten)]
    pub(super) into: Asked<IntoArg>,
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    #[command(flatten)]
    pub(super) strict: Asked<Strict>,
}

impl ImportOptions {
    /// Returns the import request with the values of these options.
    #[must_use]
    pub fn request(&self) -> Request {
        let (from, into) = (self.from.from.clone(), self.into.into.clone());
        let policy = Policy { strict: self.strict.strict, ..self.policy.policy() };
        Request { from, into, policy, close: false }
    }
}

/// The arguments of the subcommand `exec`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(after_help = "The program does not start if a credential in --require was not imported, if \
                        --manifest=require is not met, if a trusted signature is required but missing, if --strict \
                        is set and verification failed, or if there is nothing to import from. If PID 1 ends, the \
                        kernel panics. As PID 1, smbios-creds therefore starts the program anyway, unless --require, \
                        --manifest=require or --strict is set, or there is a trusted key. As PID 1, it first mounts \
                        /proc, /sys and /run; on a read-only root, these three directories must exist. If the kernel \
                        cannot open /dev/console, messages go to the kernel's log (/dev/kmsg), and the program gets \
                        /dev/null as its standard input, output and error. This needs the directory /dev and a \
                        kernel with devtmpfs, or an image with the nodes /dev/null and /dev/kmsg. On the kernel's \
                        command line, init=/path/smbios-creds needs -- exec PROGRAM at the end. If SIGPIPE was \
                        ignored before, as in a systemd unit, the program ignores it too; without /proc, SIGPIPE has \
                        its default effect.")]
pub struct Exec {
    #[command(flatten)]
    pub(super) options: ImportOptions,
    #[command(flatten)]
    pub(super) program: Program,
}

// The program that `exec` executes, and its arguments.
#[derive(Args, Debug)]
#[group(skip)]
pub(super) struct Program {
    /// Program to execute, and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    pub(super) program: Vec<OsString>,
}

/// The arguments of the subcommand `cat`.
#[derive(Args, Debug)]
pub struct Cat {
    /// Names of the credentials
    #[arg(required = true, value_name = "NAME")]
    pub(super) names: Vec<Name>,
    #[command(flatten)]
    pub(super) from: From,
    #[command(flatten)]
    pub(super) allow_empty: AllowEmpty,
    #[command(flatten)]
    pub(super) confidential: ConfidentialArg,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    /// Encode each value, or decode it, before it is printed
    #[arg(long, value_enum, default_value_t)]
    pub(super) transcode: Transcode,
    /// Whether to end each value with a newline
    #[arg(long, value_enum, default_value_t)]
    pub(super) newline: Newline,
}

/// Whether to end a value with a newline.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Newline {
    /// Only on a terminal, and only if the value does not end with a newline
    #[default]
    Auto,
    /// Always
    Yes,
    /// Never
    No,
}

/// The arguments of the subcommand `record`.
#[derive(Args, Debug)]
#[command(
    after_help = "Without --with-secrets, the recording contains filler of the same length instead of every value, \
                  every string that is not a credential, serial numbers, asset tags, SKU numbers, UUIDs, addresses, \
                  host names and all other data of the table. It keeps only the layout and sizes, the names of \
                  credentials, and the maker, model and version of the machine, its firmware and its parts. If these \
                  strings repeat at least 4 bytes of replaced data, the repeated bytes are replaced too, except in \
                  names of credentials."
)]
pub struct Record {
    /// Directory to write smbios_entry_point, DMI and qemu_fw_cfg to; existing files are never overwritten
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
    #[command(flatten)]
    pub(super) from: From,
    /// Keep every value in the recording; only the owner can read its files
    #[arg(long)]
    pub(super) with_secrets: bool,
}
