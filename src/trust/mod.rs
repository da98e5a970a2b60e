//! Trust: what proves who sent a set, and who can read it. For both wings, without I/O.

pub mod sealed;
pub mod signature;
