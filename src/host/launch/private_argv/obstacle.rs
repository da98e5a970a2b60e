//! Finds the most likely reason why the kernel does not allow a process to be traced.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

use rustix::thread::{CapabilitySet, capabilities};

use crate::text::escape::Escaped;
use crate::text::help::Help;

/// The most likely reason why the tracer could not attach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Obstacle {
    /// Another process already traces this process.
    Traced {
        /// PID of the other tracer, as `/proc/self/status` contains it.
        by: String,
    },
    /// Yama's `ptrace_scope` is 2 (`Documentation/admin-guide/LSM/Yama.rst`).
    Capability,
    /// Yama's `ptrace_scope` is 3.
    Never,
    /// A system call filter (seccomp) is active.
    Filter,
    /// None of the other reasons applies.
    Unknown,
}

impl Obstacle {
    /// Searches for a reason why this process cannot be traced. `root` is the root directory of the running system.
    #[must_use]
    pub fn find(root: &Path) -> Self {
        let status = std::fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map_or("0", str::trim);
        let by = field("TracerPid:");
        if by != "0" {
            return Self::Traced { by: Escaped(by.as_bytes()).to_string() };
        }
        let scope = std::fs::read_to_string(root.join("proc/sys/kernel/yama/ptrace_scope"));
        match scope.unwrap_or_default().trim() {
            "3" => Self::Never,
            "2" => Self::Capability,
            _ if field("Seccomp:") == "2" => Self::Filter,
            _ => Self::Unknown,
        }
    }
}

impl Obstacle {
    /// Returns a reason that certainly prevents tracing, or `None`. Does not try to trace.
    #[must_use]
    pub fn certain(root: &Path) -> Option<Self> {
        let capable = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE));
        match Self::find(root) {
            obstacle @ (Self::Traced { .. } | Self::Never) => Some(obstacle),
            obstacle @ Self::Capability if !capable => Some(obstacle),
            _ => None,
        }
    }
}

impl Display for Obstacle {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traced { by } => {
                write!(f, "process {by} already traces this command")
            }
            Self::Capability => f.write_str("kernel.yama.ptrace_scope is 2, so tracing needs CAP_SYS_PTRACE"),
            Self::Never => f.write_str(
                "kernel.yama.ptrace_scope is 3, so not even root can trace a program until the next boot",
            ),
            Self::Filter => {
                f.write_str("a seccomp filter is in force, which most likely does not allow ptrace")
            }
            Self::Unknown => f.write_str(
                "a security module (SELinux with deny_ptrace, AppArmor) or a container may forbid tracing",
            ),
        }
    }
}

impl Help for Obstacle {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Traced { .. } => "start the command without strace or a debugger",
            Self::Capability => {
                "grant CAP_SYS_PTRACE to the command (AmbientCapabilities=CAP_SYS_PTRACE in a systemd unit), or set \
                 kernel.yama.ptrace_scope to 1"
            }
            Self::Filter => "allow ptrace (SystemCallFilter=ptrace in a systemd unit)",
            Self::Never | Self::Unknown => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(status: Option<&str>, scope: Option<&str>) -> Obstacle {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/self/status", status), ("proc/sys/kernel/yama/ptrace_scope", scope)] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if let Some(text) = text {
                std::fs::write(path, text).unwrap();
            }
        }
        Obstacle::find(root.path())
    }

    #[test]
    fn the_cause_is_named() {
        let status = |tracer, seccomp| format!("Name:\tx\nTracerPid:\t{tracer}\nSeccomp:\t{seccomp}\n");
        let free = status(0, 0);
        assert_eq!(found(Some(&free), Some("2\n")), Obstacle::Capability);
        assert_eq!(found(Some(&free), Some("3\n")), Obstacle::Never);
        for scope in [None, Some("0\n"), Some("1\n")] {
            assert_eq!(found(Some(&free), scope), Obstacle::Unknown);
            assert_eq!(found(Some(&status(0, 2)), scope), Obstacle::Filter);
        }
        // A reason that is certain has priority over reasons that are only likely.
        assert_eq!(found(Some(&status(71, 2)), Some("3\n")), Obstacle::Traced { by: "71".into() });
        assert_eq!(found(Some(&status(0, 2)), Some("3\n")), Obstacle::Never);
        assert_eq!(found(None, None), Obstacle::Unknown);
    }

    #[test]
    fn each_cause_says_what_to_do() {
        let help = |obstacle: Obstacle| obstacle.help().unwrap();
        assert!(help(Obstacle::Capability).contains("AmbientCapabilities=CAP_SYS_PTRACE"));
        assert!(Obstacle::Never.to_string().contains("next boot"));
        assert!(help(Obstacle::Filter).contains("SystemCallFilter="));
    }
}
