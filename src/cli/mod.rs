//! The programs: what they are asked ([`agent`]), what they do ([`verbs`]), and how they keep quiet about it
//! ([`log`], [`hygiene`]).

pub mod agent;
pub mod exit;
pub mod hygiene;
pub mod log;
mod output;
pub mod verbs;
