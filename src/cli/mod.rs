//! The programs: what they are asked ([`agent`]), what they do ([`verbs`]), and how they keep quiet about it
//! ([`log`], [`hygiene`]); [`init`] is for when one of them is PID 1.

pub mod agent;
pub mod exit;
pub mod hygiene;
mod import;
pub mod init;
pub mod log;
mod output;
pub mod verbs;
