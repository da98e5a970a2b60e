//! What `smbios-creds-host` can be asked. The comments on arguments are their help text.
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

/// Send credentials to a virtual machine over SMBIOS Type 11, with no secret on a command line.
#[derive(Debug, Parser)]
#[command(
    name = "smbios-creds-host",
    version,
    after_help = super::help::AFTER
)]
pub struct Host {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,

    /// Lowest level that is logged: error, warn, info, debug, trace or off
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    pub log_level: LevelFilter,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Execute a hypervisor with credentials, in the place of this program
    Run(Run),
    /// Show what run would do: sizes against limits, who receives the secrets, and what others will see
    Plan(Plan),
    /// Write credentials as OEM strings or structures, for those who start a hypervisor themselves
    Emit(Emit),
    /// Write credentials as a set in a file, whose manifest another program can sign
    Pack(Pack),
    /// Wait until a guest says whether it has every credential
    Await(Await),
    /// Add arguments for the structures of a Secret to a domain: KubeVirt's hook onDefineDomain
    OnDefineDomain(OnDefineDomain),
}

/// Which credentials are sent.
#[derive(Args, Debug)]
pub struct Select {
    /// Directory with one file a credential, instead of $CREDENTIALS_DIRECTORY
    #[arg(long, value_name = "DIR")]
    pub credentials: Option<PathBuf>,

    /// Send every file of the directory
    #[arg(long, conflicts_with_all = ["prefix", "credential"])]
    pub all: bool,

    /// Send the files whose names begin with this
    #[arg(long, value_name = "PREFIX", conflicts_with = "credential")]
    pub prefix: Option<String>,

    /// Send these; GUEST=HOST sends the file HOST under the name GUEST
    #[arg(long, value_name = "GUEST[=HOST]", num_args = 1..)]
    pub credential: Vec<Mapping>,

    /// Send these, which 'systemd-creds encrypt' wrote, for systemd in the guest to decrypt
    #[arg(long, value_name = "GUEST[=HOST]", num_args = 1..)]
    pub encrypted: Vec<Mapping>,

    /// Names that must be among those that are sent
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub expect: Vec<Name>,

    /// Credentials that may be empty
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub allow_empty: Vec<Name>,
}

impl Select {
    /// The selection that is meant.
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
    /// Reads the credentials that are selected.
    ///
    /// # Errors
    /// [`DirectoryError`] says why they cannot be had.
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

    /// minisign's public keys, as text or files: refuse a set that none of them has signed
    #[arg(long, value_name = "KEY", num_args = 1.., conflicts_with_all = ["all", "prefix", "credential", "encrypted"])]
    trust: Vec<PathBuf>,
}

impl Sends {
    /// Where what is sent comes from.
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

/// A name that a manifest can have for a machine.
fn audience(text: &str) -> Result<String, &'static str> {
    if text.starts_with('@') {
        return Err(
            "write the machine ID or the UUID itself: a guest replaces @machine-id and @uuid by its own",
        );
    }
    if is_audience(text) {
        Ok(text.to_owned())
    } else {
        Err("it must have 1 to 255 printable ASCII characters")
    }
}

/// `pack`
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("which").required(true).multiple(true).args(["all", "prefix", "credential", "encrypted"]),
    after_help = "FILE has the values in plain text, for its owner only: keep it in a memory-only mount. FILE.manifest has \
                  names, sizes and a digest, and no value: sign it with 'minisign -S -m FILE.manifest'. Then start the machine with \
                  'run --set FILE'. Exit status 3: refused, and nothing is written."
)]
pub struct Pack {
    #[command(flatten)]
    pub(super) select: Select,

    /// Machines that the set is meant for, by the names that their guests know themselves by (--audience there)
    #[arg(long, value_name = "AUDIENCE", num_args = 1.., value_parser = audience)]
    pub(super) audience: Vec<String>,

    /// Number of the set: a guest that has seen a higher one refuses it
    #[arg(long, value_name = "N")]
    pub(super) serial: Option<u64>,

    /// End of its validity in UTC, 2030-01-31 (that day included), 2030-01-31T12:00:00Z, or +30d from now
    #[arg(long, value_name = "DATE", value_parser = super::date::seconds)]
    pub(super) not_after: Option<u64>,

    /// File to write the set to, for its owner only; one that exists is never overwritten
    #[arg(long, value_name = "FILE")]
    pub(super) output: PathBuf,

    /// Write the set to a disk as well
    #[arg(long)]
    pub(super) force: bool,
}

/// Which hypervisor, and how.
#[derive(Args, Debug)]
pub struct Target {
    #[command(flatten)]
    pub(super) sends: Sends,

    #[command(flatten)]
    pub(super) ask: Ask,

    /// Hypervisor type [default: inferred from the program's file name]
    #[arg(long, value_parser = hypervisors(), value_name = "KIND")]
    pub(super) hypervisor: Option<&'static dyn Hypervisor>,

    /// Name that the program is given as its first argument, as 'exec -a' does
    #[arg(long, value_name = "NAME")]
    pub(super) argv0: Option<OsString>,

    /// Put the secrets on the command line, for all to see, where they cannot be passed otherwise
    #[arg(long)]
    pub(super) allow_argv: bool,

    /// Hypervisor to execute, or a program that executes it, and the arguments
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    pub(super) program: Vec<OsString>,
}

impl Target {
    /// The start that is meant.
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

/// The names in the registry, and which hypervisor each stands for.
fn hypervisors() -> impl TypedValueParser<Value = &'static dyn Hypervisor> {
    PossibleValuesParser::new(
        ALL.iter().map(|hypervisor| PossibleValue::new(hypervisor.name()).help(hypervisor.about())),
    )
    .try_map(|name| named(&name).ok_or("unknown hypervisor"))
}

/// `run`
#[derive(Args, Debug)]
#[command(
    after_help = "The hypervisor keeps the PID, the open descriptors, the directory and the environment. \
                  It may be started through wrappers (env, taskset, a script): the first program that has the \
                  option's name in its file and is given all arguments receives the secrets, and no other program does. \
                  A start that ends without it fails. A machine is never started without what was selected: an unset \
                  $CREDENTIALS_DIRECTORY, a missing or empty file, a limit that is exceeded or an option that cannot be \
                  merged ends with exit status 3. With arguments that start no guest (QEMU's -version, -help, -machine \
                  none, -cpu help), it is executed unchanged and without credentials. SIGPIPE has its default effect in \
                  the hypervisor, also if it was ignored before."
)]
pub struct Run {
    #[command(flatten)]
    pub(super) target: Target,
}

/// `plan`
#[derive(Args, Debug)]
#[command(after_help = "Exit status 0 if 'run' would start the hypervisor, 3 if it would refuse to.")]
pub struct Plan {
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) json: JsonArg,
}

/// `emit`
#[derive(Args, Debug)]
#[command(
    after_help = "With --output-dir, standard output has the arguments for QEMU, or with --format libvirt an element of \
                  a domain. A directory that is there is replaced at once, if it holds nothing but such files. Exit \
                  status 3: refused, and nothing is written."
)]
pub struct Emit {
    #[command(flatten)]
    pub(super) sends: Sends,

    #[command(flatten)]
    pub(super) ask: Ask,

    /// What to write
    #[arg(long, value_enum)]
    pub(super) format: Format,

    /// File to write to, for its owner alone; one that exists is never overwritten
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    /// Directory to write structures to, one a file for QEMU's -smbios file=, mode 0400: 0, 1 and so on
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    pub(super) output_dir: Option<PathBuf>,

    /// Number of files: those left over get an inactive structure [default: as many as it takes]
    #[arg(long, value_name = "N", requires = "output_dir", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) files: Option<u16>,

    /// vm.create request of cloud-hypervisor to put the strings into; the whole request is written then
    #[arg(long, value_name = "FILE")]
    pub(super) request: Option<PathBuf>,

    /// Write the secrets to a terminal or a log as well
    #[arg(long)]
    pub(super) force: bool,
}

impl Emit {
    /// Why these options make no sense together, if they do not.
    pub(super) fn misfit(&self) -> Option<clap::Error> {
        let is_structures = matches!(self.format, Format::Structures | Format::Libvirt);
        let message = if self.output_dir.is_some() && !is_structures {
            "--output-dir takes --format structures or libvirt: it writes structures"
        } else if self.request.is_some() && self.format != Format::Json {
            "--request takes --format json: it is cloud-hypervisor's"
        } else {
            return None;
        };
        Some(Host::command().error(clap::error::ErrorKind::ArgumentConflict, message))
    }
}

/// What `emit` writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// OEM strings, one a line
    Strings,
    /// OEM strings as a JSON array: platform.oem_strings of cloud-hypervisor's vm.create, or all of that (--request)
    Json,
    /// Type 11 structures, one after the other (QEMU's -smbios file= takes one a file: --output-dir)
    Structures,
    /// The value of QEMU's -smbios
    Qemu,
    /// The value of cloud-hypervisor's --platform
    CloudHypervisor,
    /// The value of crosvm's --smbios
    Crosvm,
    /// Two elements of a libvirt domain; with --output-dir, QEMU's arguments for the files as one
    Libvirt,
    /// Keys and values as YAML, for 'incus profile edit' and 'incus launch'
    Incus,
}

/// `on-define-domain`
#[derive(Args, Debug)]
#[command(
    after_help = "Writes the domain to standard output, unchanged but for arguments -smbios file=/var/run/smbios-creds/N. \
                  The annotation smbios-creds.io/secret names the Secret that is mounted there, and \
                  smbios-creds.io/files the number of its files. Exit status 3 without both of them, or if the domain \
                  cannot be changed: KubeVirt does not start the machine then. integration/kubevirt/README.md has what a \
                  cluster needs."
)]
pub struct OnDefineDomain {
    /// VirtualMachineInstance as JSON
    #[arg(long, value_name = "JSON")]
    pub(super) vmi: String,

    /// Domain of libvirt
    #[arg(long, value_name = "XML")]
    pub(super) domain: String,
}
