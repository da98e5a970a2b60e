//! The status of a file: its type, owner, permissions and size.

use std::os::fd::AsFd;
use std::path::Path;

use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
#[cfg(feature = "cli")]
use nix::sys::stat::{major, minor};
use nix::unistd::geteuid;

use super::Errno;

/// The type, owner and permissions of a file.
#[derive(Clone, Copy)]
pub(crate) struct Stat(pub(super) FileStat);

impl Stat {
    /// Whether the file is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.kind().is_none()
    }

    /// Whether the file has this type (`S_IFMT`).
    pub(super) fn is_a(&self, file_type: SFlag) -> bool {
        SFlag::from_bits_truncate(self.0.st_mode) & SFlag::S_IFMT == file_type
    }

    /// Whether the file is a socket.
    pub(crate) fn is_socket(&self) -> bool {
        self.is_a(SFlag::S_IFSOCK)
    }

    /// Returns the type of the file for a message, such as `a directory`; `None` for a regular file.
    pub(crate) fn kind(&self) -> Option<&'static str> {
        kind(self.0.st_mode)
    }

    /// Returns the bits of the type and of the permissions (`st_mode`).
    pub(crate) fn mode(&self) -> u32 {
        self.0.st_mode
    }

    /// Whether the file has mode 0000. In sysfs, this mode denies access even to root (`kernfs_fop_open()`, Linux
    /// `fs/kernfs/file.c`).
    pub(crate) fn is_closed(&self) -> bool {
        !Mode::from_bits_truncate(self.0.st_mode).intersects(Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO)
    }

    /// Returns the size of the file in bytes.
    pub(crate) fn size(&self) -> Option<usize> {
        usize::try_from(self.0.st_size).ok()
    }

    /// Whether the file was removed: no directory contains a name for it.
    pub(crate) fn is_removed(&self) -> bool {
        self.0.st_nlink == 0
    }

    /// Whether the file belongs to the effective user.
    pub(crate) fn is_own(&self) -> bool {
        self.0.st_uid == user()
    }

    /// Whether the effective user owns this directory, and no other user can replace files in it.
    pub(crate) fn is_protected(&self) -> bool {
        self.is_own() && !self.is_replaceable()
    }

    /// Whether users other than the owner can replace files in this directory. In a directory with the sticky bit,
    /// users can replace only their own files.
    pub(super) fn is_replaceable(&self) -> bool {
        self.is_writable_for_others() && self.0.st_mode & libc::S_ISVTX == 0
    }

    /// Whether the mode lets users other than the owner write to the file.
    pub(super) fn is_writable_for_others(&self) -> bool {
        self.0.st_mode & 0o022 != 0
    }

    /// Returns the owner's user ID.
    pub(crate) fn owner(&self) -> u32 {
        self.0.st_uid
    }

    /// Whether this status and `other` describe the same file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.0.st_dev, self.0.st_ino) == (other.0.st_dev, other.0.st_ino)
    }

    #[cfg(feature = "cli")]
    /// Returns the numbers of the device and the inode, in the format of `$JOURNAL_STREAM` (systemd.exec(5)).
    pub(crate) fn identity(&self) -> String {
        format!("{}:{}", self.0.st_dev, self.0.st_ino)
    }

    #[cfg(feature = "cli")]
    /// Whether the file is the kernel's log, `/dev/kmsg` (Linux `Documentation/admin-guide/devices.txt`).
    pub(crate) fn is_kernel_log(&self) -> bool {
        self.is_device(1, 11)
    }

    #[cfg(feature = "cli")]
    /// Whether the file is `/dev/null` (Linux `Documentation/admin-guide/devices.txt`).
    pub(crate) fn is_null(&self) -> bool {
        self.is_device(1, 3)
    }

    /// Whether the file is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        SFlag::from_bits_truncate(self.0.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
    }

    #[cfg(feature = "cli")]
    fn is_device(&self, first: u64, second: u64) -> bool {
        let file_type = SFlag::from_bits_truncate(self.0.st_mode) & SFlag::S_IFMT;
        file_type == SFlag::S_IFCHR && (major(self.0.st_rdev), minor(self.0.st_rdev)) == (first, second)
    }

    /// Whether this file and `other` are on the same mounted file system.
    pub(crate) fn shares_device(&self, other: &Self) -> bool {
        self.0.st_dev == other.0.st_dev
    }
}

/// Returns the type of a file with this mode, such as `a directory`; `None` for a regular file.
pub(super) fn kind(mode: u32) -> Option<&'static str> {
    match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => None,
        SFlag::S_IFDIR => Some("a directory"),
        SFlag::S_IFLNK => Some("a symbolic link"),
        SFlag::S_IFIFO => Some("a FIFO"),
        SFlag::S_IFSOCK => Some("a socket"),
        _ => Some("a device"),
    }
}

/// Returns the status of an open file.
pub(crate) fn stat(file: impl AsFd) -> Result<Stat, Errno> {
    fstat(file).map(Stat)
}

/// Returns the status of the file at a path. Follows links.
pub(crate) fn stat_at(path: &Path) -> Result<Stat, Errno> {
    nix::sys::stat::stat(path).map(Stat)
}

/// Returns the effective user's ID.
pub(crate) fn user() -> u32 {
    geteuid().as_raw()
}
