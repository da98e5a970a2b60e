//! Reads whole files.

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use super::stat::kind;
use super::{Errno, errno, io_errno};

/// The result of reading a file.
pub(crate) enum Content {
    /// A regular file, with these bytes.
    Bytes(Zeroizing<Vec<u8>>),
    /// A regular file that is larger than the limit.
    TooLarge,
    /// A regular file that changed while it was being read.
    Changed,
    /// Not a regular file. The text says what the file is, such as `a directory` or `a FIFO`.
    Other(&'static str),
}

/// Opens a file for reading. If the file is a FIFO, does not wait for a writer. (nix's `open` is not used, because it
/// makes a second system call under musl.)
pub(crate) fn open(path: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from).map_err(errno)
}

/// Sets the mode of an open file to exactly this mode.
pub(crate) fn set_mode(file: &File, mode: u32) -> Result<(), Errno> {
    rustix::fs::fchmod(file, Mode::from_bits_truncate(mode)).map_err(errno)
}

/// Reads a regular file of at most `limit` bytes. The buffer never grows: a buffer that grows is copied, and the old
/// copy is not wiped.
pub(crate) fn read(file: &File, limit: usize) -> Result<Content, Errno> {
    let metadata = file.metadata().map_err(io_errno)?;
    if let Some(kind) = kind(metadata.mode()) {
        return Ok(Content::Other(kind));
    }
    // If one byte more than the limit can be read, the file is too large.
    let more = (limit as u64).saturating_add(1);
    let size = match metadata.len() {
        // Files of the kernel, such as those in `/proc` and sysfs, may report the size 0.
        0 => more,
        size => size.min(more),
    };
    let room = usize::try_from(size).unwrap_or(limit).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(size).read_to_end(&mut bytes).map_err(io_errno)?;
    Ok(if bytes.len() > limit { Content::TooLarge } else { Content::Bytes(bytes) })
}

/// Reads a regular file that must have exactly `size` bytes. Returns [`Content::Changed`] if the file has another size.
/// Never reads more than `size` bytes.
pub(crate) fn read_exactly(file: &File, size: usize) -> Result<Content, Errno> {
    let metadata = file.metadata().map_err(io_errno)?;
    if let Some(kind) = kind(metadata.mode()) {
        return Ok(Content::Other(kind));
    }
    // Files of the kernel, such as those in `/proc` and sysfs, may report the size 0.
    if metadata.len() != 0 && metadata.len() != size as u64 {
        return Ok(Content::Changed);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.saturating_add(1)));
    file.take(size as u64).read_to_end(&mut bytes).map_err(io_errno)?;
    Ok(if bytes.len() == size { Content::Bytes(bytes) } else { Content::Changed })
}

/// Does the same as [`read`] for a file to which other processes may write. The file is read twice, because a file
/// system may give two writes within one tick of its clock (ramfs: up to 10 ms) the same modification time. If a writer
/// pauses during both reads, this function does not notice that the file is incomplete. The content is certainly
/// complete only if the writer writes a new file, and then renames the new file to the name of the old file.
pub(crate) fn read_unchanged(mut file: &File, limit: usize) -> Result<Content, Errno> {
    // The ctime is not compared, because a rename changes the ctime, but not the content.
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
        // Each read of this file returns new text, but the file's size and modification time stay the same.
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
