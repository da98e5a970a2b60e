//! What the verbs of the guest agent do.

use std::ffi::{CString, OsString};
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::execvpe;
use tracing::Level;

use super::agent::{
    Agent, Cat, Check, ConfidentialArg, Exec, From, Import, ImportOptions, Json, List, ManifestArg, Newline,
    PolicyArgs, Record, Verb,
};
use super::exit::Exit;
use super::hygiene::Before;
use super::init;
use super::log::{self, say};
use super::output;
use crate::credential::Credential;
use crate::escape::Escaped;
use crate::guest::delivery::Delivery;
use crate::guest::finding::Severity;
use crate::guest::sink::{Mended, Outcome, Sink, State, Storage};
use crate::guest::verify::{Policy, verify};
use crate::guest::{platform, record, redact, report};

/// Does what was asked.
///
/// # Errors
/// Whatever could not be done, in words for people.
pub fn run(agent: &Agent, before: &Before) -> anyhow::Result<Exit> {
    let root = &agent.root;
    match &agent.verb {
        Verb::List(list) => run_list(root, list),
        Verb::Check(check) => run_check(root, check),
        Verb::Import(import) => run_import(root, import),
        Verb::Exec(exec) => run_exec(root, exec, before),
        Verb::Cat(cat) => run_cat(root, cat),
        Verb::Record(record) => run_record(root, record),
    }
}

fn load(root: &Path, from: &From, policy: &Policy) -> anyhow::Result<Delivery> {
    let table = from.source(root).read()?.parse();
    Ok(verify(&table, policy))
}

/// Whether the running system's table must not be believed, which is then said. A recording speaks for itself.
fn refused(root: &Path, from: &From, policy: &PolicyArgs) -> bool {
    if from.from.is_some() || policy.confidential == ConfidentialArg::Allow {
        return false;
    }
    let platform = platform::detect(root);
    if let Some(platform) = platform {
        let message = "refused: no credential is taken from SMBIOS here. To believe the table all the same, give \
                       --confidential=allow";
        say(Level::ERROR, format_args!("{platform}; {message}"));
    }
    platform.is_some()
}

fn exit(delivery: &Delivery) -> Exit {
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
    let states = list.into.into.states(root, &delivery);
    let rows = report::rows(&delivery, states.into_iter().map(State::as_str));
    match list.json.json {
        Json::Off => output::text(&report::table(&rows, !list.no_legend))?,
        form => output::json(&rows, form)?,
    }
    Ok(exit(&delivery))
}

fn run_check(root: &Path, check: &Check) -> anyhow::Result<Exit> {
    if refused(root, &check.from, &check.policy) {
        return Ok(Exit::Refused);
    }
    let delivery = load(root, &check.from, &check.policy.policy())?;
    match check.json.json {
        Json::Off => output::text(&report::verdict(&delivery))?,
        form => output::json(&report::Verdict::new(&delivery), form)?,
    }
    Ok(exit(&delivery))
}

fn run_import(root: &Path, import: &Import) -> anyhow::Result<Exit> {
    let options = &import.options;
    if refused(root, &options.from, &options.policy) {
        return Ok(Exit::Refused);
    }
    let delivery = load(root, &options.from, &options.policy.policy())?;
    log::findings(&delivery);
    let imported = if import.dry_run {
        say(Level::INFO, format_args!("dry run: {}; nothing is materialized", report::summary(&delivery)));
        false
    } else {
        materialize(root, options, &delivery)?
    };
    let states = if imported {
        // As it was just written or compared, it need not be read again.
        delivery.entries.iter().map(|entry| entry.refusal.map_or(State::Imported, State::Refused)).collect()
    } else {
        options.into.into.states(root, &delivery)
    };
    let rows = report::rows(&delivery, states.into_iter().map(State::as_str));
    output::text(&report::table(&rows, true))?;
    Ok(exit(&delivery))
}

/// Puts what is intact in place. Returns whether it was allowed to.
fn materialize(root: &Path, options: &ImportOptions, delivery: &Delivery) -> anyhow::Result<bool> {
    if options.policy.strict && !delivery.passed() {
        say(Level::ERROR, format_args!("verification failed and --strict is given: nothing is materialized"));
        return Ok(false);
    }
    let set: Vec<&Credential> = delivery.intact().collect();
    let (sink, reason) = options.into.into.resolve(root);
    let folder = sink.folder(root);
    let shown = Escaped::from(folder.as_path());
    if options.into.into == Sink::Auto {
        say(Level::INFO, format_args!("credentials go to {shown}: {reason}"));
    }
    match sink.import(root, &set)? {
        Outcome::Unchanged if set.is_empty() => {
            say(Level::INFO, format_args!("there is no credential to materialize"));
        }
        Outcome::Unchanged => {
            say(Level::INFO, format_args!("nothing to do: {shown} holds every credential already"));
        }
        Outcome::Materialized(storage) => {
            say(Level::INFO, format_args!("materialized in {shown}: {}", report::summary(delivery)));
            let warning = match storage {
                Storage::Memory => return Ok(true),
                Storage::Swappable => "can be swapped: this kernel has neither tmpfs with 'noswap' nor ramfs",
                Storage::Disk => "is on a disk: the values stay there in plain text until they are removed",
            };
            say(Level::WARN, format_args!("{shown} {warning}"));
        }
        Outcome::Repaired { mended, foreign } => {
            for Mended { name, found, size } in mended {
                let found = found.map_or("nothing was".to_owned(), |found| format!("{found} bytes were"));
                let message =
                    format_args!("credential {name}: repaired: {found} there, {size} bytes are now");
                say(Level::WARN, message);
            }
            if let Some(name) = foreign.first() {
                bail!(
                    "credential {name}: {shown} has another value, which SMBIOS did not bring (fw_cfg, most \
                     likely), and it was left alone: send it once"
                );
            }
        }
    }
    Ok(true)
}

fn run_exec(root: &Path, exec: &Exec, before: &Before) -> anyhow::Result<Exit> {
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
    if refused(root, &options.from, &options.policy) {
        return Ok(Err(Exit::Refused));
    }
    let delivery = load(root, &options.from, &options.policy.policy())?;
    log::findings(&delivery);
    if !materialize(root, options, &delivery)? || unmet(options, &delivery) {
        return Ok(Err(Exit::Verification));
    }
    let any = delivery.intact().next().is_some();
    let folder = any.then(|| std::path::absolute(options.into.into.folder(root)));
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
