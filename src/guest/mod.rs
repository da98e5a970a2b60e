//! The guest's wing: a table is read ([`source`]), verified ([`verify`]), materialized ([`sink`]) and reported
//! ([`report`]); [`record`] makes a recording that can be shown to others.

pub mod auto;
pub mod delivery;
mod directory;
pub mod finding;
mod mount;
pub mod platform;
pub mod record;
pub mod redact;
mod repair;
pub mod report;
pub mod sink;
mod sink_error;
pub mod source;
pub mod state;
pub mod verify;
mod wording;
