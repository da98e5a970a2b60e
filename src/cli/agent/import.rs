//! `import` and `exec`: verify, choose a sink, materialize, and leave a report.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::execvpe;
use tracing::Level;

use super::args::{Exec, Import, ImportOptions, Json, ManifestArg};
use super::init;
use super::verbs::{exit, load, refuse};
use crate::cli::exit::Exit;
use crate::cli::hygiene::Before;
use crate::cli::log::{self, say};
use crate::cli::output;
use crate::format::credential::{Credential, Name};
use crate::guest::place::choose::{Handover, REPORT};
use crate::guest::place::{self as sink, Mended, Outcome, Sink, State, Storage};
use crate::guest::report::last::{self as state, Report};
use crate::guest::report::listing as report;
use crate::guest::verify::delivery::Delivery;
use crate::text::escape::Escaped;

pub(super) fn run_import(root: &Path, import: &Import) -> anyhow::Result<Exit> {
    let options = &import.options;
    if import.dry_run {
        let delivery = verified(root, options)?;
        say(Level::INFO, format_args!("dry run: {}; nothing is materialized", report::summary(&delivery)));
        return show(root, options, &delivery, false);
    }
    let (delivery, placed) = materialize(root, options)?;
    show(root, options, &delivery, placed.is_some())
}

fn verified(root: &Path, options: &ImportOptions) -> anyhow::Result<Delivery> {
    refuse(root, &options.from, &options.policy)?;
    let delivery = load(root, &options.from, &options.policy.policy())?;
    log::findings(&delivery);
    Ok(delivery)
}

fn show(root: &Path, options: &ImportOptions, delivery: &Delivery, imported: bool) -> anyhow::Result<Exit> {
    let states = if imported {
        // As it was just written or compared, it need not be read again.
        delivery.entries.iter().map(|entry| entry.refusal.map_or(State::Imported, State::Refused)).collect()
    } else {
        options.into.into.states(root, delivery)
    };
    let rows = report::rows(delivery, states.into_iter().map(State::as_str));
    output::people(&report::table(&rows, true))?;
    Ok(exit(delivery))
}

/// Where a set is now.
struct Placed {
    folder: PathBuf,
    reason: &'static str,
    handover: Handover,
    summary: String,
    mended: Vec<Mended>,
    unchanged: bool,
}

/// Verifies, puts what is intact in place, and reports. Nothing is placed if `--strict` forbids it.
fn materialize(root: &Path, options: &ImportOptions) -> anyhow::Result<(Delivery, Option<Placed>)> {
    let attempt = || {
        let delivery = verified(root, options)?;
        let placed = place(root, options, &delivery);
        Ok((delivery, placed))
    };
    let result: anyhow::Result<(Delivery, anyhow::Result<Option<Placed>>)> = attempt();
    // What goes to a folder of somebody's own is nothing that happened to this machine.
    if !matches!(options.into.into, Sink::Path(_)) {
        leave_report(root, &result);
    }
    let (delivery, placed) = result?;
    Ok((delivery, placed?))
}

fn place(root: &Path, options: &ImportOptions, delivery: &Delivery) -> anyhow::Result<Option<Placed>> {
    if options.policy.strict && !delivery.passed() {
        say(Level::ERROR, format_args!("{STRICT}"));
        return Ok(None);
    }
    let set: Vec<&Credential> = delivery.intact().collect();
    let choice = options.into.into.resolve(root);
    let folder = choice.sink.folder(root);
    let shown = Escaped::from(folder.as_path());
    if options.into.into == Sink::Auto {
        say(Level::INFO, format_args!("credentials go to {shown}: {}", choice.reason));
    }
    let mut unchanged = false;
    let mut repaired = vec![];
    let summary = match choice.sink.import(root, &set)? {
        Outcome::Unchanged => {
            unchanged = true;
            if set.is_empty() {
                "there is no credential to materialize".to_owned()
            } else {
                format!("nothing to do: {shown} holds every credential already")
            }
        }
        Outcome::Materialized(storage) => {
            let warning = match storage {
                Storage::Memory => None,
                Storage::Swappable => {
                    Some("can be swapped: this kernel has neither tmpfs with 'noswap' nor ramfs")
                }
                Storage::Disk => {
                    Some("is on a disk: the values stay there in plain text until they are removed")
                }
            };
            if let Some(warning) = warning {
                say(Level::WARN, format_args!("{shown} {warning}"));
            }
            format!("materialized in {shown}: {}", report::summary(delivery))
        }
        Outcome::Repaired { mended, foreign } => {
            for mended in &mended {
                say(Level::WARN, format_args!("repaired credential {mended}"));
            }
            for name in &foreign {
                let message = format_args!(
                    "credential {name}: {shown} has another value, which SMBIOS did not bring (fw_cfg, most likely), \
                     and it was left alone: send it once"
                );
                say(Level::ERROR, message);
            }
            if !foreign.is_empty() {
                bail!("{} of {} credentials are not the ones that were sent", foreign.len(), set.len());
            }
            repaired = mended;
            format!("repaired in {shown}: {} of {} credentials", repaired.len(), set.len())
        }
    };
    say(Level::INFO, format_args!("{summary}"));
    match choice.handover {
        Handover::Everything => {
            Sink::Initrd.import(root, &set)?;
        }
        Handover::Done { report } => {
            let removed = sink::remove_duplicates(root, &set, report)?;
            if removed > 0 {
                let message = "that systemd did not take over were removed from /run/credentials/@initrd";
                say(Level::INFO, format_args!("{removed} duplicates {message}"));
            }
        }
        Handover::Nothing | Handover::Report => {}
    }
    let (reason, handover) = (choice.reason, choice.handover);
    Ok(Some(Placed { folder, reason, handover, summary, mended: repaired, unchanged }))
}

const STRICT: &str = "verification failed and --strict is given: nothing is materialized";

/// Writes down what an import did, and hands that over to the host stage. Nothing here can fail an import.
fn leave_report(root: &Path, result: &anyhow::Result<(Delivery, anyhow::Result<Option<Placed>>)>) {
    let (delivery, placed, failure) = match result {
        Ok((delivery, Ok(placed))) => (Some(delivery), placed.as_ref(), None),
        Ok((delivery, Err(error))) => (Some(delivery), None, Some(error)),
        Err(error) => (None, None, Some(error)),
    };
    let exit = failure.map_or_else(|| delivery.map_or(Exit::Ok, exit), Exit::of);
    let handed_over = Sink::Initrd.folder(root).join(REPORT);
    let no_handover = placed.is_none_or(|placed| {
        matches!(placed.handover, Handover::Nothing | Handover::Done { .. })
            || delivery.is_none_or(|delivery| delivery.intact().next().is_none())
    });
    // A run that found everything in place tells nothing new, and writes nothing.
    if exit == Exit::Ok
        && placed.is_some_and(|placed| placed.unchanged)
        && state::exists(root)
        && (no_handover || handed_over.exists())
    {
        return;
    }
    let summary = match (placed, failure) {
        (Some(placed), _) => placed.summary.clone(),
        (None, Some(error)) => format!("{error:#}"),
        (None, None) => STRICT.to_owned(),
    };
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        summary,
        exit: exit as u8,
        folder: placed.map(|placed| Escaped::from(placed.folder.as_path()).to_string()),
        reason: placed.map(|placed| placed.reason),
        repaired: placed.map(|placed| placed.mended.clone()).unwrap_or_default(),
        delivery: delivery.map(report::Verdict::new),
    };
    let written = output::to_json(&report, Json::Short).and_then(|json| {
        state::write(root, &json)?;
        let name = Name::new(REPORT)?;
        let taken = delivery.is_some_and(|delivery| delivery.intact().any(|sent| sent.name == name));
        if !no_handover && !taken {
            Sink::Initrd.import(root, &[&Credential::new(name, json)])?;
        }
        Ok(())
    });
    if let Err(error) = written {
        // Who may not import may not report either, and has been told.
        let level = if failure.is_some() { Level::DEBUG } else { Level::WARN };
        say(level, format_args!("no report is left: {error:#}"));
    }
}

pub(super) fn run_exec(root: &Path, exec: &Exec, before: &Before) -> anyhow::Result<Exit> {
    let options = &exec.options;
    if init::is_pid_1()
        && let Err(error) = init::mount_file_systems(root)
    {
        say(Level::ERROR, format_args!("{error:#}"));
    }
    // To give up is a kernel panic for PID 1: only a condition that was named is worth that.
    let conditional = options.policy.strict
        || !options.policy.require.is_empty()
        || options.policy.manifest == ManifestArg::Require;
    let start_anyway = init::is_pid_1() && !conditional;
    let folder = match prepare(root, options) {
        Ok(Ok(folder)) => folder,
        Ok(Err(_)) if start_anyway => None,
        Ok(Err(exit)) => {
            say(Level::ERROR, format_args!("the program is not started"));
            return Ok(exit);
        }
        Err(error) if start_anyway => {
            say(Level::ERROR, format_args!("{error:#}"));
            None
        }
        Err(error) => return Err(error.context("the program is not started")),
    };
    let arguments = exec.program.iter().map(|argument| CString::new(argument.as_bytes()));
    let arguments: Vec<CString> =
        arguments.collect::<Result<_, _>>().context("an argument holds a NUL byte")?;
    let environment = environment(folder)?;
    before.restore();
    let Some(program) = arguments.first() else { return Ok(Exit::Usage) };
    let Err(error) = execvpe(program, &arguments, &environment);
    bail!("cannot execute {}: {}", Escaped(program.as_bytes()), error.desc())
}

/// Imports for a program. Returns the folder to name to it, if there is anything in it, or how to end without
/// starting it.
fn prepare(root: &Path, options: &ImportOptions) -> anyhow::Result<Result<Option<PathBuf>, Exit>> {
    let (delivery, placed) = materialize(root, options)?;
    let Some(placed) = placed.filter(|_| !unmet(options, &delivery)) else {
        return Ok(Err(Exit::Verification));
    };
    let any = delivery.intact().next().is_some();
    let folder = any.then(|| std::path::absolute(placed.folder));
    Ok(Ok(folder.transpose().context("cannot tell the current folder")?))
}

/// Our environment, with `$CREDENTIALS_DIRECTORY` for this folder, or without it.
fn environment(folder: Option<PathBuf>) -> anyhow::Result<Vec<CString>> {
    const VARIABLE: &str = "CREDENTIALS_DIRECTORY";
    let inherited = std::env::vars_os().filter(|(name, _)| name != VARIABLE);
    let ours = folder.map(|folder| (VARIABLE.into(), folder.into()));
    let variables = inherited.chain(ours).map(|(name, value): (OsString, OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
            .context("a variable holds a NUL byte")
    });
    variables.collect()
}

/// Whether something is missing that the policy names as a condition.
fn unmet(options: &ImportOptions, delivery: &Delivery) -> bool {
    let missing = options.policy.require.iter().any(|name| delivery.intact().all(|c| c.name != *name));
    missing || (options.policy.manifest == ManifestArg::Require && !delivery.proven)
}
