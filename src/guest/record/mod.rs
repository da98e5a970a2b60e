//! Recordings of a table, for bug reports and tests.

pub mod redact;
pub mod write;
