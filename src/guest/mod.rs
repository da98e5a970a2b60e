//! The guest's wing: a table is read ([`source`]), verified ([`verify`]), materialized ([`place`]) and reported
//! ([`report`]); [`record`] makes a recording that can be shown to others.

pub mod place;
pub mod platform;
pub mod record;
pub mod report;
pub mod source;
pub mod verify;
