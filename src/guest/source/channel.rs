//! The interface of a source.

use std::path::Path;

use super::error::SourceError;
use crate::guest::system::System;
use crate::guest::verify::received::Received;
use crate::sys::directory::stat_at;

/// The input of sources: the running system, or a recording of a system.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The kernel's files in this running system.
    Running(&'a System),
    /// A directory that contains copies of these files.
    Recording(&'a Path),
    /// A file of `dmidecode --dump-bin`, with a table and its entry point.
    Dump(&'a Path),
}

impl<'a> Input<'a> {
    /// What is named instead of the running system: a directory, or a file.
    #[must_use]
    pub fn named(path: &'a Path) -> Self {
        // What cannot be looked at is told of by what cannot be read in it.
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
    /// [`SourceError`]. If the error says that this machine does not have the source, the other sources are used.
    fn receive(&self, input: Input<'_>) -> Result<Received, SourceError>;

    /// Returns what to do so that this machine gets the source, if this can be detected. It is called only if every
    /// source is absent, so it costs a machine with a source nothing.
    fn why_absent(&self, input: Input<'_>) -> Option<SourceError> {
        let _ = input;
        None
    }
}
