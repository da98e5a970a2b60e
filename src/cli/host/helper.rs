//! The program as a helper of itself: it puts private arguments in place.

use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use crate::cli::hygiene::{self, Then};
use crate::cli::log;
use crate::host::launch::helper::Helper;

/// Does the work of a helper, if this process is one.
#[must_use]
pub fn run() -> Option<ExitCode> {
    let helper = Helper::of_this_process()?;
    log::start("smbios-creds-host", LevelFilter::INFO);
    // It ends itself, and executes nothing but itself: there is nothing to put back.
    _ = hygiene::protect(Then::Ends);
    Some(helper.run())
}
