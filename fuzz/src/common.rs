//! What the tests of the package hold it against, shared with them.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::pedantic, reason = "the tests' own lints apply")]

#[path = "../../tests/common/options.rs"]
pub(crate) mod options;
#[path = "../../tests/common/stack.rs"]
pub(crate) mod stack;
#[path = "../../tests/common/systemd.rs"]
pub(crate) mod systemd;
#[path = "../../tests/common/table.rs"]
pub(crate) mod table;
