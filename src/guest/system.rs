//! The running system: its paths, its PID 1 and its stage (initrd or host). A [`System`] is created once and passed to
//! every function that needs it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The system whose files are below a root directory. For the running system, the root directory is `/`.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
}

/// If PID 1 starts with this variable in its environment, systemd imports no credentials itself. The kernel passes the
/// variable on to PID 1 if it is on the kernel's command line.
const IMPORT_NOTHING: &str = "CREDENTIALS_DIRECTORY=/run/credentials/@system";

/// The stages of a boot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The initramfs, before switch-root.
    Initrd,
    /// The stage after switch-root, on the virtual machine's own root file system.
    Host,
}

impl System {
    /// Creates the system below this root directory.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the system on which this process runs.
    #[must_use]
    pub fn running() -> Self {
        Self::at("/")
    }

    /// Returns the root directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns an absolute path of the running system under this system's root directory.
    ///
    /// ```
    /// # use std::path::Path;
    /// use smbios_creds::guest::system::System;
    /// assert_eq!(System::running().path("/run"), Path::new("/run"));
    /// assert_eq!(System::at("/sysroot").path("/run"), Path::new("/sysroot/run"));
    /// ```
    #[must_use]
    pub fn path(&self, absolute: &'static str) -> Cow<'static, Path> {
        if self.root.as_os_str() == "/" {
            return Path::new(absolute).into();
        }
        self.root.join(absolute.trim_start_matches('/')).into()
    }

    /// `/run`.
    #[must_use]
    pub fn run(&self) -> Cow<'static, Path> {
        self.path("/run")
    }

    /// `/run/credentials`, where systemd keeps credentials (systemd.exec(5)).
    #[must_use]
    pub fn credentials(&self) -> Cow<'static, Path> {
        self.path("/run/credentials")
    }

    /// `/run/credentials/@system`, where PID 1 (systemd) keeps the credentials that it imported.
    #[must_use]
    pub fn system_credentials(&self) -> Cow<'static, Path> {
        self.path("/run/credentials/@system")
    }

    /// `/run/credentials/@initrd`, which systemd 254 and newer merges into `@system` after switch-root.
    #[must_use]
    pub fn initrd_credentials(&self) -> Cow<'static, Path> {
        self.path("/run/credentials/@initrd")
    }

    /// `/run/credstore`, which `LoadCredential=` and `ImportCredential=` search.
    #[must_use]
    pub fn credstore(&self) -> Cow<'static, Path> {
        self.path("/run/credstore")
    }

    /// `/run/credstore.encrypted`, which `LoadCredentialEncrypted=` and `ImportCredential=` search. A switch-root keeps
    /// this directory.
    #[must_use]
    pub fn encrypted_credstore(&self) -> Cow<'static, Path> {
        self.path("/run/credstore.encrypted")
    }

    /// `/run/smbios-creds`, a directory of this program for the lock, the staging mount and the report.
    #[must_use]
    pub fn state(&self) -> Cow<'static, Path> {
        self.path("/run/smbios-creds")
    }

    /// `/etc/smbios-creds/trusted`, the directory of trusted public keys. If this directory exists, every set must be
    /// signed with one of these keys.
    #[must_use]
    pub fn trusted(&self) -> Cow<'static, Path> {
        self.path("/etc/smbios-creds/trusted")
    }

    /// `/var/lib/smbios-creds`, the directory of the file with the highest serial that this machine has imported.
    #[must_use]
    pub fn serials(&self) -> Cow<'static, Path> {
        self.path("/var/lib/smbios-creds")
    }

    /// `/etc/machine-id` (machine-id(5)).
    #[must_use]
    pub fn machine_id(&self) -> Cow<'static, Path> {
        self.path("/etc/machine-id")
    }

    /// The SMBIOS UUID, as the kernel formats it (`drivers/firmware/dmi-id.c`).
    #[must_use]
    pub fn uuid(&self) -> Cow<'static, Path> {
        self.path("/sys/class/dmi/id/product_uuid")
    }

    /// `/sys/firmware`.
    #[must_use]
    pub fn firmware(&self) -> Cow<'static, Path> {
        self.path("/sys/firmware")
    }

    /// Whether systemd is PID 1 (`sd_booted(3)`), and this process is not itself PID 1.
    #[must_use]
    pub fn is_booted_with_systemd(&self) -> bool {
        self.path("/run/systemd/system").exists() && std::process::id() != 1
    }

    /// Whether the environment of PID 1 has this variable. Only root may read this environment; if it cannot be read,
    /// the result is `false`.
    #[must_use]
    pub fn pid_1_has(&self, variable: &str) -> bool {
        let is_it =
            |entry: &[u8]| entry.strip_prefix(variable.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
        self.any_of_pid_1(is_it)
    }

    /// Whether the environment of PID 1 contains `CREDENTIALS_DIRECTORY=/run/credentials/@system`. systemd imports no
    /// credentials itself if it finds this variable when it starts (`import_credentials()`, `src/core/import-creds.c`,
    /// v254 to v262).
    #[must_use]
    pub fn pid_1_imports_nothing(&self) -> bool {
        self.any_of_pid_1(|entry| entry == IMPORT_NOTHING.as_bytes())
    }

    fn any_of_pid_1(&self, is_it: impl Fn(&[u8]) -> bool) -> bool {
        let environment = std::fs::read(self.path("/proc/1/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(is_it)
    }

    /// Whether the kernel's command line sets `CREDENTIALS_DIRECTORY=/run/credentials/@system` for PID 1. Words after
    /// `--` are not variables but arguments of PID 1.
    #[must_use]
    pub fn is_told_to_import_nothing(&self) -> bool {
        let line = std::fs::read(self.path("/proc/cmdline")).unwrap_or_default();
        let mut words = line.split(u8::is_ascii_whitespace).take_while(|word| word != b"--");
        words.any(|word| word == IMPORT_NOTHING.as_bytes())
    }

    /// Determines the stage of the boot by the same rules as systemd (`in_initrd()`, `src/basic/initrd-util.c`, v262).
    #[must_use]
    pub fn stage(&self) -> Stage {
        let is_initrd = match std::env::var("SYSTEMD_IN_INITRD").as_deref() {
            Ok("1" | "yes" | "true" | "on") => true,
            Ok("0" | "no" | "false" | "off") => false,
            _ => self.path("/etc/initrd-release").exists(),
        };
        if is_initrd { Stage::Initrd } else { Stage::Host }
    }
}
