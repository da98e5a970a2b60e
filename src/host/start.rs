//! The start of a hypervisor: the main act of the host, on one page.
//!
//! 1. The program is recognised as a hypervisor. If its arguments start no guest, it is executed unchanged ([`probe`]).
//! 2. The credentials are read. A host that has lost them is told so before anything else can fail.
//! 3. The program's image is searched for the words that decide how it is started. It is not executed for that.
//! 4. Credentials and command line are merged, and held against every limit on the way ([`Plan::new`]).
//! 5. A program that would show them to others is refused: one that cannot be traced.
//! 6. [`start`] executes it, and nothing if a limit is exceeded.
//!
//! What a start most likely needs gets ready at the same time ([`ahead`]).

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

/// What is to be started, and with which credentials.
#[derive(Debug)]
pub struct Request {
    /// The program, looked up in `$PATH` if it has no `/`.
    pub program: PathBuf,
    /// Which hypervisor it is; `None` leaves that to its file name.
    pub hypervisor: Option<&'static dyn Hypervisor>,
    /// The name that the program is given; `None` gives it its own.
    pub argv0: Option<OsString>,
    /// The arguments after the name.
    pub arguments: Vec<OsString>,
    /// Where what is sent comes from.
    pub supply: Supply,
    /// Whether strings may be on the command line in plain text, where they cannot be passed otherwise.
    pub allow_argv: bool,
    /// Where the guest is asked to send a receipt.
    pub receipt: Option<Address>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPlanned {
    /// The program's file name is not that of a hypervisor.
    #[error("cannot tell which hypervisor {0} is: give --hypervisor {names}", names = hypervisor::names())]
    Unknown(ShownPath),
    /// A hypervisor that has no SMBIOS.
    #[error(
        "Firecracker has no SMBIOS, so {0} can pass no OEM strings: use QEMU, cloud-hypervisor or crosvm, or pass \
         credentials through Firecracker's metadata service"
    )]
    Firecracker(ShownPath),
    /// The credentials cannot be had.
    #[error(transparent)]
    Supply(#[from] SupplyError),
    /// There is no such program.
    #[error("cannot find {0}, or it may not be executed")]
    NotFound(ShownPath),
    /// The credentials cannot be merged with the command line.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// They would have to be in a private argument, which the program cannot be given.
    #[error("{0}; --allow-argv starts it with the secrets for all to see")]
    Private(#[from] PrivateArgvError),
    /// They would have to be in files that only a program has which this one executes, and the start cannot be traced.
    #[error("{0}; start the hypervisor's own program, for which nothing is traced")]
    Files(#[source] PrivateArgvError),
}

/// Why a planned hypervisor is not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotStarted {
    /// More than can be carried.
    #[error("{0}")]
    Exceeded(Usage),
    /// It was not executed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

/// A start of no guest: what libvirt and others ask a hypervisor before they start one. It gets no credentials.
#[derive(Debug)]
pub struct Probe {
    /// Which hypervisor it is.
    pub hypervisor: &'static dyn Hypervisor,
    program: PathBuf,
    argv0: OsString,
    arguments: Vec<OsString>,
}

/// Tells whether a program would start no guest. No credential is read for that, and nothing is executed.
///
/// # Errors
/// [`NotPlanned`], if it is no hypervisor or not there.
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
    /// Executes the program in the place of this process, with its arguments unchanged. Returns only on failure.
    ///
    /// # Errors
    /// [`LaunchError`], if nothing was executed.
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

/// Plans a start. Nothing is executed.
///
/// # Errors
/// [`NotPlanned`] says why the guest would not get what is meant. A limit that is exceeded is none: see
/// [`Plan::exceeded`].
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

/// Refuses a program that would show the strings to other programs.
fn check_receiver(plan: &Plan) -> Result<(), NotPlanned> {
    match plan.carrier {
        Carrier::PrivateArgument => Ok(private_argv::check(&plan.program)?),
        Carrier::SealedMemfds if plan.receiver != Receiver::Program => {
            private_argv::check(&plan.program).map_err(NotPlanned::Files)
        }
        Carrier::PlainArgument | Carrier::SealedMemfds => Ok(()),
    }
}

/// Starts what a start will most likely need, so that it gets ready while the start is planned.
#[must_use]
pub fn ahead(request: &Request) -> Option<Ahead> {
    let hypervisor = recognise(request).ok()?;
    let needs_tracer = !hypervisor.always_reads_files() && !request.allow_argv;
    (needs_tracer && !hypervisor.starts_no_guest(&request.arguments)).then(Ahead::start)
}

/// Executes what is planned in the place of this process. Returns only on failure.
///
/// # Errors
/// [`NotStarted`], if nothing was executed.
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
    // What the arguments hold is all that is left of the values when the program is executed.
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
