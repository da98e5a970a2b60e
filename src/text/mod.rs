//! Text for people: made safe to print, aligned, and marked good or bad.

pub mod escape;
pub mod listing;
