//! Finds the credential that somebody meant who mistyped its name.

use std::fmt::{self, Display, Formatter};

use crate::format::credential::Name;
use crate::text::near::nearest;

/// End of a message about a missing name: the name that may be meant, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Near(Option<Box<Name>>);

impl Near {
    /// Returns the nearest of these names, if one is near. A name that is asked for itself is left out.
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
