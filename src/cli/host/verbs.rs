//! Runs the subcommands of `smbios-creds-host`.

use std::path::Path;

use anyhow::Context as _;

use super::args::{Host, OnDefineDomain, Plan as PlanArgs, Run, Verb};
use super::{await_receipt, emit, failure, pack, receipt};
use crate::cli::exit::Exit;
use crate::cli::hygiene::Before;
use crate::cli::json::Json;
use crate::cli::output;
use crate::format::credential::Name;
use crate::host::capacity::Usage;
use crate::host::domain;
use crate::host::kubevirt;
use crate::host::launch::private_argv::Ahead;
use crate::host::plan::Plan;
use crate::host::report::PlanReport;
use crate::host::source::Selection;
use crate::host::start::{NotPlanned, Probe, Request, ahead, plan, probe, start};
use crate::host::supply::Supply;
use crate::text::help::{Help as _, Message};
use crate::text::listing::{count, listed};

/// End of the log message if this program refuses to start a hypervisor.
const NOTHING_STARTED: &str = "nothing is started";

/// Runs the selected subcommand.
///
/// # Errors
/// Returns a message that says what failed.
pub fn run(host: Host, before: &Before) -> anyhow::Result<Exit> {
    match host.verb {
        Verb::Run(run) => run_run(run, before),
        Verb::Plan(plan) => run_plan(plan),
        Verb::Emit(emit) => emit::run(&emit),
        Verb::Pack(pack) => pack::run(&pack),
        Verb::Await(options) => await_receipt::run(options),
        Verb::OnDefineDomain(hook) => on_define_domain(&hook),
    }
}

fn on_define_domain(hook: &OnDefineDomain) -> anyhow::Result<Exit> {
    match kubevirt::on_define_domain(&hook.vmi, &hook.domain) {
        Ok(domain) => output::text(&domain).map(|()| Exit::Ok),
        Err(error) => {
            failure::refuse(&error, "the machine does not start");
            Ok(Exit::Verification)
        }
    }
}

fn run_run(run: Run, before: &Before) -> anyhow::Result<Exit> {
    let verifier = run.target.ask.verifier.clone();
    let request = run.target.request();
    let ahead = ahead(&request);
    execute(decide(request), ahead, verifier.as_deref(), before)
}

/// Starts QEMU for a libvirt domain, with the credentials in the domain's directory.
pub(super) fn run_emulator(mut request: Request, before: &Before) -> anyhow::Result<Exit> {
    let decision = match probe(&request) {
        Ok(Some(probe)) => Ok(Decision::Probe(probe)),
        Ok(None) => match domain::directory(&request.arguments) {
            Ok(directory) => {
                let selection = Selection::all();
                request.supply = Supply::Directory { directory: Some(directory), selection };
                plan(request).map(|plan| Decision::Plan(Box::new(plan)))
            }
            Err(error) => {
                failure::refuse(&error, NOTHING_STARTED);
                return Ok(Exit::Verification);
            }
        },
        Err(error) => Err(error),
    };
    execute(decision, None, None, before)
}

fn execute(
    decision: Result<Decision, NotPlanned>,
    ahead: Option<Ahead>,
    verifier: Option<&Path>,
    before: &Before,
) -> anyhow::Result<Exit> {
    let plan = match decision {
        Ok(Decision::Plan(plan)) => plan,
        Ok(Decision::Probe(probe)) => {
            drop(ahead);
            return run_probe(probe, before);
        }
        Err(error) => {
            failure::refuse(&error, NOTHING_STARTED);
            return Ok(Exit::Verification);
        }
    };
    for warning in &plan.warnings {
        tracing::warn!(help = %warning.help().unwrap_or_default(), "{warning}");
    }
    let name = plan.hypervisor.name();
    if is_exceeded(&plan) {
        tracing::error!("{name} is not started");
        return Ok(Exit::Verification);
    }
    let names: Vec<&Name> = plan.strings.credentials().map(|(name, _, _)| name).collect();
    let encrypted: Vec<&Name> = plan.strings.encrypted().map(|(name, ..)| name).collect();
    let also =
        if encrypted.is_empty() { String::new() } else { format!("; encrypted: {}", listed(&encrypted)) };
    tracing::info!("starts {name} with {}: {}{also}", count(names.len(), "credential"), listed(&names));
    receipt::write_verifier(verifier, &plan.strings).with_context(|| format!("{name} is not started"))?;
    before.restore();
    let carrier = plan.carrier;
    let Err(error) = start(*plan, ahead);
    let message = Message::new(format!("{name} is not started"));
    let message = match error.help(carrier) {
        Some(help) => message.with_help(help),
        None => message,
    };
    Err(error).context(message)
}

/// How to start the hypervisor: without credentials if its arguments start no guest (such as `-version`), otherwise
/// with the planned credentials.
enum Decision {
    Probe(Probe),
    Plan(Box<Plan>),
}

fn decide(request: Request) -> Result<Decision, NotPlanned> {
    Ok(match probe(&request)? {
        Some(probe) => Decision::Probe(probe),
        None => Decision::Plan(Box::new(plan(request)?)),
    })
}

fn run_probe(probe: Probe, before: &Before) -> anyhow::Result<Exit> {
    let name = probe.hypervisor.name();
    tracing::info!("starts {name} unchanged, without credentials: these arguments start no guest");
    before.restore();
    let Err(error) = probe.start();
    Err(error).with_context(|| format!("{name} is not started"))
}

/// Whether the set exceeds a limit above which the hypervisor is not started. Logs each of these exceeded limits.
fn is_exceeded(plan: &Plan) -> bool {
    let tell = |usage: &&Usage| tracing::error!(help = usage.limit.advice, "{usage}");
    plan.exceeded().inspect(tell).count() > 0
}

fn run_plan(arguments: PlanArgs) -> anyhow::Result<Exit> {
    let report = match decide(arguments.target.request()) {
        Ok(Decision::Plan(plan)) => PlanReport::new(&plan),
        Ok(Decision::Probe(probe)) => PlanReport::probe(probe.hypervisor.name()),
        Err(error) => PlanReport::refused(Message::from(&error)),
    };
    match arguments.json.json {
        Json::Off => output::people(&report.text())?,
        form => output::json(&report, form)?,
    }
    Ok(if report.starts { Exit::Ok } else { Exit::Verification })
}
