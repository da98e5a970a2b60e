//! The running system: its paths, PID 1 and its stage. Made once, and lent to everything that looks at it.

use std::path::{Path, PathBuf};

/// The system below a root directory, which is `/` on a real one.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
}

/// Which stage of the boot this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The initramfs, before switch-root.
    Initrd,
    /// The root file system.
    Host,
}

impl System {
    /// The system below this root directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The system that this process runs on.
    #[must_use]
    pub fn running() -> Self {
        Self::at("/")
    }

    /// Its root directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path of this system, given without its leading `/`.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// `/run`.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.path("run")
    }

    /// `/run/credentials`, where systemd keeps credentials (systemd.exec(5)).
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        self.path("run/credentials")
    }

    /// `/run/credentials/@system`, the credentials of PID 1.
    #[must_use]
    pub fn system_credentials(&self) -> PathBuf {
        self.path("run/credentials/@system")
    }

    /// `/run/credentials/@initrd`, which systemd 254 and newer merges into `@system` after switch-root.
    #[must_use]
    pub fn initrd_credentials(&self) -> PathBuf {
        self.path("run/credentials/@initrd")
    }

    /// `/run/credstore`, which `LoadCredential=` and `ImportCredential=` search.
    #[must_use]
    pub fn credstore(&self) -> PathBuf {
        self.path("run/credstore")
    }

    /// `/run/smbios-creds`, a directory of our own: the lock, the staging mount and the report.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path("run/smbios-creds")
    }

    /// `/sys/firmware`.
    #[must_use]
    pub fn firmware(&self) -> PathBuf {
        self.path("sys/firmware")
    }

    /// Whether systemd is PID 1, and this process is not about to become it (`sd_booted(3)`).
    #[must_use]
    pub fn is_booted_with_systemd(&self) -> bool {
        self.path("run/systemd/system").exists() && std::process::id() != 1
    }

    /// Whether the environment of PID 1 has this variable. Only root may read it; what cannot be read has none.
    #[must_use]
    pub fn pid_1_has(&self, variable: &str) -> bool {
        let environment = std::fs::read(self.path("proc/1/environ")).unwrap_or_default();
        let is_it =
            |entry: &[u8]| entry.strip_prefix(variable.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
        environment.split(|&byte| byte == 0).any(is_it)
    }

    /// The stage, in the words of systemd (`in_initrd()`, `src/basic/initrd-util.c`, v262).
    #[must_use]
    pub fn stage(&self) -> Stage {
        let is_initrd = match std::env::var("SYSTEMD_IN_INITRD").as_deref() {
            Ok("1" | "yes" | "true" | "on") => true,
            Ok("0" | "no" | "false" | "off") => false,
            _ => self.path("etc/initrd-release").exists(),
        };
        if is_initrd { Stage::Initrd } else { Stage::Host }
    }
}
