//! What a source is.

use std::path::Path;

use super::error::SourceError;
use crate::guest::system::System;
use crate::guest::verify::received::Received;

/// What sources read: the running system, or a recording of one.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The files of the kernel.
    Running(&'a System),
    /// A directory that holds copies of them, all in one place.
    Recording(&'a Path),
}

/// A channel by which a host sends credentials.
pub trait Source: Sync {
    /// Reads and decodes everything that was sent this way. Nothing is judged yet.
    ///
    /// # Errors
    /// [`SourceError`]. If it says that this machine has no such source, the other sources decide.
    fn receive(&self, input: Input<'_>) -> Result<Received, SourceError>;

    /// What to do so that this machine has such a source, if that can be seen. It is asked only where every source is
    /// absent, so that a machine that has one pays nothing for it.
    fn why_absent(&self, input: Input<'_>) -> Option<SourceError> {
        let _ = input;
        None
    }
}
