//! Makes text for people: safe to print, aligned in columns, and with parts marked as good or bad. Also writes JSON for
//! programs.

pub mod day;
pub mod escape;
pub mod help;
pub mod json;
pub mod listing;
pub mod near;
