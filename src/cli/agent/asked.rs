//! Options that clap may not have been told ([`super::short`]).

use std::ops::Deref;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// Options that are defined together. Without them in a command line, their value is the default.
pub(super) trait Named: Args + Default {
    /// Their long names, without `--`, which are also how clap names their values.
    const NAMES: &'static [&'static str];
}

/// Options that clap may not have been told.
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
