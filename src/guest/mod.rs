//! The code that runs in the guest.
//!
//! [`import`] is the main task: it verifies what the [`source`]s received ([`verify`]), writes the credentials to their
//! place ([`place`]), and reports the result ([`report`]). All of these modules get the paths and the state of the
//! running system from [`system`]. [`record`] makes a recording that can be shared with others.

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
