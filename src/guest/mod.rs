//! The guest's wing.
//!
//! [`import`] is the main act: what the [`source`]s received is verified ([`verify`]), materialized ([`place`]) and
//! reported ([`report`]). [`system`] is the running system that all of it looks at. [`record`] makes a recording that can
//! be shown to others.

pub mod close;
pub mod import;
pub mod imported;
pub mod place;
pub mod platform;
pub mod record;
pub mod report;
pub mod source;
pub mod system;
pub mod trust;
pub mod units;
pub mod verify;
