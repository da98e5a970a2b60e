//! Evaluates the NixOS modules with nix, and builds and executes their runners. nixpkgs and microvm.nix are stand-ins
//! (stand-in/) unless NIXPKGS_LIB, and NIXPKGS_NIXOS with MICROVM_NIX, say where the real ones are.
#![expect(clippy::doc_markdown, reason = "names of variables")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod documentation;
mod evaluation;
mod nix;
mod refusals;
mod runners;
mod units;
