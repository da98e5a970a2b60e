//! Text for people: made safe to print, aligned, and marked good or bad. And JSON for programs.

pub mod day;
pub mod escape;
pub mod help;
pub mod json;
pub mod listing;
pub mod near;
