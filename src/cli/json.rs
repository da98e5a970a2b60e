//! The option `--json` of both programs.

use clap::{Args, ValueEnum};

/// Whether to print JSON, and in which form. The names of the forms are those of systemd-creds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Json {
    /// Indented
    Pretty,
    /// On one line
    Short,
    /// Text for people
    #[default]
    Off,
}

/// The option `--json`.
#[derive(Args, Debug)]
pub(crate) struct JsonArg {
    /// Print JSON, whose fields are described in smbios-creds-format(7)
    #[arg(long, value_enum, value_name = "FORM", default_value_t, num_args = 0..=1,
          default_missing_value = "pretty", require_equals = true)]
    pub(crate) json: Json,
}
