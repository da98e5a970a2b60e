//! Runs the subcommands of the guest agent.

use std::io::IsTerminal as _;

use super::args::{Agent, Cat, Check, List, Newline, Record, Verb};
use super::console::Console;
use super::{closed, exec, import};
use crate::cli::exit::Exit;
use crate::cli::hygiene::Before;
use crate::cli::json::Json;
use crate::cli::output;
use crate::format::credential::Name;
use crate::format::smbios::machine::Machine;
use crate::guest::import::load;
use crate::guest::imported::Ended;
use crate::guest::place::Place;
use crate::guest::place::choose::Into;
use crate::guest::place::outcome::State;
use crate::guest::place::{opened, sealed};
use crate::guest::record::recording::Recording;
use crate::guest::record::write::{self, Secrets};
use crate::guest::report::map::map;
use crate::guest::report::way::Way;
use crate::guest::report::{last, listing, log};
use crate::guest::source::Input;
use crate::guest::source::dmi::Raw;
use crate::guest::system::System;
use crate::guest::verify::delivery::Delivery;
use crate::guest::verify::finding::Severity;
use crate::guest::verify::policy::{Confidential, Policy};
use crate::text::escape::Escaped;

/// Runs the selected subcommand.
///
/// The functions of the subcommands that no boot waits for are not inlined, so that the code of an import is on fewer
/// pages, which the kernel must map and lock. For the same reason, some other functions that usual imports do not run
/// are marked `#[inline(never)]`.
///
/// # Errors
/// Returns a message that says what failed.
pub fn run(agent: &Agent, before: &Before, console: &Console) -> anyhow::Result<Exit> {
    let system = &System::at(&agent.root.root);
    match &agent.verb {
        Verb::List(list) => run_list(system, list),
        Verb::Check(check) => run_check(system, check),
        Verb::Import(import) => import::run(system, import),
        Verb::Exec(exec) => exec::run(system, exec, before, console),
        Verb::Cat(cat) => run_cat(system, cat),
        Verb::Record(record) => run_record(system, record),
    }
}

fn exit(delivery: &Delivery) -> Exit {
    Ended::from(delivery.verdict()).into()
}

#[inline(never)]
fn run_list(system: &System, list: &List) -> anyhow::Result<Exit> {
    // `list` prints no values, so it is allowed in confidential VMs and containers too.
    let policy = Policy { confidential: Confidential::Allow, trust: list.trust.trust(), ..Policy::default() };
    let mut delivery = match load(system, list.from.from.as_deref(), &policy) {
        Err(error) if error.is_closed() && list.from.from.is_none() => return closed::list(system, list),
        loaded => loaded?,
    };
    let into = &list.into;
    let choice = into.choose(system);
    // A recording may be from another machine. So `list` compares it with a directory of this system only if the
    // command line names the directory.
    if list.from.from.is_none() || *into != Into::Auto {
        delivery.findings.append(choice.findings(system, &delivery));
        delivery.findings.append(sealed::findings(system, into, &delivery));
    }
    log::findings(&delivery);
    if list.from.from.is_none()
        && !matches!(into, Into::At(Place::Directory(_)))
        && let Some(last) = last::read(system)
    {
        let (version, summary) = (Escaped(last.version.as_bytes()), Escaped(last.summary.as_bytes()));
        tracing::info!("the last import (version {version}): {summary}");
    }
    if delivery.machine != Machine::default() {
        tracing::info!("the machine is {}", delivery.machine);
    }
    if delivery.requires_signature {
        tracing::info!("{}", listing::summary(&delivery));
    }
    // A recording is compared with a directory of this system only if the command line names the directory.
    let states: Vec<State> = if let (Some(_), Into::Auto) = (&list.from.from, into) {
        listing::states(&delivery, State::Intact).collect()
    } else {
        states(system, into, &choice.place, &delivery)
    };
    let rows = listing::rows(&delivery, states);
    match list.json.json {
        Json::Off => output::people(&listing::table(&rows, list.legend()))?,
        form => output::json(&rows, form)?,
    }
    Ok(exit(&delivery))
}

#[inline(never)]
fn run_check(system: &System, check: &Check) -> anyhow::Result<Exit> {
    let policy = Policy { about: check.name.clone(), ..check.policy.policy() };
    let mut delivery = match load(system, check.from.from.as_deref(), &policy) {
        Err(error) if error.is_closed() && check.from.from.is_none() => {
            return closed::check(system, check, &policy);
        }
        loaded => loaded?,
    };
    // A recording may be from another machine, so `check` does not compare the recording with this system.
    if check.from.from.is_none() {
        delivery.findings.append(Into::Auto.choose(system).findings(system, &delivery));
        delivery.findings.append(sealed::findings(system, &Into::Auto, &delivery));
        delivery.findings.append(opened::findings(system, &delivery));
    }
    if let Some(name) = &check.name {
        return show_way(system, check, name, &delivery);
    }
    if check.map {
        draw(check.from.input(system), &delivery)?;
    }
    match check.json.json {
        Json::Off if check.quiet => {}
        Json::Off => output::people(&listing::verdict(&delivery))?,
        form => output::json(&listing::Judged::new(&delivery), form)?,
    }
    Ok(exit(&delivery))
}

/// Shows how one credential got from the table to its directory, and which units ask for it. If this credential did not
/// arrive intact, returns the exit code of a failed verification. Otherwise returns the exit code for the whole set.
fn show_way(system: &System, check: &Check, name: &Name, delivery: &Delivery) -> anyhow::Result<Exit> {
    let running = check.from.from.is_none().then_some(system);
    let states = match running {
        Some(system) => states(system, &Into::Auto, &Into::Auto.choose(system).place, delivery),
        None => listing::states(delivery, State::Intact).collect(),
    };
    let way = Way::look(running, name, delivery, states);
    match check.json.json {
        Json::Off => output::people(&way.text())?,
        form => output::json(&way, form)?,
    }
    Ok(if way.is_whole() { exit(delivery) } else { Exit::Verification })
}

/// Returns the state of each credential in `delivery`, which contains the credentials that arrived. The state says, for
/// example, whether the directory contains the credential's file, and whether the file has the right content.
fn states(system: &System, into: &Into, place: &Place, delivery: &Delivery) -> Vec<State> {
    let mut states = place.states(system, delivery);
    states.extend(sealed::states(system, into, delivery));
    states
}

/// Prints a map of the table and of the `fw_cfg` items from which the credentials in `delivery` were read. The table
/// and the items are read again, because `delivery` does not contain their bytes.
fn draw(input: Input<'_>, delivery: &Delivery) -> anyhow::Result<()> {
    let Recording { table, items } = Recording::read(input)?;
    let table = table.map(Raw::parse);
    output::people(&map(table.as_ref(), &items, delivery))?;
    output::text("\n")
}

#[inline(never)]
fn run_cat(system: &System, cat: &Cat) -> anyhow::Result<Exit> {
    let (require, allow_empty) = (cat.names.clone(), cat.allow_empty.allow_empty.clone());
    let (confidential, trust) = (cat.confidential.confidential, cat.trust.trust());
    let policy = Policy { require, allow_empty, confidential, trust, ..Policy::default() };
    let delivery = load(system, cat.from.from.as_deref(), &policy)?;
    for finding in &delivery.findings {
        if finding.severity == Severity::Error
            && finding.credential.as_ref().is_none_or(|name| cat.names.contains(name))
        {
            tracing::error!(help = %finding.advice(&delivery.machine), "{finding}");
        }
    }
    let mut exit = Exit::Ok;
    for name in &cat.names {
        let Some(credential) = delivery.intact().find(|credential| credential.name == *name) else {
            if delivery.intact_sealed().any(|sealed| sealed.name == *name) {
                tracing::error!(
                    help = %format_args!(
                        "print it with 'systemd-creds decrypt --name={name} /run/credstore.encrypted/{name} -'"
                    ),
                    "credential {name}: it is encrypted, and only systemd can decrypt it"
                );
            }
            tracing::error!("credential {name}: not printed");
            exit = Exit::Verification;
            continue;
        };
        match cat.transcode.of(credential.value.expose()) {
            Ok(value) => print_value(&value, cat.newline)?,
            Err(reason) => {
                tracing::error!("credential {name}: not printed, because it cannot be decoded: {reason}");
                exit = Exit::Verification;
            }
        }
    }
    Ok(exit)
}

fn print_value(value: &[u8], newline: Newline) -> anyhow::Result<()> {
    output::secret(value)?;
    let is_ended = match newline {
        Newline::Auto => !std::io::stdout().is_terminal() || value.ends_with(b"\n"),
        Newline::Yes => false,
        Newline::No => true,
    };
    if is_ended { Ok(()) } else { output::text("\n") }
}

#[inline(never)]
fn run_record(system: &System, options: &Record) -> anyhow::Result<Exit> {
    let recording = Recording::read(options.from.input(system))?;
    let shown = Escaped::from(options.folder.as_path());
    if options.with_secrets {
        write::write(&options.folder, &recording, Secrets::Kept)?;
        tracing::warn!("recorded to {shown} with every value in plain text");
    } else {
        write::write(&options.folder, &recording.redacted(), Secrets::Redacted)?;
        tracing::info!("recorded to {shown}, with filler instead of values and personal data");
    }
    Ok(Exit::Ok)
}
