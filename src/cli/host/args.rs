//! The command line of `smbios-creds-host`. The doc comments of the options are their `--help` texts.
#![expect(clippy::doc_markdown, reason = "help text is not Markdown")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use super::receipt::{Ask, Await};
use crate::cli::json::JsonArg;
use crate::format::credential::{Credential, Name};
use crate::format::manifest::is_audience;
use crate::host::hypervisor::{ALL, Hypervisor, named};
use crate::host::source::{self, DirectoryError, Mapping, Selection, Which};
use crate::host::start::Request;
use crate::host::supply::{SetFiles, Supply};
use crate::trust::sealed::Sealed;

/// Send credentials to a virtual machine over SMBIOS Type 11, without a secret on any command line.
#[derive(Debug, Parser)]
#[command(
    name = "smbios-creds-host",
    version,
    after_help = super::help::AFTER
)]
pub struct Host {
    /// The selected subcommand, with its arguments.
    #[command(subcommand)]
    pub verb: Verb,

    /// Log messages of this level and of more severe ones: error, warn, info, debug, trace or off
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    pub log_level: LevelFilter,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Execute a hypervisor with credentials; it replaces this program
    Run(Run),
    /// Show what 'run' would do: sizes and limits, the program that gets the secrets, arguments that others will see
    Plan(Plan),
    /// Write credentials as OEM strings or structures, for a hypervisor that another program starts
    Emit(Emit),
    /// Write credentials to a file, as a set with a manifest that minisign can sign
    Pack(Pack),
    /// Wait until a guest reports whether it has every credential
    Await(Await),
    /// Add arguments for the structures in a Secret to a libvirt domain, as KubeVirt's hook onDefineDomain
    OnDefineDomain(OnDefineDomain),
}

/// Which credentials are sent.
#[derive(Args, Debug)]
pub struct Select {
    /// Directory with one file for each credential, instead of $CREDENTIALS_DIRECTORY
    #[arg(long, value_name = "DIR")]
    pub credentials: Option<PathBuf>,

    /// Send every file of the directory
    #[arg(long, conflicts_with_all = ["prefix", "credential"])]
    pub all: bool,

    /// Send the files whose names begin with PREFIX
    #[arg(long, value_name = "PREFIX", conflicts_with = "credential")]
    pub prefix: Option<String>,

    /// Send the files with these names; GUEST=HOST sends the file HOST under the name GUEST
    #[arg(long, value_name = "GUEST[=HOST]", num_args = 1..)]
    pub credential: Vec<Mapping>,

    /// Send these files that 'systemd-creds encrypt' wrote; systemd in the guest decrypts them
    #[arg(long, value_name = "GUEST[=HOST]", num_args = 1..)]
    pub encrypted: Vec<Mapping>,

    /// Credentials that must be among those that are sent
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub expect: Vec<Name>,

    /// Credentials that may be empty
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub allow_empty: Vec<Name>,
}

impl Select {
    /// Returns the selection that these options describe.
    #[must_use]
    pub fn selection(&self) -> Selection {
        let which = match &self.prefix {
            _ if self.all => Which::All,
            Some(prefix) => Which::Prefix(prefix.clone()),
            None => Which::Named(self.credential.clone()),
        };
        Selection {
            which,
            encrypted: self.encrypted.clone(),
            expect: self.expect.clone(),
            allow_empty: self.allow_empty.clone(),
        }
    }
}

impl Select {
    /// Reads the selected credentials, plain and encrypted.
    ///
    /// # Errors
    /// [`DirectoryError`] says why the credentials cannot be read.
    pub(super) fn read(&self) -> Result<(Vec<Credential>, Vec<Sealed>), DirectoryError> {
        let directory = self.credentials.clone().map_or_else(source::directory, Ok)?;
        let selection = self.selection();
        Ok((source::read(&directory, &selection)?, source::read_encrypted(&directory, &selection)?))
    }
}

/// What is sent: credentials that are selected, or a packed set.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("which").required(true).multiple(true)
        .args(["all", "prefix", "credential", "encrypted", "set"])
)]
pub struct Sends {
    #[command(flatten)]
    select: Select,

    /// Send the set that 'pack' wrote to FILE, unchanged, and its signature FILE.manifest.minisig if that exists
    #[arg(long, value_name = "FILE", conflicts_with_all = ["credentials", "allow_empty", "all", "prefix", "credential", "encrypted"])]
    set: Option<PathBuf>,

    /// Signatures of the set's manifest, instead of FILE.manifest.minisig; at most 8 are sent
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["all", "prefix", "credential", "encrypted"])]
    signature: Vec<PathBuf>,

    /// minisign public keys, as text or files; refuse a set that was not signed with one of them
    #[arg(long, value_name = "KEY", num_args = 1.., conflicts_with_all = ["all", "prefix", "credential", "encrypted"])]
    trust: Vec<PathBuf>,
}

impl Sends {
    /// Returns the source of the credentials: a packed set or a directory.
    #[must_use]
    pub fn supply(&self) -> Supply {
        match &self.set {
            Some(set) => Supply::Set(SetFiles {
                set: set.clone(),
                signatures: self.signature.clone(),
                trust: self.trust.clone(),
                expect: self.select.expect.clone(),
            }),
            None => Supply::Directory {
                directory: self.select.credentials.clone(),
                selection: self.select.selection(),
            },
        }
    }
}

/// Checks whether a manifest can contain this text as the name of a machine (an audience).
fn audience(text: &str) -> Result<String, &'static str> {
    if text.starts_with('@') {
        return Err(
            "write the machine ID or the UUID itself: a guest replaces @machine-id and @uuid with its own",
        );
    }
    if is_audience(text) {
        Ok(text.to_owned())
    } else {
        Err("it must have 1 to 255 printable ASCII characters")
    }
}

/// The arguments of the subcommand `pack`.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("which").required(true).multiple(true).args(["all", "prefix", "credential", "encrypted"]),
    after_help = "FILE contains the values in plain text, and only its owner can read it: keep it in a memory-only \
                  mount. FILE.manifest contains names, sizes and a digest, but no values: sign it with 'minisign -S \
                  -m FILE.manifest'. Then start the machine with 'run --set FILE'. Exit status 3: refused, and \
                  nothing is written."
)]
pub struct Pack {
    #[command(flatten)]
    pub(super) select: Select,

    /// Machines for which to pack the set; a guest compares these names with its own --audience
    #[arg(long, value_name = "AUDIENCE", num_args = 1.., value_parser = audience)]
    pub(super) audience: Vec<String>,

    /// Serial of the set; a guest that has imported a higher serial refuses the set
    #[arg(long, value_name = "N")]
    pub(super) serial: Option<u64>,

    /// End of the set's validity in UTC: 2030-01-31 (including this day), 2030-01-31T12:00:00Z, or +30d from now
    #[arg(long, value_name = "DATE", value_parser = super::date::seconds)]
    pub(super) not_after: Option<u64>,

    /// File to write the set to, which only its owner can read; an existing file is never overwritten
    #[arg(long, value_name = "FILE")]
    pub(super) output: PathBuf,

    /// Write the set even if FILE is on a disk
    #[arg(long)]
    pub(super) force: bool,
}

/// The options for the hypervisor and its start.
#[derive(Args, Debug)]
pub struct Target {
    #[command(flatten)]
    pub(super) sends: Sends,

    #[command(flatten)]
    pub(super) ask: Ask,

    /// Hypervisor type [default: inferred from the program's file name]
    #[arg(long, value_parser = hypervisors(), value_name = "KIND")]
    pub(super) hypervisor: Option<&'static dyn Hypervisor>,

    /// First argument (the name) that the program sees, as with 'exec -a'
    #[arg(long, value_name = "NAME")]
    pub(super) argv0: Option<OsString>,

    /// If the secrets cannot be hidden, put them on the command line, where every user can read them
    #[arg(long)]
    pub(super) allow_argv: bool,

    /// Hypervisor to execute, or a program that executes the hypervisor, and its arguments
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    pub(super) program: Vec<OsString>,
}

impl Target {
    /// Returns the request for a start that these options describe.
    #[must_use]
    pub fn request(self) -> Request {
        let mut arguments = self.program.into_iter();
        Request {
            program: PathBuf::from(arguments.next().unwrap_or_default()),
            hypervisor: self.hypervisor,
            argv0: self.argv0,
            arguments: arguments.collect(),
            supply: self.sends.supply(),
            allow_argv: self.allow_argv,
            receipt: self.ask.receipt,
        }
    }
}

/// Returns the parser for the names of the known hypervisors.
fn hypervisors() -> impl TypedValueParser<Value = &'static dyn Hypervisor> {
    PossibleValuesParser::new(
        ALL.iter().map(|hypervisor| PossibleValue::new(hypervisor.name()).help(hypervisor.about())),
    )
    .try_map(|name| named(&name).ok_or("unknown hypervisor"))
}

/// The arguments of the subcommand `run`.
#[derive(Args, Debug)]
#[command(
    after_help = "The hypervisor keeps the PID, the open file descriptors, the working directory and the \
                  environment. It may be started through wrappers (env, taskset, a script): the first program that \
                  has the option's name in its file and gets all arguments receives the secrets, and no other \
                  program does. If no such program is executed, the start fails. A machine is never started without \
                  the selected credentials: an unset $CREDENTIALS_DIRECTORY, a missing or empty file, an exceeded \
                  limit or an option that cannot be merged ends with exit status 3. With arguments that start no \
                  guest (QEMU's -version, -help, -machine none, -cpu help), the hypervisor is executed unchanged and \
                  without credentials. In the hypervisor, SIGPIPE has its default effect, even if it was ignored \
                  before."
)]
pub struct Run {
    #[command(flatten)]
    pub(super) target: Target,
}

/// The arguments of the subcommand `plan`.
#[derive(Args, Debug)]
#[command(after_help = "Exit status 0 if 'run' would start the hypervisor, 3 if it would refuse to.")]
pub struct Plan {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) json: JsonArg,
}

/// The arguments of the subcommand `emit`.
#[derive(Args, Debug)]
#[command(
    after_help = "With --output-dir, standard output contains the arguments for QEMU, or with --format libvirt an \
                  element of a domain. An existing directory is replaced in one step if it contains only such files. \
                  Exit status 3: refused, and nothing is written."
)]
pub struct Emit {
    #[command(flatten)]
    pub(super) sends: Sends,

    #[command(flatten)]
    pub(super) ask: Ask,

    /// What to write
    #[arg(long, value_enum)]
    pub(super) format: Format,

    /// File to write to, which only its owner can read; an existing file is never overwritten
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// Directory for the structures, one in each file for QEMU's -smbios file= (files 0, 1 and so on, mode 0400)
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    pub(super) output_dir: Option<PathBuf>,

    /// Number of files; files that are not needed get an inactive structure [default: as many as needed]
    #[arg(long, value_name = "N", requires = "output_dir", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) files: Option<u16>,

    /// File with a vm.create request of cloud-hypervisor; add the strings to it, and write the whole request
    #[arg(long, value_name = "FILE")]
    pub(super) request: Option<PathBuf>,

    /// Write the secrets even if standard output is a terminal or a log
    #[arg(long)]
    pub(super) force: bool,
}

impl Emit {
    /// Returns an error if these options cannot be used together.
    pub(super) fn misfit(&self) -> Option<clap::Error> {
        let is_structures = matches!(self.format, Format::Structures | Format::Libvirt);
        let message = if self.output_dir.is_some() && !is_structures {
            "--output-dir needs --format structures or libvirt, because it writes structures"
        } else if self.request.is_some() && self.format != Format::Json {
            "--request needs --format json, because it is a request of cloud-hypervisor"
        } else {
            return None;
        };
        Some(Host::command().error(clap::error::ErrorKind::ArgumentConflict, message))
    }
}

/// What `emit` writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// OEM strings, one on each line
    Strings,
    /// OEM strings as a JSON array for platform.oem_strings of cloud-hypervisor; with --request, the whole request
    Json,
    /// Type 11 structures, one after the other; with --output-dir, one in each file, as QEMU's -smbios file= needs
    Structures,
    /// The value of QEMU's -smbios
    Qemu,
    /// The value of cloud-hypervisor's --platform
    CloudHypervisor,
    /// The value of crosvm's --smbios
    Crosvm,
    /// Two elements of a libvirt domain; with --output-dir, one element with QEMU's arguments for the files
    Libvirt,
    /// Keys and values as YAML, for 'incus profile edit' and 'incus launch'
    Incus,
}

/// The arguments of the subcommand `on-define-domain`.
#[derive(Args, Debug)]
#[command(after_help = "Writes the domain to standard output, unchanged except for added arguments -smbios \
                        file=/var/run/smbios-creds/N. The annotation smbios-creds.io/secret names the Secret that is \
                        mounted there, and smbios-creds.io/files gives the number of its files. Exit status 3 if one \
                        of them is missing, or if the domain cannot be changed: KubeVirt then does not start the \
                        machine. integration/kubevirt/README.md says what a cluster needs.")]
pub struct OnDefineDomain {
    /// VirtualMachineInstance as JSON
    #[arg(long, value_name = "JSON")]
    pub(super) vmi: String,

    /// libvirt domain as XML
    #[arg(long, value_name = "XML")]
    pub(super) domain: String,
}
