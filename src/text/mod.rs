//! Text for people: made safe to print, aligned, and marked good or bad.

pub mod day;
pub mod escape;
pub mod listing;
