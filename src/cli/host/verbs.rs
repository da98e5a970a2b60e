//! What the verbs of the host's program do.

use std::path::PathBuf;

use anyhow::Context as _;
use tracing::Level;

use super::args::{Host, Plan as PlanArgs, Run, Select, Target, Verb};
use super::emit as host_emit;
use crate::cli::agent::args::Json;
use crate::cli::exit::Exit;
use crate::cli::hygiene::Before;
use crate::cli::log::say;
use crate::cli::output;
use crate::format::credential::Credential;
use crate::host::hypervisor::Kind;
use crate::host::launch::private_argv::{self, PrivateArgvError};
use crate::host::launch::probe;
use crate::host::launch::{self, LaunchError};
use crate::host::plan::{Delivery, Order, Plan, PlanError};
use crate::host::report::{Report, count};
use crate::host::source::{self, SourceError};
use crate::text::escape::Escaped;

/// Does what was asked.
///
/// # Errors
/// Whatever could not be done, in words for people.
pub fn run(host: Host, before: &Before) -> anyhow::Result<Exit> {
    match host.verb {
        Verb::Run(run) => run_run(run, before),
        Verb::Plan(plan) => run_plan(plan),
        Verb::Emit(emit) => host_emit::run(&emit),
    }
}

/// Why nothing is started.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(
        "cannot tell which hypervisor {} is: give --hypervisor qemu, cloud-hypervisor or crosvm",
        Escaped::from(.0.as_path())
    )]
    Unknown(PathBuf),
    #[error("{0}; --allow-argv starts it with the secrets for all to see")]
    Private(#[from] PrivateArgvError),
    #[error("cannot find {}, or it may not be executed", Escaped::from(.0.as_path()))]
    NotFound(PathBuf),
}

/// Reads the credentials that are selected.
pub(super) fn read(select: &Select) -> Result<Vec<Credential>, SourceError> {
    let directory = select.credentials.clone().map_or_else(source::directory, Ok)?;
    source::read(&directory, &select.selection())
}

fn plan(target: Target) -> Result<Plan, Refusal> {
    let mut arguments = target.program.into_iter();
    let argv0 = arguments.next().unwrap_or_default();
    let program = PathBuf::from(&argv0);
    let kind = target.hypervisor.map(Kind::from).or_else(|| Kind::of_program(&program));
    let kind = kind.ok_or_else(|| Refusal::Unknown(program.clone()))?;
    // The host that lost its secrets is told so first.
    let credentials = read(&target.select)?;
    let program = launch::find(&program).ok_or(Refusal::NotFound(program))?;
    let plan = Plan::new(Order {
        kind,
        features: probe::features(kind, &program),
        program,
        argv0: target.argv0.unwrap_or(argv0),
        arguments: arguments.collect(),
        credentials,
        allow_empty: target.select.allow_empty,
        allow_argv: target.allow_argv,
    })?;
    if plan.delivery == Delivery::PrivateArgument {
        private_argv::check(&plan.program)?;
    }
    Ok(plan)
}

fn run_run(run: Run, before: &Before) -> anyhow::Result<Exit> {
    let plan = match plan(run.target) {
        Ok(plan) => plan,
        Err(refusal) => return Ok(refuse(&refusal, "nothing is started")),
    };
    for warning in &plan.warnings {
        say(Level::WARN, format_args!("{warning}"));
    }
    let mut exceeded = false;
    for usage in plan.exceeded() {
        say(Level::ERROR, format_args!("{usage}"));
        exceeded = true;
    }
    if exceeded {
        say(Level::ERROR, format_args!("{} is not started", plan.kind));
        return Ok(Exit::Verification);
    }
    let names: Vec<&str> = plan.strings.credentials().map(|(name, _, _)| name.as_str()).collect();
    let sent = count(names.len(), "credential");
    say(Level::INFO, format_args!("starts {} with {sent}: {}", plan.kind, names.join(", ")));
    let kind = plan.kind;
    before.restore();
    let Err(error) = launch::exec(plan);
    let hint = match error {
        LaunchError::Exec(_) if kind != Kind::Qemu => {
            "; --allow-argv starts it with the secrets for all to see"
        }
        _ => "",
    };
    Err(error).with_context(|| format!("{kind} is not started{hint}"))
}

/// Says why nothing is started, or written.
pub(super) fn refuse(refusal: &impl std::fmt::Display, outcome: &str) -> Exit {
    say(Level::ERROR, format_args!("{refusal}; {outcome}"));
    Exit::Verification
}

fn run_plan(arguments: PlanArgs) -> anyhow::Result<Exit> {
    let report = match plan(arguments.target) {
        Ok(plan) => Report::new(&plan),
        Err(refusal) => Report::refused(refusal.to_string()),
    };
    match arguments.json.json {
        Json::Off => output::people(&report.text())?,
        form => output::json(&report, form)?,
    }
    Ok(if report.starts { Exit::Ok } else { Exit::Verification })
}
