//! Values that a redaction knows.

use std::collections::BTreeMap;

use crate::format::credential::{Name, Secret};

/// The values of what was looked at, of which the first of a name counts.
#[derive(Default)]
pub(super) struct Values {
    all: Vec<Secret>,
    first: BTreeMap<Name, usize>,
}

impl Values {
    pub(super) fn get(&self, name: &Name) -> Option<&Secret> {
        self.all.get(*self.first.get(name)?)
    }

    pub(super) fn add(&mut self, name: Name, value: Secret) {
        self.first.entry(name).or_insert(self.all.len());
        self.all.push(value);
    }

    /// Every one of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Secret> {
        self.all.iter()
    }
}
