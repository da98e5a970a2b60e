//! The subcommand `emit`: writes secrets to standard output or to files, and to no other place.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::args::{Emit, Format};
use super::failure;
use super::new_file::{NewFile, warn_of_disk};
use super::receipt::write_verifier;
use crate::cli::exit::Exit;
use crate::cli::log::is_log_file;
use crate::cli::{output, usage};
use crate::format::credential::Secret;
use crate::format::smbios::write::WriteError;
use crate::host::capacity::{Excess, Route, Usage, check};
use crate::host::hypervisor::request::Request;
use crate::host::hypervisor::{cloud_hypervisor, crosvm, incus, libvirt, qemu};
use crate::host::plan::limit_warnings;
use crate::host::publish::{Storage, publish};
use crate::host::set;
use crate::host::slots::Slots;
use crate::host::strings::{Existing, OemStrings};
use crate::text::help::{Help, Message};

/// Logs why `emit` writes nothing.
fn refuse(reason: &impl Help) -> Exit {
    failure::refuse(reason, "nothing is written");
    Exit::Verification
}

pub(super) fn run(emit: &Emit) -> anyhow::Result<Exit> {
    if let Some(error) = emit.misfit() {
        return Ok(usage::print(&error, None));
    }
    let stdout = std::io::stdout();
    let is_seen = stdout.is_terminal() || is_log_file(&stdout);
    let is_on_stdout = emit.output.is_none() && emit.output_dir.is_none();
    if is_on_stdout && is_seen && !emit.force {
        let what = "standard output is a terminal or a log, where the secrets would stay";
        return Ok(refuse(&Message::new(what).with_help("use --output FILE, a pipe, or --force")));
    }
    let mut request = match emit.request.as_deref().map(Request::open).transpose() {
        Ok(request) => request,
        Err(error) => return Ok(refuse(&error)),
    };
    let existing = request.as_mut().map(Request::existing).unwrap_or_default();
    let existing = Existing { receipt: emit.ask.receipt, ..existing };
    let strings = match emit.sends.supply().read() {
        Ok(sent) => sent.beside(existing),
        Err(error) => return Ok(refuse(&error)),
    };
    let strings = match strings {
        Ok(strings) => strings,
        Err(error) => return Ok(refuse(&error)),
    };
    if let Some(directory) = &emit.output_dir {
        return write_directory(emit, directory, &strings);
    }
    let argument = (emit.format == Format::Libvirt).then(|| libvirt::argument_size(&strings));
    let route = request.as_ref().map_or_else(|| route(emit.format), Request::route);
    if let Some(excess) = excess(&strings, &route, argument) {
        return Ok(refuse(&excess));
    }
    if let Some(warning) = seen_by_others(emit.format) {
        tracing::warn!("{warning}");
    }
    let text =
        match request.map_or_else(|| written(emit.format, &strings), |request| Ok(request.write(&strings))) {
            Ok(text) => text,
            Err(error) => {
                failure::refuse_any(&error, "nothing is written");
                return Ok(Exit::Verification);
            }
        };
    write_verifier(emit.ask.verifier.as_deref(), &strings)?;
    match &emit.output {
        Some(path) => {
            let file = NewFile::create(path)?;
            file.write(text.expose())?;
            if !file.is_in_memory() {
                warn_of_disk(path);
            }
            file.keep();
        }
        None => output::secret(text.expose())?,
    }
    Ok(Exit::Ok)
}

/// Returns the first limit that the strings exceed and above which nothing is written. If there is no such limit, logs
/// a warning for each other limit that the strings exceed.
fn excess(strings: &OemStrings, route: &Route, argument: Option<usize>) -> Option<Usage> {
    let usages = check(strings, route, argument);
    let excess = usages.iter().find(|usage| usage.is_exceeded() && usage.limit.excess == Excess::Refuse);
    if excess.is_none() {
        for warning in limit_warnings(strings, route.structures, &usages, &[]) {
            tracing::warn!(help = %warning.help().unwrap_or_default(), "{warning}");
        }
    }
    excess.copied()
}

/// Writes structures to the files of a directory. Prints the arguments or the XML that name these files to standard
/// output.
fn write_directory(emit: &Emit, directory: &Path, strings: &OemStrings) -> anyhow::Result<Exit> {
    let slots = match Slots::new(strings, emit.files.map(usize::from)) {
        Ok(slots) => slots,
        Err(error @ WriteError::TooFew { .. }) => {
            let help = "use a larger --files, or send fewer credentials";
            return Ok(refuse(&Message::new(error.to_string()).with_help(help)));
        }
        Err(error) => return Ok(refuse(&error)),
    };
    if let Some(excess) = excess(strings, &slots.route(), None) {
        return Ok(refuse(&excess));
    }
    let path = std::path::absolute(directory).context("cannot find the working directory")?;
    // `components` leaves out a '/' at the end of the path.
    let path: PathBuf = path.components().collect();
    let names = match emit.format {
        Format::Libvirt => slots.domain_xml(&path),
        _ => slots.arguments(&path),
    };
    let names = match names {
        Ok(names) => names,
        Err(error) => return Ok(refuse(&error)),
    };
    write_verifier(emit.ask.verifier.as_deref(), strings)?;
    if publish(&path, &slots)? == Storage::Disk {
        warn_of_disk(&path);
    }
    output::text(&names)?;
    Ok(Exit::Ok)
}

/// Returns a warning that says who can see the secrets, if the program that reads this format shows them to others.
fn seen_by_others(format: Format) -> Option<&'static str> {
    match format {
        Format::Qemu => Some(
            "QEMU takes the secrets from its command line, where every user of the host can read them: use 'run' \
             instead",
        ),
        Format::CloudHypervisor => Some(
            "cloud-hypervisor takes the secrets from its command line, where every user of the host can read them: \
             use 'run' instead",
        ),
        Format::Crosvm => Some(
            "crosvm takes the secrets from its command line, where every user of the host can read them: use 'run' \
             instead",
        ),
        Format::Libvirt => Some(
            "libvirt writes the secrets to QEMU's command line and to the domain's log, where every user of the host \
             can read them: use 'run' instead",
        ),
        Format::Incus => Some(
            "Incus keeps the secrets in its database: everyone who may read the profile or the instance can read \
             them",
        ),
        Format::Strings | Format::Json | Format::Structures => None,
    }
}

/// Returns the route by which strings in this format reach the guest, with the limits of this route.
fn route(format: Format) -> Route {
    match format {
        Format::Strings => Route::anywhere(),
        Format::Json => Request::smallest().route(),
        Format::Structures => qemu::route(0),
        Format::CloudHypervisor => cloud_hypervisor::route(0),
        Format::Crosvm => crosvm::route(0),
        // QEMU makes one structure from all strings on its command line, also if libvirt wrote the command line.
        Format::Qemu | Format::Libvirt => libvirt::route(),
        Format::Incus => incus::route(),
    }
}

fn written(format: Format, strings: &OemStrings) -> anyhow::Result<Secret> {
    Ok(match format {
        Format::Strings => set::write(strings),
        Format::Json => cloud_hypervisor::json(strings),
        Format::Structures => {
            let structures = strings.structures()?;
            structures.iter().map(Secret::expose).collect::<Vec<_>>().concat().into()
        }
        Format::Qemu => qemu::option(strings),
        Format::CloudHypervisor => cloud_hypervisor::option(strings),
        Format::Crosvm => crosvm::option(strings),
        Format::Libvirt => libvirt::xml(strings),
        Format::Incus => incus::yaml(strings)?,
    })
}
