//! What only the hypervisor is given.

use super::files::InFiles;
use super::stack::Replacement;

/// Arguments that only the hypervisor finds. Others find a placeholder.
#[derive(Debug, Default)]
pub struct Hidden {
    /// Arguments whose text is secret.
    pub replacements: Vec<Replacement>,
    /// Arguments with the paths of files that only the hypervisor has.
    pub files: Vec<InFiles>,
}

impl Hidden {
    pub(super) fn is_empty(&self) -> bool {
        self.replacements.is_empty() && self.files.is_empty()
    }
}
