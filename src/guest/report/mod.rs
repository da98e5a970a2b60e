//! What people and programs read.

pub mod last;
pub mod listing;
