//! The project itself: its documentation and its package.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod docs;
mod package;
mod shape;
