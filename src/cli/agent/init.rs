//! What PID 1 has to do before anything else works: the file systems that everybody expects.

use std::fs::{create_dir, metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};

use crate::guest::system::System;
use crate::text::escape::Escaped;

/// Whether we are PID 1: giving up is then a kernel panic.
#[must_use]
pub fn is_pid_1() -> bool {
    std::process::id() == 1
}

/// Mounts `/proc`, `/sys` and `/run` where they are not mounted yet.
///
/// `/run` has to be a file system of its own: systemd mounts one over it otherwise, and hides what is there.
///
/// # Errors
/// What could not be mounted.
pub fn mount_file_systems(system: &System) -> anyhow::Result<()> {
    let nothing_to_run = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let run = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_STRICTATIME;
    for (name, kind, flags, options) in [
        ("proc", "proc", nothing_to_run, None),
        ("sys", "sysfs", nothing_to_run, None),
        ("run", "tmpfs", run, Some("mode=0755")),
    ] {
        let path = system.path(name);
        let shown = Escaped::from(path.as_path());
        match create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make {shown}"));
            }
            _ => {}
        }
        let device = |path: &Path| metadata(path).map(|metadata| metadata.dev());
        if device(&path)? == device(system.root())? {
            mount(Some(kind), &path, Some(kind), flags, options)
                .with_context(|| format!("cannot mount {kind} on {shown}"))?;
        }
    }
    Ok(())
}
