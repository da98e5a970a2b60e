//! Help for people who know systemd-creds(1), and use one of its verbs that this program does not have.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Verbs of systemd-creds 262 that this program does not have.
const ITS_VERBS: [&str; 4] = ["encrypt", "decrypt", "setup", "has-tpm2"];

/// Returns a help text for the error about an unknown verb, if systemd-creds(1) has this verb; otherwise `None`.
#[must_use]
pub fn help(error: &Error) -> Option<&'static str> {
    let is_unknown_verb = error.kind() == ErrorKind::InvalidSubcommand;
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(verb)) if is_unknown_verb && ITS_VERBS.contains(&verb.as_str()) => Some(
            "this is a verb of systemd-creds(1), which encrypts and decrypts credentials. The host passes them \
             on encrypted with 'smbios-creds-host run --encrypted NAME'",
        ),
        _ => None,
    }
}
