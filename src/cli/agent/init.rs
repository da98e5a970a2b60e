//! Mounts the file systems that every program expects. As PID 1, the agent must mount them before it does anything
//! else.

use std::fs::{create_dir, metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};

use super::failure;
use crate::guest::system::System;
use crate::sys::process_id;
use crate::text::escape::Escaped;
use crate::text::help::Message;

/// A file system of the kernel, and the directory in which programs expect it.
struct FileSystem {
    directory: &'static str,
    kind: &'static str,
    flags: MsFlags,
    options: Option<&'static str>,
    /// What is not possible without this file system, for the error message.
    loss: &'static str,
}

const NOTHING_TO_RUN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

const PROC: FileSystem = FileSystem {
    directory: "/proc",
    kind: "proc",
    flags: NOTHING_TO_RUN,
    options: None,
    loss: "the program cannot see whether this is a container or a virtual machine",
};

const SYS: FileSystem = FileSystem {
    directory: "/sys",
    kind: "sysfs",
    flags: NOTHING_TO_RUN,
    options: None,
    loss: "no credential can be received",
};

/// `/run` must be a separate file system. Otherwise systemd mounts a file system over `/run`, which hides the files
/// that were written to `/run` before.
const RUN: FileSystem = FileSystem {
    directory: "/run",
    kind: "tmpfs",
    flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_STRICTATIME),
    options: Some("mode=0755"),
    loss: "credentials cannot be stored",
};

const DEV: FileSystem = FileSystem {
    directory: "/dev",
    kind: "devtmpfs",
    flags: MsFlags::MS_NOSUID,
    options: Some("mode=0755"),
    loss: "messages cannot be written",
};

/// Whether this process is PID 1. If PID 1 ends, the kernel panics.
#[must_use]
pub fn is_pid_1() -> bool {
    process_id() == 1
}

/// Mounts `/proc`, `/sys` and `/run` if they are not mounted yet. If a mount fails, logs the error and mounts the other
/// file systems anyway.
#[inline(never)]
pub(super) fn mount_file_systems(system: &System) {
    for file_system in [PROC, SYS, RUN] {
        if let Err(error) = file_system.mount(system) {
            tracing::error!(help = %failure::help(&error), "{error:#}. Without it, {}", file_system.loss);
        }
    }
}

/// Mounts devtmpfs on `/dev`.
pub(super) fn mount_devices() -> anyhow::Result<()> {
    DEV.mount(&System::running())
}

impl FileSystem {
    /// Mounts the file system, unless its directory is already a mount point.
    fn mount(&self, system: &System) -> anyhow::Result<()> {
        let Self { directory, kind, flags, options, .. } = *self;
        let path = system.path(directory);
        let shown = Escaped::from(&*path);
        let cannot = || format!("cannot mount {kind} on {shown}");
        match create_dir(&path) {
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
                let what = "the directory is missing, and the root file system is read-only";
                let message = Message::new(format!("{}: {what}", cannot()))
                    .with_help(format!("create the directory {shown} in the image of the root file system"));
                return Err(anyhow::Error::msg(message));
            }
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot create {shown}"));
            }
            _ => {}
        }
        let device = |path: &Path| metadata(path).map(|metadata| metadata.dev()).with_context(cannot);
        if device(&path)? == device(system.root())? {
            mount(Some(kind), &*path, Some(kind), flags, options)
                .map_err(io::Error::from)
                .with_context(cannot)?;
        }
        Ok(())
    }
}
