//! Messages with a remedy. The text that says what happened is separate from the remedy, the text that says what to do.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

/// A message that comes with a remedy. `Display` writes only the message without the remedy: what happened, to what,
/// and where.
///
/// ```
/// use smbios_creds::guest::source::SourceError;
/// use smbios_creds::text::help::Help as _;
/// let error = SourceError::NoSysfs(std::path::Path::new("/sys").into());
/// assert_eq!(error.to_string(), "cannot look for SMBIOS: /sys does not exist");
/// assert_eq!(error.help().as_deref(), Some("mount sysfs on /sys first"));
/// ```
pub trait Help: Display {
    /// Returns the remedy, as an imperative without a full stop. Returns `None` if there is no remedy that helps in
    /// every case.
    fn help(&self) -> Option<Cow<'static, str>>;

    /// Returns the message and its remedy on one line, with `; ` between them.
    fn on_one_line(&self) -> String {
        joined(&self.to_string(), self.help())
    }
}

/// Joins a message and its remedy. This code is not in [`Help::on_one_line`], so that it is compiled only once for all
/// types of errors.
fn joined(what: &str, help: Option<Cow<'static, str>>) -> String {
    help.map_or_else(|| what.to_owned(), |help| [what, "; ", &help].concat())
}

/// A message: the text that says what happened, and a remedy if there is one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    what: String,
    help: Option<Cow<'static, str>>,
}

impl Message {
    /// Makes a message without a remedy. `what` is the text that says what happened.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), help: None }
    }

    /// Returns the text that says what happened.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Returns the message with this remedy.
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
    /// Writes the message and its remedy as one string, on one line.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.on_one_line())
    }
}

impl Help for Message {
    fn help(&self) -> Option<Cow<'static, str>> {
        self.help.clone()
    }
}
