//! Options for which the short parser ([`super::short`]) may skip the definition in clap. Skipped options keep their
//! defaults.

use std::ops::Deref;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// A group of options that are defined in clap together. If none of them is on the command line, the group need not be
/// defined, and all of them have their defaults.
pub(super) trait Named: Args + Default {
    /// The long names of these options, without `--`. clap uses the same names as IDs of the options' values.
    const NAMES: &'static [&'static str];
}

/// A group of options that need not be defined in clap. If the group is not defined, its options have their defaults.
#[derive(Debug, Default)]
pub(super) struct Asked<T>(T);

impl<T> Deref for Asked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Named> Args for Asked<T> {
    fn augment_args(command: Command) -> Command {
        T::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command)
    }
}

impl<T: Named> FromArgMatches for Asked<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        if T::NAMES.iter().any(|name| matches.try_contains_id(name).unwrap_or(false)) {
            T::from_arg_matches_mut(matches).map(Self)
        } else {
            Ok(Self::default())
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}
