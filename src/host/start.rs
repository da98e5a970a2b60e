//! Starts a hypervisor with credentials, in these steps:
//!
//! 1. The program's file name, or the request, determines which hypervisor the program is. If the program's arguments
//!    start no guest, the program is executed unchanged ([`probe`]).
//! 2. The credentials are read. A missing credential is reported before the errors of later steps.
//! 3. This process searches the program's executable file for the words that decide how the program is started. The
//!    program is not executed for this search.
//! 4. The credentials are merged with the command line, and checked against every limit on their route into the guest
//!    ([`Plan::new`]).
//! 5. The program is refused if its start must be traced to hide the credentials, but the start cannot be traced.
//! 6. [`start`] executes the program, unless a limit is exceeded.
//!
//! Before these steps, [`ahead`] starts the process that traces the start, if step 6 will most likely need this
//! process.

use std::borrow::Cow;
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::capacity::Usage;
use super::hypervisor::{self, Argument, Hypervisor};
use super::launch::private_argv::{self, Ahead, PrivateArgvError};
use super::launch::{Files, LaunchError, Private, execute, image, program};
use super::plan::{Carrier, Order, Plan, PlanError, Receiver};
use super::supply::{Supply, SupplyError};
use crate::format::receipt::Address;
use crate::text::escape::ShownPath;
use crate::text::help::Help;

/// A request to start a hypervisor with credentials.
#[derive(Debug)]
pub struct Request {
    /// Path or name of the program. A name without `/` is searched for in `$PATH`.
    pub program: PathBuf,
    /// The kind of hypervisor. If `None`, the program's file name determines the kind.
    pub hypervisor: Option<&'static dyn Hypervisor>,
    /// The name that the program gets as `argv[0]`. If `None`, the program gets the text in [`Self::program`].
    pub argv0: Option<OsString>,
    /// The program's arguments after `argv[0]`.
    pub arguments: Vec<OsString>,
    /// The source of the credentials.
    pub supply: Supply,
    /// Whether OEM strings may be in an argument that every user can read, if the hypervisor does not read them from
    /// files.
    pub allow_argv: bool,
    /// The address to which the guest must send a receipt.
    pub receipt: Option<Address>,
}

/// Why a start cannot be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPlanned {
    /// The program's file name is not the name of a hypervisor.
    #[error("cannot tell which hypervisor {0} is")]
    Unknown(ShownPath),
    /// The program is Firecracker, which has no SMBIOS.
    #[error("Firecracker has no SMBIOS, so {0} cannot pass OEM strings")]
    Firecracker(ShownPath),
    /// The credentials cannot be read.
    #[error(transparent)]
    Supply(#[from] SupplyError),
    /// The program does not exist, or it cannot be executed.
    #[error("cannot find {0}, or it is not executable")]
    NotFound(ShownPath),
    /// The credentials cannot be merged with the command line.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The credentials must be in an argument that only the hypervisor can see, but the program cannot be started with
    /// such an argument.
    #[error("{0}")]
    Private(#[from] PrivateArgvError),
    /// The program is a wrapper. The start must be traced so that only the hypervisor gets the files with the
    /// credentials, but the start cannot be traced.
    #[error("{0}")]
    Files(#[source] PrivateArgvError),
}

/// Why a planned hypervisor is not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotStarted {
    /// A limit is exceeded.
    #[error("{0}")]
    Exceeded(Usage),
    /// The program was not executed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

impl Help for NotPlanned {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Unknown(_) => format!("use --hypervisor {}", hypervisor::names()).into(),
            Self::Firecracker(_) => {
                "use QEMU, cloud-hypervisor or crosvm, or pass credentials through Firecracker's \
                                     metadata service"
                    .into()
            }
            Self::Supply(error) => return error.help(),
            Self::NotFound(_) => "correct the path, or make the file executable".into(),
            Self::Plan(error) => return error.help(),
            Self::Private(error) => either(error, HELP_ALLOW_ARGV),
            Self::Files(error) => either(error, HELP_OWN_PROGRAM),
        })
    }
}

/// What to do if the program cannot be started with an argument that only the hypervisor can see.
const HELP_ALLOW_ARGV: &str = "use --allow-argv to start it anyway, with secrets that every user can read";

/// What to do if files with OEM strings cannot be passed to the hypervisor through a wrapper.
const HELP_OWN_PROGRAM: &str = "start the hypervisor's own program, which needs no tracing";

/// Returns the help of the error and `other`, as two ways to solve the problem. If the error has no help, returns only
/// `other`.
fn either(error: &PrivateArgvError, other: &'static str) -> Cow<'static, str> {
    error.help().map_or(other.into(), |help| format!("{help}; or {other}").into())
}

impl NotStarted {
    /// Returns what to do about the error. This depends on how the strings would have been passed to the hypervisor
    /// (`carrier`).
    #[must_use]
    pub fn help(&self, carrier: Carrier) -> Option<Cow<'static, str>> {
        match self {
            Self::Exceeded(usage) => usage.help(),
            Self::Launch(LaunchError::PrivateArgv(error)) if carrier == Carrier::SealedMemfds => {
                Some(either(error, HELP_OWN_PROGRAM))
            }
            Self::Launch(LaunchError::PrivateArgv(error)) => Some(either(error, HELP_ALLOW_ARGV)),
            Self::Launch(_) => None,
        }
    }
}

/// The start of a hypervisor that runs no guest. libvirt and other programs start a hypervisor in this way to query it.
/// The hypervisor gets no credentials.
#[derive(Debug)]
pub struct Probe {
    /// The kind of hypervisor.
    pub hypervisor: &'static dyn Hypervisor,
    program: PathBuf,
    argv0: OsString,
    arguments: Vec<OsString>,
}

/// Returns a [`Probe`] if the hypervisor would start no guest with its arguments, for example with `--version`. Otherwise,
/// returns `None`. Reads no credentials, and executes nothing.
///
/// # Errors
/// [`NotPlanned`], if the program is not a hypervisor, or does not exist.
pub fn probe(request: &Request) -> Result<Option<Probe>, NotPlanned> {
    let hypervisor = recognise(request)?;
    if !hypervisor.starts_no_guest(&request.arguments) {
        return Ok(None);
    }
    let program = program::find(&request.program);
    let program = program.ok_or_else(|| NotPlanned::NotFound(request.program.as_path().into()))?;
    let argv0 = request.argv0.clone().unwrap_or_else(|| request.program.clone().into_os_string());
    Ok(Some(Probe { hypervisor, program, argv0, arguments: request.arguments.clone() }))
}

impl Probe {
    /// Replaces this process with the program (`exec`), with its arguments unchanged. Returns only on failure.
    ///
    /// # Errors
    /// [`LaunchError`] says why the program was not executed.
    pub fn start(self) -> Result<Infallible, LaunchError> {
        let arguments = self.arguments.into_iter().map(Argument::Public).collect();
        let private = Private { placeholder: "", word: "", files: Files::Inherited };
        execute(&self.program, self.argv0, arguments, private, None)
    }
}

fn recognise(request: &Request) -> Result<&'static dyn Hypervisor, NotPlanned> {
    let hypervisor = request.hypervisor.or_else(|| hypervisor::of_program(&request.program));
    hypervisor.ok_or_else(|| {
        let name = request.program.file_name().unwrap_or_default().as_encoded_bytes();
        let shown = request.program.as_path().into();
        if name.starts_with(b"firecracker") {
            NotPlanned::Firecracker(shown)
        } else {
            NotPlanned::Unknown(shown)
        }
    })
}

/// Plans a start. Executes nothing.
///
/// # Errors
/// [`NotPlanned`] says why the guest would not get the intended credentials. An exceeded limit is not an error here:
/// see [`Plan::exceeded`].
pub fn plan(request: Request) -> Result<Plan, NotPlanned> {
    let hypervisor = recognise(&request)?;
    let sends = request.supply.read()?;
    let program = program::find(&request.program);
    let program = program.ok_or_else(|| NotPlanned::NotFound(request.program.as_path().into()))?;
    let features = image::features(hypervisor, &program);
    let plan = Plan::new(Order {
        hypervisor,
        program,
        argv0: request.argv0.unwrap_or_else(|| request.program.into_os_string()),
        arguments: request.arguments,
        features,
        sends,
        allow_empty: request.supply.allow_empty(),
        allow_argv: request.allow_argv,
        receipt: request.receipt,
    })?;
    check_receiver(&plan)?;
    Ok(plan)
}

/// Refuses a program if its start must be traced to hide the strings from other programs, but the start cannot be
/// traced.
fn check_receiver(plan: &Plan) -> Result<(), NotPlanned> {
    match plan.carrier {
        Carrier::PrivateArgument => Ok(private_argv::check(&plan.program)?),
        Carrier::SealedMemfds if plan.receiver != Receiver::Program => {
            private_argv::check(&plan.program).map_err(NotPlanned::Files)
        }
        Carrier::PlainArgument | Carrier::SealedMemfds => Ok(()),
    }
}

/// Starts the tracer if the hypervisor's start will most likely need a tracer. The tracer becomes ready while the
/// caller plans the start.
#[must_use]
pub fn ahead(request: &Request) -> Option<Ahead> {
    let hypervisor = recognise(request).ok()?;
    let needs_tracer = !hypervisor.always_reads_files() && !request.allow_argv;
    (needs_tracer && !hypervisor.starts_no_guest(&request.arguments)).then(Ahead::start)
}

/// Replaces this process with the planned program (`exec`). Returns only on failure.
///
/// # Errors
/// [`NotStarted`] says why the program was not executed.
pub fn start(plan: Plan, ahead: Option<Ahead>) -> Result<Infallible, NotStarted> {
    if let Some(usage) = plan.exceeded().next() {
        return Err(NotStarted::Exceeded(*usage));
    }
    let placeholder = plan.placeholder();
    let word = plan.hypervisor.receiver_word().unwrap_or_default();
    let files = match plan.receiver {
        Receiver::Program => Files::Inherited,
        Receiver::Executed { .. } => Files::OfHypervisor,
    };
    let Plan { program, argv0, carrier, strings, arguments, .. } = plan;
    // After `drop`, only the arguments contain the values of the credentials.
    drop(strings);
    let as_planned = |argument| match argument {
        Argument::Private(value) if carrier == Carrier::PlainArgument => {
            Argument::Public(OsString::from_vec(value.expose().to_vec()))
        }
        argument => argument,
    };
    let arguments = arguments.into_iter().map(as_planned).collect();
    Ok(execute(&program, argv0, arguments, Private { placeholder: &placeholder, word, files }, ahead)?)
}
