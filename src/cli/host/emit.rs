//! `emit`: secrets on standard output or in a file, and nowhere else.

use std::fs::{File, remove_file};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use nix::libc;

use super::args::{Emit, Format};
use crate::cli::exit::Exit;
use crate::cli::log::is_log_file;
use crate::cli::output;
use crate::format::credential::Secret;
use crate::host::capacity::{Excess, Route, check};
use crate::host::hypervisor::{cloud_hypervisor, crosvm, incus, libvirt, qemu};
use crate::host::plan::limit_warnings;
use crate::host::strings::OemStrings;
use crate::sys::directory::is_memory_only;
use crate::text::escape::Escaped;

/// Says why nothing is written.
fn refuse(reason: &impl std::fmt::Display) -> Exit {
    tracing::error!("{reason}; nothing is written");
    Exit::Verification
}

pub(super) fn run(emit: &Emit) -> anyhow::Result<Exit> {
    let stdout = std::io::stdout();
    let is_seen = stdout.is_terminal() || is_log_file(&stdout);
    if emit.output.is_none() && is_seen && !emit.force {
        return Ok(refuse(
            &"standard output is a terminal or a log, where the secrets would stay: give --output FILE, a \
                           pipe, or --force",
        ));
    }
    let strings = match emit.select.read() {
        Ok(credentials) => OemStrings::new(&credentials),
        Err(error) => return Ok(refuse(&error)),
    };
    let strings = match strings {
        Ok(strings) => strings,
        Err(error) => return Ok(refuse(&error)),
    };
    let route = route(emit.format);
    let argument = (emit.format == Format::Libvirt).then(|| libvirt::argument_size(&strings));
    let usages = check(&strings, &route, argument);
    if let Some(usage) = usages.iter().find(|u| u.is_exceeded() && u.limit.excess == Excess::Refuse) {
        return Ok(refuse(usage));
    }
    for warning in limit_warnings(&strings, route.structures, &usages, &[]) {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = seen_by_others(emit.format) {
        tracing::warn!("{warning}");
    }
    let text = match written(emit.format, &strings) {
        Ok(text) => text,
        Err(error) => return Ok(refuse(&error)),
    };
    match &emit.output {
        Some(path) => write(path, &text)?,
        None => output::secret(text.expose())?,
    }
    Ok(Exit::Ok)
}

/// Who can see secrets of this form, if the program that takes them shows them.
fn seen_by_others(format: Format) -> Option<&'static str> {
    match format {
        Format::Qemu => Some(
            "QEMU reads it from its command line, where every user of the host can: 'run' starts it without",
        ),
        Format::CloudHypervisor => Some(
            "cloud-hypervisor reads it from its command line, where every user of the host can: 'run' starts it \
             without",
        ),
        Format::Crosvm => Some(
            "crosvm reads it from its command line, where every user of the host can: 'run' starts it without",
        ),
        Format::Libvirt => Some(
            "libvirt puts it on QEMU's command line and into the domain's log, where every user of the host can: \
             'run' starts it without",
        ),
        Format::Incus => Some(
            "Incus keeps it in its database: everyone who may read the profile or the instance can see the secrets",
        ),
        Format::Strings | Format::Json | Format::Structures => None,
    }
}

/// What strings of this form go through.
fn route(format: Format) -> Route {
    match format {
        Format::Strings => Route::anywhere(),
        Format::Json => cloud_hypervisor::api_route(),
        Format::Structures => qemu::route(0),
        Format::CloudHypervisor => cloud_hypervisor::route(0),
        Format::Crosvm => crosvm::route(0),
        // QEMU builds one structure of the strings on its command line, whichever program put them there.
        Format::Qemu | Format::Libvirt => libvirt::route(),
        Format::Incus => incus::route(),
    }
}

fn written(format: Format, strings: &OemStrings) -> anyhow::Result<Secret> {
    Ok(match format {
        Format::Strings => strings.texts().flat_map(|text| [text, b"\n"]).collect::<Vec<_>>().concat().into(),
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

/// Writes a new file for its owner alone. What is left of it after a failure is removed.
fn write(path: &Path, text: &Secret) -> anyhow::Result<()> {
    let shown = Escaped::from(path);
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let mut file = options.open(path).with_context(|| format!("cannot make {shown}"))?;
    if let Err(error) = file.write_all(text.expose()).and_then(|()| file.sync_all()) {
        // The first error is the one to tell.
        _ = remove_file(path);
        return Err(error).with_context(|| format!("cannot write {shown}"));
    }
    if !is_memory_only(&file).is_ok_and(|is_memory| is_memory) {
        tracing::warn!("{shown} is on a disk: the secrets stay there in plain text until it is removed");
    }
    Ok(())
}
