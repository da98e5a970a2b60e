//! Trust: what proves who sent a set. For both wings, without I/O.

pub mod signature;
