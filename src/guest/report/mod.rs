//! What people and programs read of a delivery and of an import.

pub mod last;
pub mod listing;
pub mod log;
