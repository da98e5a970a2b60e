//! The sources of credentials.
//!
//! To add a source, write a file here with a type that implements [`Source`]. Declare the module of this file below,
//! and add the type to [`ALL`] at its place in the order. Everything that the new source receives is verified like the
//! input of the other sources. If the source has one file for each credential, use
//! [`Origin::File`](crate::guest::verify::origin::Origin::File) as the origin.

mod channel;
pub mod dmi;
mod entry_point_of_firmware;
mod error;
pub mod fw_cfg;

pub use channel::{Input, Source};
pub use error::SourceError;

use super::verify::received::Received;

/// All sources, in the order in which they are read. If several credentials have the same name, the credential that was
/// read first is used.
///
/// `fw_cfg` comes before SMBIOS, as in systemd (`import_credentials_trusted()`, `src/core/import-creds.c`).
pub const ALL: &[&dyn Source] = &[&fw_cfg::FwCfg, &dmi::Dmi];

/// Reads the sources one after another.
///
/// ```
/// use smbios_creds::guest::source::{ALL, Input, receive};
/// let received = receive(ALL, Input::Recording("testdata/cloud-hypervisor-53-api".as_ref()))?;
/// assert!(!received.entries.is_empty());
/// # Ok::<(), smbios_creds::guest::source::SourceError>(())
/// ```
///
/// # Errors
/// Returns the first [`SourceError`]. A source that this machine does not have is an error only if the machine has no
/// other source either. If all sources are missing but this machine could have one of them, the error says what to do.
pub fn receive(sources: &[&dyn Source], input: Input<'_>) -> Result<Received, SourceError> {
    let mut all: Option<Received> = None;
    let mut absence: Option<SourceError> = None;
    for source in sources {
        match (source.receive(input), &mut all) {
            (Ok(received), Some(all)) => all.append(received),
            (Ok(received), None) => all = Some(received),
            (Err(error), _) if error.lets_others_decide() => {
                absence = Some(match absence.take() {
                    Some(earlier) => earlier.or(error),
                    None => error,
                });
            }
            (Err(error), _) => return Err(error),
        }
    }
    match (all, absence) {
        (None, Some(absence)) => {
            let reasons = sources.iter().filter_map(|source| source.why_absent(input));
            Err(reasons.fold(absence, SourceError::or))
        }
        (all, _) => Ok(all.unwrap_or_default()),
    }
}
