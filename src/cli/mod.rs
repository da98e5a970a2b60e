//! The programs: what they are asked ([`agent`]), what they do ([`verbs`]), and how they keep quiet about it
//! ([`log`], [`hygiene`], [`usage`]); [`init`] is for when one of them is PID 1.

pub mod agent;
pub mod exit;
pub mod hygiene;
pub mod init;
pub mod log;
mod output;
pub mod usage;
pub mod verbs;
