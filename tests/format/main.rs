//! The format on its own: strings, tables and entry points, healthy and damaged.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod corpus;
mod damage;
mod encoding;
mod hex;
mod machine;
mod manifest;
mod sealed;
mod second_reader;
mod signature;
mod vendor;
