//! The start of a hypervisor: the main act of the host, on one page.
//!
//! 1. The program is found, and recognised as a hypervisor.
//! 2. The credentials are read. A host that has lost them is told so before anything else can fail.
//! 3. The program is asked what it can do, if that decides how it is started.
//! 4. Credentials and command line are merged, and held against every limit on the way ([`Plan::new`]).
//! 5. If they are passed in a private argument, everything that would forbid that is looked for.
//! 6. [`start`] executes it, and nothing if a limit is exceeded.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::capacity::Usage;
use super::hypervisor::{self, Argument, Hypervisor};
use super::launch::private_argv::{self, PrivateArgvError};
use super::launch::{LaunchError, execute, probe, program};
use super::plan::{Carrier, Order, Plan, PlanError};
use super::source::{self, DirectoryError, Selection};
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
    /// The credentials directory; `None` takes the one that `$CREDENTIALS_DIRECTORY` names.
    pub directory: Option<PathBuf>,
    /// What to take from it.
    pub selection: Selection,
    /// Whether strings may be on the command line in plain text, where they cannot be passed otherwise.
    pub allow_argv: bool,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPlanned {
    /// The program's file name is not that of a hypervisor.
    #[error("cannot tell which hypervisor {0} is: give --hypervisor {names}", names = hypervisor::names())]
    Unknown(ShownPath),
    /// The credentials cannot be had.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// There is no such program.
    #[error("cannot find {0}, or it may not be executed")]
    NotFound(ShownPath),
    /// The credentials cannot be merged with the command line.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// They would have to be in a private argument, which the program cannot be given.
    #[error("{0}; --allow-argv starts it with the secrets for all to see")]
    Private(#[from] PrivateArgvError),
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

/// Plans a start. Nothing is executed but the program with `--help`, if its hypervisor asks for that.
///
/// # Errors
/// [`NotPlanned`] says why the guest would not get what is meant. A limit that is exceeded is none: see
/// [`Plan::exceeded`].
pub fn plan(request: Request) -> Result<Plan, NotPlanned> {
    let shown = ShownPath::from(request.program.as_path());
    let hypervisor = request.hypervisor.or_else(|| hypervisor::of_program(&request.program));
    let hypervisor = hypervisor.ok_or_else(|| NotPlanned::Unknown(shown.clone()))?;
    let directory = request.directory.map_or_else(source::directory, Ok)?;
    let credentials = source::read(&directory, &request.selection)?;
    let program = program::find(&request.program).ok_or(NotPlanned::NotFound(shown))?;
    let features = probe::features(hypervisor, &program);
    let plan = Plan::new(Order {
        hypervisor,
        program,
        argv0: request.argv0.unwrap_or_else(|| request.program.into_os_string()),
        arguments: request.arguments,
        features,
        credentials,
        allow_empty: request.selection.allow_empty,
        allow_argv: request.allow_argv,
    })?;
    if plan.carrier == Carrier::PrivateArgument {
        private_argv::check(&plan.program)?;
    }
    Ok(plan)
}

/// Executes what is planned in the place of this process. Returns only on failure.
///
/// # Errors
/// [`NotStarted`], if nothing was executed.
pub fn start(plan: Plan) -> Result<Infallible, NotStarted> {
    if let Some(usage) = plan.exceeded().next() {
        return Err(NotStarted::Exceeded(*usage));
    }
    let placeholder = plan.placeholder();
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
    Ok(execute(&program, argv0, arguments, &placeholder)?)
}
