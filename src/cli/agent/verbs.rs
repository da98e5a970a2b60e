//! What the verbs of the guest agent do.

use std::io::IsTerminal as _;
use std::path::Path;

use tracing::Level;

use super::args::{Agent, Cat, Check, ConfidentialArg, From, Json, List, Newline, PolicyArgs, Record, Verb};
use super::import;
use crate::cli::exit::Exit;
use crate::cli::hygiene::Before;
use crate::cli::log::{self, say};
use crate::cli::output;
use crate::guest::place::{Sink, State};
use crate::guest::platform;
use crate::guest::platform::Refused;
use crate::guest::record::{redact, write as record};
use crate::guest::report::{last as state, listing as report};
use crate::guest::verify::delivery::Delivery;
use crate::guest::verify::finding::Severity;
use crate::guest::verify::set::{Policy, verify};
use crate::text::escape::Escaped;

/// Does what was asked.
///
/// # Errors
/// Whatever could not be done, in words for people.
pub fn run(agent: &Agent, before: &Before) -> anyhow::Result<Exit> {
    let root = &agent.root;
    match &agent.verb {
        Verb::List(list) => run_list(root, list),
        Verb::Check(check) => run_check(root, check),
        Verb::Import(import) => import::run_import(root, import),
        Verb::Exec(exec) => import::run_exec(root, exec, before),
        Verb::Cat(cat) => run_cat(root, cat),
        Verb::Record(record) => run_record(root, record),
    }
}

pub(super) fn load(root: &Path, from: &From, policy: &Policy) -> anyhow::Result<Delivery> {
    let table = from.source(root).read()?.parse();
    Ok(verify(&table, policy))
}

/// Refuses where the running system's table must not be believed. A recording speaks for itself.
pub(super) fn refuse(root: &Path, from: &From, policy: &PolicyArgs) -> Result<(), Refused> {
    if from.from.is_some() || policy.confidential == ConfidentialArg::Allow {
        return Ok(());
    }
    platform::detect(root).map_or(Ok(()), |platform| Err(Refused(platform)))
}

pub(super) fn exit(delivery: &Delivery) -> Exit {
    if !delivery.passed() {
        Exit::Verification
    } else if delivery.has_oem_strings {
        Exit::Ok
    } else {
        Exit::NoSource
    }
}

fn run_list(root: &Path, list: &List) -> anyhow::Result<Exit> {
    let delivery = load(root, &list.from, &Policy::default())?;
    log::findings(&delivery);
    if list.from.from.is_none()
        && !matches!(list.into.into, Sink::Path(_))
        && let Some(last) = state::read(root)
    {
        let (version, summary) = (Escaped(last.version.as_bytes()), Escaped(last.summary.as_bytes()));
        say(Level::INFO, format_args!("the last import (version {version}): {summary}"));
    }
    let states = list.into.into.states(root, &delivery);
    let rows = report::rows(&delivery, states.into_iter().map(State::as_str));
    match list.json.json {
        Json::Off => output::people(&report::table(&rows, !list.no_legend))?,
        form => output::json(&rows, form)?,
    }
    Ok(exit(&delivery))
}

fn run_check(root: &Path, check: &Check) -> anyhow::Result<Exit> {
    refuse(root, &check.from, &check.policy)?;
    let delivery = load(root, &check.from, &check.policy.policy())?;
    match check.json.json {
        Json::Off => output::people(&report::verdict(&delivery))?,
        form => output::json(&report::Verdict::new(&delivery), form)?,
    }
    Ok(exit(&delivery))
}

fn run_cat(root: &Path, cat: &Cat) -> anyhow::Result<Exit> {
    let policy = Policy { require: cat.names.clone(), allow_empty: cat.names.clone(), ..Policy::default() };
    let delivery = load(root, &cat.from, &policy)?;
    let wanted = |name: Option<&str>| cat.names.iter().any(|wanted| name == Some(wanted.as_str()));
    for finding in &delivery.findings {
        if finding.severity == Severity::Error
            && (finding.credential.is_none() || wanted(finding.credential.as_deref()))
        {
            say(Level::ERROR, format_args!("{finding}: {}", finding.advice()));
        }
    }
    let mut exit = Exit::Ok;
    for name in &cat.names {
        let Some(credential) = delivery.intact().find(|credential| credential.name == *name) else {
            say(Level::ERROR, format_args!("credential {name}: not printed"));
            exit = Exit::Verification;
            continue;
        };
        let value = credential.value.expose();
        output::secret(value)?;
        let newline = match cat.newline {
            Newline::Auto => std::io::stdout().is_terminal() && !value.ends_with(b"\n"),
            Newline::Yes => true,
            Newline::No => false,
        };
        if newline {
            output::text("\n")?;
        }
    }
    Ok(exit)
}

fn run_record(root: &Path, options: &Record) -> anyhow::Result<Exit> {
    let raw = options.from.source(root).read()?;
    let shown = Escaped::from(options.folder.as_path());
    if options.with_secrets {
        record::write(&options.folder, &raw.entry_point, &raw.data, true)?;
        say(Level::WARN, format_args!("recorded to {shown} with every value in plain text"));
    } else {
        let entry_point = raw.entry_point.clone();
        let table = raw.parse();
        let proven = verify(&table, &Policy::default()).proven;
        record::write(&options.folder, &entry_point, &redact::redact(&table, proven), false)?;
        say(
            Level::INFO,
            format_args!("recorded to {shown}, with filler in place of values, serial numbers and the UUID"),
        );
    }
    Ok(Exit::Ok)
}
