//! The output of the subcommands if the sources are closed: the content of the last report, and the state of the place.

use super::args::{Check, List};
use crate::cli::exit::Exit;
use crate::cli::json::Json;
use crate::cli::output;
use crate::guest::import::{Request, import_again};
use crate::guest::place::choose::Into;
use crate::guest::report::listing::{Legend, table};
use crate::guest::report::remembered::Remembered;
use crate::guest::system::System;
use crate::guest::verify::policy::Policy;
use crate::text::help::Help as _;

/// How to read again what was sent.
const HELP_OPEN: &str = "to make the table readable again, run 'chmod 400 /sys/firmware/dmi/tables/DMI' as root; \
                         smbios-creds(1) lists the other files";

/// Success means that everything that was imported is in its place. The program does not know what was sent, so the
/// other exit codes do not apply.
fn exit(remembered: &Remembered) -> Exit {
    if remembered.is_whole() { Exit::Ok } else { Exit::Failure }
}

/// Logs the result.
fn tell(remembered: &Remembered) {
    tracing::info!("{}", remembered.summary());
    for problem in remembered.problems() {
        tracing::error!(help = %problem.help().unwrap_or_default(), "{problem}");
    }
    tracing::info!(help = HELP_OPEN, "{}", remembered.limits());
}

pub(super) fn import(system: &System, request: &Request) -> anyhow::Result<Exit> {
    let remembered = import_again(system, request)?;
    tell(&remembered);
    if let Err(error) = output::people(&table(&remembered.rows(), Legend::Shown)) {
        tracing::warn!("{error:#}: the import is complete, but its list cannot be shown");
    }
    Ok(exit(&remembered))
}

pub(super) fn dry_run(system: &System, request: &Request) -> anyhow::Result<Exit> {
    let remembered = Remembered::look(system, &request.into, &request.policy);
    tell(&remembered);
    output::people(&table(&remembered.rows(), Legend::Shown))?;
    Ok(exit(&remembered))
}

pub(super) fn list(system: &System, list: &List) -> anyhow::Result<Exit> {
    let policy = Policy { trust: list.trust.trust(), ..Policy::default() };
    let remembered = Remembered::look(system, &list.into, &policy);
    tell(&remembered);
    let rows = remembered.rows();
    match list.json.json {
        Json::Off => output::people(&table(&rows, list.legend()))?,
        form => output::json(&rows, form)?,
    }
    Ok(exit(&remembered))
}

pub(super) fn check(system: &System, check: &Check, policy: &Policy) -> anyhow::Result<Exit> {
    let require = policy.require.iter().chain(&policy.about).cloned().collect();
    let remembered = Remembered::look(system, &Into::Auto, &Policy { require, ..policy.clone() });
    match check.json.json {
        Json::Off if check.quiet => {}
        Json::Off => {
            let mut text = remembered.verdict();
            text.push("help: ", None);
            text.push(HELP_OPEN, None);
            text.push("\n", None);
            output::people(&text)?;
        }
        form => output::json(&remembered.judged(), form)?,
    }
    Ok(exit(&remembered))
}
