//! The subcommand `import`.

use super::args::Import;
use super::closed;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::guest::import::{Request, import, receive};
use crate::guest::imported::{Closing, Ended, Imported};
use crate::guest::place::outcome::State;
use crate::guest::place::sealed;
use crate::guest::report::listing::{Legend, rows, summary, table};
use crate::guest::system::System;
use crate::guest::trust;
use crate::guest::verify::delivery::Delivery;
use crate::text::help::Help as _;

/// Part of a message: why an import that finds nothing to import is not a failure.
const NOTHING_REQUIRED: &str = "no credential is required, so this is not an error";

/// Help text: how to make an import without credentials fail.
const HELP_REQUIRE: &str = "if the host sends credentials, list them in --require";

pub(super) fn run(system: &System, options: &Import) -> anyhow::Result<Exit> {
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    super::filter::set();
    let request = options.request();
    if options.dry_run.dry_run {
        let delivery = match receive(system, &request) {
            Err(error) if error.is_closed() => return closed::dry_run(system, &request),
            received => received?,
        };
        tracing::info!("dry run: {}; nothing was written", summary(&delivery));
        return show(system, &request, &delivery);
    }
    let allows_none =
        || options.allow_none.allow_none && !request.policy.has_conditions() && !trust::has_keys(system);
    let Imported { delivery, placed, closing } = match import(system, &request) {
        Err(error) if error.is_closed() => return closed::import(system, &request),
        Err(absence) if absence.is_without_source() && allows_none() => {
            let help = absence.help().map_or(HELP_REQUIRE.into(), |help| format!("{help}; {HELP_REQUIRE}"));
            tracing::warn!(help, "{absence}; {NOTHING_REQUIRED}");
            return Ok(Exit::Ok);
        }
        imported => imported?,
    };
    if let Closing::LeftOpen(why) = &closing {
        tracing::info!("{why}");
    }
    match placed {
        Ok(placed) => {
            // The import has just written or compared the files, so they need not be read again.
            let states = delivery.entries.iter().map(|entry| match entry.intact() {
                Ok(credential) => placed.place.placed(system, credential),
                Err(refusal) => State::Refused(refusal),
            });
            let states = states.chain(sealed::states(system, &request.into, &delivery));
            let table = table(&rows(&delivery, states), Legend::Shown);
            if let Err(error) = output::people(&table) {
                tracing::warn!("{error:#}: the import is complete, but its list cannot be shown");
            }
            if let Closing::Failed(error) = closing {
                return Err(
                    anyhow::Error::from(error).context("the import is complete, but the table is not closed")
                );
            }
            Ok(match Ended::from(delivery.verdict()) {
                Ended::NothingSent if allows_none() => {
                    tracing::info!(help = HELP_REQUIRE, "the host sent no credentials; {NOTHING_REQUIRED}");
                    Exit::Ok
                }
                ended => ended.into(),
            })
        }
        Err(refused) if refused.is_refusal() => {
            tracing::error!("{refused}");
            show(system, &request, &delivery)
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints the credentials that arrived, each with the state of its file in the directory that the options select.
/// Called if the import wrote nothing: for a dry run, and if the import was refused.
fn show(system: &System, request: &Request, delivery: &Delivery) -> anyhow::Result<Exit> {
    let mut states = request.into.choose(system).place.states(system, delivery);
    states.extend(sealed::states(system, &request.into, delivery));
    output::people(&table(&rows(delivery, states), Legend::Shown))?;
    Ok(Ended::from(delivery.verdict()).into())
}
