//! What to do about an error, apart from what happened.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

/// A message that comes with a remedy. `Display` says what happened to what, and where.
///
/// ```
/// use smbios_creds::guest::source::SourceError;
/// use smbios_creds::text::help::Help as _;
/// let error = SourceError::NoSysfs(std::path::Path::new("/sys").into());
/// assert_eq!(error.to_string(), "cannot look for SMBIOS: /sys does not exist");
/// assert_eq!(error.help().as_deref(), Some("mount sysfs on /sys first"));
/// ```
pub trait Help: Display {
    /// What to do, as an imperative without a full stop. `None` if there is nothing that always helps.
    fn help(&self) -> Option<Cow<'static, str>>;

    /// What happened and what to do, where there is only one line.
    fn on_one_line(&self) -> String {
        joined(&self.to_string(), self.help())
    }
}

/// What happened and what to do. It is compiled once for all types of errors.
fn joined(what: &str, help: Option<Cow<'static, str>>) -> String {
    help.map_or_else(|| what.to_owned(), |help| [what, "; ", &help].concat())
}

/// What happened, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    what: String,
    help: Option<Cow<'static, str>>,
}

impl Message {
    /// What happened, and nothing that helps.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), help: None }
    }

    /// What happened.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_help(self, help: impl Into<Cow<'static, str>>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl<H: Help> From<&H> for Message {
    fn from(said: &H) -> Self {
        Self { what: said.to_string(), help: said.help() }
    }
}

impl Display for Message {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl serde::Serialize for Message {
    /// On one line.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.on_one_line())
    }
}

impl Help for Message {
    fn help(&self) -> Option<Cow<'static, str>> {
        self.help.clone()
    }
}
