//! The project itself: its documentation and its package.
#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod architecture;
mod benchmarks;
mod book;
mod build;
mod completion;
mod docs;
mod door;
mod engines;
mod messages;
mod package;
mod runner;
mod schema;
mod shape;
mod units;
mod version;
mod words;
