//! Recordings of a table, for bug reports and tests.

mod fields;
pub mod redact;
mod repeats;
pub mod write;
