//! Table, manifest and policy -> the credentials, and everything there is to say about them.

pub mod delivery;
pub mod finding;
pub mod set;
mod wording;
