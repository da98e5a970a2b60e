//! What people and programs read of a delivery and of an import.

mod bounded;
mod known;
pub mod last;
pub mod listing;
pub mod log;
pub mod map;
pub mod receipt;
pub mod remembered;
pub mod way;
