//! Files that are read whole.

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::directory::kind;
use super::{Errno, errno, io_errno};

/// What a file that was to be read turned out to be.
pub(crate) enum Content {
    /// A regular file, with these bytes.
    Bytes(Zeroizing<Vec<u8>>),
    /// A regular file with more bytes than were allowed.
    TooLarge,
    /// A regular file that was written to while it was read.
    Changed,
    /// Something else: `a folder`, `a FIFO`.
    Other(&'static str),
}

/// Opens a file for reading. It does not wait for the writer of a FIFO. (The open of nix makes a second call under musl.)
pub(crate) fn open(path: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from).map_err(errno)
}

/// Sets exactly this mode of an open file.
pub(crate) fn set_mode(file: &File, mode: u32) -> Result<(), Errno> {
    rustix::fs::fchmod(file, Mode::from_bits_truncate(mode)).map_err(errno)
}

/// Reads a regular file of at most `limit` bytes into a buffer that is never grown: grown means copied, and the copy is
/// not wiped.
pub(crate) fn read(file: &File, limit: usize) -> Result<Content, Errno> {
    let metadata = file.metadata().map_err(io_errno)?;
    if let Some(kind) = kind(metadata.mode()) {
        return Ok(Content::Other(kind));
    }
    // One byte more than may be there tells whether there is more.
    let more = (limit as u64).saturating_add(1);
    let size = match metadata.len() {
        // Files of the kernel do not always tell their size.
        0 => more,
        size => size.min(more),
    };
    let room = usize::try_from(size).unwrap_or(limit).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(size).read_to_end(&mut bytes).map_err(io_errno)?;
    Ok(if bytes.len() > limit { Content::TooLarge } else { Content::Bytes(bytes) })
}

/// Reads a regular file of which another one says the size; [`Content::Changed`] if it has another size. Not a byte more is
/// asked for.
pub(crate) fn read_exactly(file: &File, size: usize) -> Result<Content, Errno> {
    let metadata = file.metadata().map_err(io_errno)?;
    if let Some(kind) = kind(metadata.mode()) {
        return Ok(Content::Other(kind));
    }
    // Files of the kernel do not always tell their size.
    if metadata.len() != 0 && metadata.len() != size as u64 {
        return Ok(Content::Changed);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.saturating_add(1)));
    file.take(size as u64).read_to_end(&mut bytes).map_err(io_errno)?;
    Ok(if bytes.len() == size { Content::Bytes(bytes) } else { Content::Changed })
}

/// The same as [`read`] for a file that others may write to. It is read twice: a file system may give two writes within one tick of
/// its clock (ramfs: up to 10 ms) the same time. A writer that pauses in the middle is not noticed; only a new file that
/// is renamed over the old one is safe.
pub(crate) fn read_unchanged(mut file: &File, limit: usize) -> Result<Content, Errno> {
    // Not the ctime: a rename changes that, and is safe.
    let state = |metadata: Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    let before = file.metadata().map(state).map_err(io_errno)?;
    let content = read(file, limit)?;
    let Content::Bytes(first) = &content else { return Ok(content) };
    file.rewind().map_err(io_errno)?;
    let is_same = matches!(read(file, limit)?, Content::Bytes(second) if second == *first);
    let after = file.metadata().map(state).map_err(io_errno)?;
    Ok(if is_same && before == after { content } else { Content::Changed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_differs_when_read_again_has_changed() {
        // A new text each time, and no other size or time.
        let file = open(Path::new("/proc/sys/kernel/random/uuid")).unwrap();
        assert!(matches!(read_unchanged(&file, 64).unwrap(), Content::Changed));
        let file = open(Path::new("/proc/version")).unwrap();
        assert!(matches!(read_unchanged(&file, 4096).unwrap(), Content::Bytes(_)));
    }

    #[test]
    fn file_without_a_size_is_read_whole_or_refused() {
        let version = Path::new("/proc/version");
        assert_eq!(version.metadata().unwrap().len(), 0);
        let whole = std::fs::read(version).unwrap();
        let read = |limit| read(&open(version).unwrap(), limit).unwrap();
        assert!(matches!(read(whole.len()), Content::Bytes(bytes) if *bytes == whole));
        assert!(matches!(read(whole.len() - 1), Content::TooLarge));
    }
}
