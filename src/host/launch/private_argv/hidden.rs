//! The arguments that only the hypervisor gets.

use super::files::InFiles;
use super::stack::Replacement;

/// The arguments that only the hypervisor gets. Other programs get placeholders instead.
#[derive(Debug, Default)]
pub struct Hidden {
    /// Arguments whose text is secret.
    pub replacements: Vec<Replacement>,
    /// Arguments that contain the paths of files that only the hypervisor has.
    pub files: Vec<InFiles>,
}

impl Hidden {
    pub(super) fn is_empty(&self) -> bool {
        self.replacements.is_empty() && self.files.is_empty()
    }
}
