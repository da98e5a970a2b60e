//! The helper process: `smbios-creds-host` executes itself as a helper, which gives the hypervisor the arguments or
//! files that contain secrets.

use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use crate::cli::hygiene::{self, Then};
use crate::cli::log;
use crate::host::launch::helper::Helper;

/// Does the helper's work if this process is a helper. Otherwise returns `None`.
#[must_use]
pub fn run() -> Option<ExitCode> {
    let helper = Helper::of_this_process()?;
    log::start("smbios-creds-host", LevelFilter::INFO);
    // The helper exits, and executes no program except itself. So the helper drops the previous settings, which
    // `hygiene::protect` returns: the helper never restores them.
    _ = hygiene::protect(Then::Ends, hygiene::lock_memory(None));
    Some(helper.run())
}
