//! The credential values that a redaction has found.

use std::collections::BTreeMap;

use crate::format::credential::{Name, Secret};

/// The values of several credentials. If several values have the same name, `get()` returns the first of them.
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

    /// Returns all values.
    pub(super) fn all(&self) -> impl Iterator<Item = &Secret> {
        self.all.iter()
    }
}
