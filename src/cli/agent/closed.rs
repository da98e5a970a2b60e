//! The output of the subcommands if the table is closed (unreadable), for example by an earlier `import --close`. In
//! this case, the subcommands show what the last import reported, and the present state of the files that this import
//! wrote.

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

/// Help text: how to make the closed table readable again.
const HELP_OPEN: &str = "to make the table readable again, run 'chmod 400 /sys/firmware/dmi/tables/DMI' as root; \
                         smbios-creds(1) lists the other files";

/// Returns exit code 0 if everything that the last import wrote is in its directory and the policy is met, otherwise 1.
/// While the table is closed, the program does not know what was sent, so the other exit codes do not apply.
fn exit(remembered: &Remembered) -> Exit {
    if remembered.is_whole() { Exit::Ok } else { Exit::Failure }
}

/// Logs the summary of the last import, the problems, and what cannot be compared while the table is closed.
fn tell(remembered: &Remembered) {
    tracing::info!("{}", remembered.summary());
    for problem in remembered.problems() {
        tracing::error!(help = %problem.help().unwrap_or_default(), "{problem}");
    }
    tracing::info!(help = HELP_OPEN, "{}", remembered.limits());
}

#[inline(never)]
pub(super) fn import(system: &System, request: &Request) -> anyhow::Result<Exit> {
    let remembered = import_again(system, request)?;
    tell(&remembered);
    if let Err(error) = output::people(&table(&remembered.rows(), Legend::Shown)) {
        tracing::warn!("{error:#}: the import is complete, but its list cannot be shown");
    }
    Ok(exit(&remembered))
}

#[inline(never)]
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
