//! Trust: proves who sent a set, and limits who can read it. Used by host and guest; no I/O.

pub mod sealed;
pub mod signature;
