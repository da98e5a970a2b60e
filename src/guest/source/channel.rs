//! The interface that every source of credentials implements.

use std::path::Path;

use super::error::SourceError;
use crate::guest::system::System;
use crate::guest::verify::received::Received;
use crate::sys::stat::stat_at;

/// What the sources read: the running system, or a recording of a system.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The kernel's files in this running system.
    Running(&'a System),
    /// A directory that contains copies of the kernel's files.
    Recording(&'a Path),
    /// A file that `dmidecode --dump-bin` wrote, with an SMBIOS table and its entry point.
    Dump(&'a Path),
}

impl<'a> Input<'a> {
    /// Returns the input at this path: a dump of `dmidecode` if the path is a file, otherwise a recorded directory.
    #[must_use]
    pub fn named(path: &'a Path) -> Self {
        // If `stat` fails, the path counts as a directory. The sources report the error when they read the directory's
        // files.
        if stat_at(path).is_ok_and(|stat| !stat.is_directory()) {
            Self::Dump(path)
        } else {
            Self::Recording(path)
        }
    }
}

/// A channel by which a host sends credentials.
pub trait Source: Sync {
    /// Reads and decodes everything that was sent through this channel. Does not verify anything.
    ///
    /// # Errors
    /// [`SourceError`]. If the error says that this machine does not have the source ([`SourceError::is_absence`]), the
    /// other sources are used.
    fn receive(&self, input: Input<'_>) -> Result<Received, SourceError>;

    /// Returns an error that says how the user can make the source available on this machine; `None` if no way is
    /// known. This function is called only if every source is absent, so it costs no time on a machine that has a
    /// source.
    fn why_absent(&self, input: Input<'_>) -> Option<SourceError> {
        let _ = input;
        None
    }
}
