//! Finds the credentials of a libvirt domain whose XML names this program as its `<emulator>`.
//!
//! libvirt starts the emulator with arguments for QEMU. One of these arguments contains the domain's name, which
//! determines the directory with the domain's credentials. The directory must be in memory, and no other user may be
//! able to change it. A name that contains `/` or begins with a dot is refused, because a path with this name could
//! lead to another directory.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::hypervisor::qemu;
use crate::sys::Errno;
use crate::sys::directory::is_memory_only;
use crate::sys::guarded::{self, Unguarded};
use crate::sys::stat::user;
use crate::text::escape::{Escaped, ShownPath};
use crate::text::help::Help;

/// File name of this program if libvirt starts it as an emulator.
pub const PROGRAM: &str = "qemu-with-credentials";

/// Directory that contains one directory for each domain, with the domain's name. libvirt's hook writes the credentials
/// into the domain's directory.
const DOMAINS: &str = "/run/smbios-creds/domains";

/// Maximum number of bytes of a file's name (`NAME_MAX`, Linux `include/uapi/linux/limits.h`).
const NAME_MAX: usize = 255;

/// Why the credentials of a domain cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DomainError {
    /// QEMU's command line does not contain the name of the domain.
    #[error("the domain has no name")]
    Unnamed,
    /// The domain's name cannot be the name of a credentials directory.
    #[error(
        "the domain's name, '{}', cannot be the name of a directory: it is empty, begins with a dot, contains a / or \
         a control character, or has more than {NAME_MAX} bytes",
        Escaped(.0)
    )]
    Name(Vec<u8>),
    /// The domain has no credentials directory.
    #[error(
        "domain '{}' has no credentials: {} does not exist",
        Escaped(.0), .1
    )]
    None(Vec<u8>, ShownPath),
    /// The credentials directory cannot be opened.
    #[error("cannot read the credentials directory {}: {}", .0, .1.desc())]
    Failed(ShownPath, Errno),
    /// Another user can change the credentials directory, or a directory that contains it.
    #[error("the credentials directory {0} is refused: other users can change {1}")]
    Unguarded(ShownPath, ShownPath),
    /// The credentials directory is not in memory only: its file system is neither a tmpfs nor a ramfs.
    #[error("the credentials directory {0} is refused: it is not in memory only (tmpfs or ramfs)")]
    OnDisk(ShownPath),
}

impl Help for DomainError {
    fn help(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Unnamed => "add -name guest=NAME to QEMU's options, as libvirt does",
            Self::Name(_) => "rename the domain",
            Self::None(..) => {
                "write the credentials there before the domain starts (the hook does this), or use QEMU itself as \
                 its emulator"
            }
            Self::Unguarded(..) => "let only the user that runs this program change it (chown, chmod)",
            Self::OnDisk(_) => "put the credentials below /run, where the hook puts them",
            Self::Failed(..) => return None,
        }))
    }
}

/// The directory in which QEMU is searched for, unless QEMU is in the emulator's directory.
const PROGRAMS: &str = "/usr/bin";

/// Returns the path of the QEMU that this program starts, if libvirt has started this program under the name `argv0`.
/// `qemu-with-credentials` starts the QEMU for the host's architecture, and `qemu-with-credentials-ARCH` starts the
/// QEMU for the architecture ARCH. A QEMU in the emulator's own directory is preferred, because NixOS has no QEMU in
/// `/usr/bin`. Otherwise, the QEMU in `/usr/bin` is used. Returns `None` if `argv0` is not the name of an emulator.
#[must_use]
pub fn qemu_of(argv0: &OsStr) -> Option<PathBuf> {
    let argv0 = Path::new(argv0);
    let name = argv0.file_name()?.as_bytes().strip_prefix(PROGRAM.as_bytes())?;
    let architecture = match name.strip_prefix(b"-") {
        Some(architecture) if !architecture.is_empty() => OsStr::from_bytes(architecture),
        None if name.is_empty() => OsStr::new(std::env::consts::ARCH),
        Some(_) | None => return None,
    };
    let mut program = OsString::from("qemu-system-");
    program.push(architecture);
    // If `argv0` is a name without a directory, the program was found in $PATH, and its directory is not known.
    let beside = argv0.parent().filter(|directory| directory.is_absolute());
    let beside = beside.map(|directory| directory.join(&program)).filter(|path| path.exists());
    Some(beside.unwrap_or_else(|| Path::new(PROGRAMS).join(program)))
}

/// Returns the directory with the credentials of a domain. `arguments` are QEMU's arguments, which contain the domain's
/// name.
///
/// # Errors
/// [`DomainError`], if the domain must not be started.
pub fn directory(arguments: &[OsString]) -> Result<PathBuf, DomainError> {
    let name = qemu::guest_name(arguments).ok_or(DomainError::Unnamed)?;
    if !is_usable(&name) {
        return Err(DomainError::Name(name));
    }
    let candidates = candidates(&name);
    let mut denied = None;
    for path in &candidates {
        match guarded::open(path) {
            Ok(directory) => {
                let shown = path.as_path().into();
                return match is_memory_only(&directory) {
                    Ok(true) => Ok(path.clone()),
                    Ok(false) => Err(DomainError::OnDisk(shown)),
                    Err(error) => Err(DomainError::Failed(shown, error)),
                };
            }
            Err(Unguarded::Failed(Errno::ENOENT)) => {}
            // The directory may belong to another user's domain that has the same name. So the next directory is tried.
            Err(Unguarded::Failed(Errno::EACCES)) => denied = denied.or(Some(path)),
            Err(Unguarded::Failed(error)) => return Err(DomainError::Failed(path.as_path().into(), error)),
            Err(Unguarded::By(part)) => {
                return Err(DomainError::Unguarded(path.as_path().into(), part.as_path().into()));
            }
        }
    }
    Err(match denied {
        Some(path) => DomainError::Failed(path.as_path().into(), Errno::EACCES),
        None => DomainError::None(
            name.clone(),
            Path::new(DOMAINS).join(OsStr::from_bytes(&name)).as_path().into(),
        ),
    })
}

/// Whether a domain's name can also be the name of a directory, and is not a path to another directory.
fn is_usable(name: &[u8]) -> bool {
    let is_hostile = |byte: &u8| *byte == b'/' || byte.is_ascii_control();
    !name.is_empty() && name.len() <= NAME_MAX && !name.starts_with(b".") && !name.iter().any(is_hostile)
}

/// Returns the possible directories for a domain's credentials. The first directory that exists and can be opened is
/// used.
fn candidates(name: &[u8]) -> Vec<PathBuf> {
    let file = OsStr::from_bytes(name);
    let mut unit = b"smbios-creds-domain@".to_vec();
    unit.extend(unit_escaped(name));
    unit.extend(b".service");
    let mut candidates =
        vec![Path::new(DOMAINS).join(file), Path::new("/run/credentials").join(OsString::from_vec(unit))];
    if user() != 0 {
        let runtime =
            std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let runtime = runtime.unwrap_or_else(|| Path::new("/run/user").join(user().to_string()));
        candidates.push(runtime.join("smbios-creds/domains").join(file));
    }
    candidates
}

/// Escapes a name like systemd-escape(1) (`unit_name_escape()`, systemd 252 `src/basic/unit-name.c`).
fn unit_escaped(name: &[u8]) -> Vec<u8> {
    let escaped = |&byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => vec![byte],
        byte => format!("\\x{byte:02x}").into_bytes(),
    };
    name.iter().flat_map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Result<PathBuf, DomainError> {
        directory(&["-name".into(), name.into()])
    }

    #[test]
    fn hostile_name_leads_nowhere() {
        let long = format!("guest={}", "x".repeat(256));
        for name in
            ["guest=../x", "guest=/", "guest=", "guest=..", "guest=.", "guest=a/b", "guest=a\nb", &long]
        {
            assert!(matches!(of(name), Err(DomainError::Name(_))), "{name}");
        }
    }

    #[test]
    fn name_is_read_with_commas_undone() {
        for (argument, name) in [
            ("guest=a,,b,debug-threads=on", "a,b"),
            ("web,debug-threads=on", "web"),
            ("debug-threads=on,guest=a=b c", "a=b c"),
        ] {
            assert_eq!(qemu::guest_name(&["-name".into(), argument.into()]), Some(name.into()));
        }
        assert!(matches!(directory(&["-M".into(), "q35".into()]), Err(DomainError::Unnamed)));
    }

    #[test]
    fn domain_without_a_directory_is_refused() {
        assert!(matches!(of("guest=no-such-domain-here"), Err(DomainError::None(..))));
    }

    #[test]
    fn unit_is_named_as_systemd_escape_does() {
        assert_eq!(unit_escaped(b"a-b c,d_e.f:1"), b"a\\x2db\\x20c\\x2cd_e.f:1");
    }

    #[test]
    fn qemu_follows_from_the_name() {
        let of = |name: &str| qemu_of(OsStr::new(name));
        assert_eq!(of("/usr/bin/qemu-with-credentials-aarch64"), Some("/usr/bin/qemu-system-aarch64".into()));
        let own = format!("/usr/bin/qemu-system-{}", std::env::consts::ARCH);
        assert_eq!(of("qemu-with-credentials"), Some(own.into()));
        assert_eq!(of("/nonexistent/qemu-with-credentials-arm"), Some("/usr/bin/qemu-system-arm".into()));
        for name in ["smbios-creds-host", "qemu-with-credentials-", "qemu-with-credentialsx", ""] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
