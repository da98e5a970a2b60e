//! Finds the credential whose name is most similar to a mistyped name.

use std::fmt::{self, Display, Formatter};

use crate::format::credential::Name;
use crate::text::near::nearest;

/// End of a message about a missing name: `(did you mean NAME?)`, or no text if no name is similar.
#[derive(Clone, Debug, Default)]
pub struct Near(Option<Box<Name>>);

impl Near {
    /// Finds the name in `names` that is most similar to `missing`. Ignores the names in `asked_for`, because the user
    /// has already selected credentials with these names.
    pub(super) fn among<'a>(
        missing: &Name,
        names: impl Iterator<Item = &'a Name> + Clone,
        asked_for: &[Name],
    ) -> Self {
        let names = names.filter(|name| !asked_for.contains(name));
        let near = nearest(missing.as_str(), names.clone().map(Name::as_str));
        Self(near.and_then(|near| names.clone().find(|name| name.as_str() == near)).cloned().map(Box::new))
    }
}

impl Display for Near {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |name| write!(f, " (did you mean {name}?)"))
    }
}
