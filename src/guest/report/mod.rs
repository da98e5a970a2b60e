//! Reports about a delivery and an import, for people and for programs.

mod bounded;
mod known;
pub mod last;
pub mod listing;
pub mod log;
pub mod map;
pub mod receipt;
pub mod remembered;
pub mod way;
