//! `emit`: secrets on standard output or in a file, and nowhere else.

use std::fs::{File, remove_file};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use nix::libc;
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use tracing::Level;

use super::args::{Emit, Format};
use super::verbs::{read, refuse as refuse_with};
use crate::cli::exit::Exit;
use crate::cli::log::{is_log, say};
use crate::cli::output;
use crate::format::credential::Secret;
use crate::host::capacity::{Severity, Way, check};
use crate::host::hypervisor::{cloud_hypervisor, crosvm, libvirt, qemu};
use crate::host::plan::limit_warnings;
use crate::host::strings::OemStrings;
use crate::text::escape::Escaped;

/// `statfs` type of ramfs (Linux `include/uapi/linux/magic.h`).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Says why nothing is written.
fn refuse(refusal: &impl std::fmt::Display) -> Exit {
    refuse_with(refusal, "nothing is written")
}

pub(super) fn run(emit: &Emit) -> anyhow::Result<Exit> {
    let stdout = std::io::stdout();
    let is_seen = stdout.is_terminal() || fstat(&stdout).is_ok_and(|stat| is_log(&stat));
    if emit.output.is_none() && is_seen && !emit.force {
        return Ok(refuse(
            &"standard output is a terminal or a log, where the secrets would stay: give --output FILE, a \
                           pipe, or --force",
        ));
    }
    let strings = match read(&emit.select) {
        Ok(credentials) => OemStrings::new(&credentials),
        Err(error) => return Ok(refuse(&error)),
    };
    let strings = match strings {
        Ok(strings) => strings,
        Err(error) => return Ok(refuse(&error)),
    };
    let way = way(emit.format);
    let argument = (emit.format == Format::Libvirt).then(|| libvirt::argument_size(&strings));
    let usages = check(&strings, way, argument);
    if let Some(usage) = usages.iter().find(|u| u.is_exceeded() && u.limit.severity == Severity::Refuse) {
        return Ok(refuse(usage));
    }
    for warning in limit_warnings(&strings, way, &usages, &[]) {
        say(Level::WARN, format_args!("{warning}"));
    }
    let on_argv = match emit.format {
        Format::Qemu => "QEMU reads it from its command line",
        Format::CloudHypervisor => "cloud-hypervisor reads it from its command line",
        Format::Crosvm => "crosvm reads it from its command line",
        Format::Libvirt => "libvirt puts it on QEMU's command line and into the domain's log",
        Format::Strings | Format::Json | Format::Structures => "",
    };
    if !on_argv.is_empty() {
        say(
            Level::WARN,
            format_args!("{on_argv}, where every user of the host can: 'run' starts it without"),
        );
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

fn way(format: Format) -> Way {
    match format {
        Format::Strings => Way::Unknown,
        Format::Json => Way::CloudHypervisorApi,
        Format::Structures => Way::Qemu { others: 0 },
        Format::CloudHypervisor => Way::CloudHypervisor { others: 0 },
        Format::Crosvm => Way::Crosvm { others: 0 },
        // QEMU builds one structure of the strings on its command line, whoever put them there.
        Format::Qemu | Format::Libvirt => Way::Libvirt,
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
    let kind = fstatfs(&file).map(|stat| stat.filesystem_type());
    if !kind.is_ok_and(|kind| kind == TMPFS_MAGIC || kind == RAMFS_MAGIC) {
        say(
            Level::WARN,
            format_args!("{shown} is on a disk: the secrets stay there in plain text until it is removed"),
        );
    }
    Ok(())
}
