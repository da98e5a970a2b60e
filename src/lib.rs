//! Credentials for virtual machines over SMBIOS Type 11, read, verified and materialized.
//!
//! A host passes secrets to a virtual machine as SMBIOS Type 11 "OEM strings",
//! `io.systemd.credential:NAME=VALUE` or, in base64, `io.systemd.credential.binary:NAME=VALUE`. The channel cuts and
//! drops tables without a word. This library holds the two promises of `smbios-creds`:
//!
//! 1. What the host meant to send is exactly what the guest has, or a finding says what is wrong: which credential, how
//!    many bytes were expected and found, and where in the table it broke.
//! 2. A secret value never appears in an argument, the environment, a log at any level, an error message, or freed
//!    memory. This library wipes every copy it makes of a value, whichever allocator a program uses. Bytes that you
//!    read yourself are yours to wipe: move them into a [`Secret`] or a
//!    [`Table`].
//!
//! # The map
//!
//! | module | what is there |
//! |---|---|
//! | [`format::credential`] | [`Name`], [`Secret`], [`Credential`] |
//! | [`format::oem_string`] | credential <-> OEM string, decoder and encoder side by side |
//! | [`format::manifest`] | what the host sent: names, sizes, one digest; read and written |
//! | [`format::base64`] | base64 as systemd accepts it |
//! | [`format::smbios`] | SMBIOS bytes -> Type 11 strings, and everything that is wrong with a table |
//! | [`format::smbios::machine`] | which hypervisor and firmware it is, by Types 0 and 1 |
//! | [`guest`] | source -> verify -> place -> hand over -> report; the import on one page |
//! | [`host`] | credentials directory -> OEM strings -> limits -> hypervisor; the start on one page |
//! | [`format::systemd`] | systemd's limits and names, each with its source |
//! | [`trust::signature`] | a minisign signature over a manifest <-> OEM string, and trusted keys |
//! | [`trust::sealed`] | credentials that only the guest's own key opens |
//! | [`text::escape`] | text from outside, made safe to print |
//! | [`text::listing`] | text for people: columns, sizes, what is good or bad |
//!
//! # From a table to credentials
//!
//! ```
//! use smbios_creds::guest::source::{ALL, Input, receive};
//! use smbios_creds::guest::verify::policy::Policy;
//! use smbios_creds::guest::verify::set::verify;
//!
//! let received = receive(ALL, Input::Recording("testdata/cloud-hypervisor-53-api".as_ref()))?;
//! let delivery = verify(received, &Policy::default());
//! for credential in delivery.intact() {
//!     println!("{}: {} bytes", credential.name, credential.value.len());
//! }
//! for finding in &delivery.findings {
//!     println!("{}: {finding}: {}", finding.severity, finding.advice(&delivery.machine));
//! }
//! assert!(delivery.passed());
//! # Ok::<(), smbios_creds::guest::source::SourceError>(())
//! ```
//!
//! # From credentials to a table
//!
//! The documentation of [`host`] and `examples/vmm.rs` are for authors of a VMM. `examples/harness.rs` is for testers of a
//! guest: it makes a table, imports it into a directory as a guest would, and shows that a cut table is noticed.
//!
//! An import on the running system, as `smbios-creds import` does it, is [`guest::import::import`].
//!
//! # Features
//!
//! * `launch`: starting a hypervisor, with private arguments (`host::start`). On aarch64 and x86-64 only.
//! * `cli`, on by default: what the two programs are made of, with clap and the log. It enables `launch`.
//!
//! A VMM that only wants the format needs neither: `default-features = false`.

#![forbid(unsafe_code)]
// docs.rs says which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod format;
pub mod guest;
pub mod host;
mod sys;
pub mod text;
pub mod trust;

pub use format::credential::{Credential, Name, Secret};
pub use format::manifest::Manifest;
pub use format::smbios::Table;
pub use host::strings::OemStrings;

/// Holds the example of the page on the library to what it says.
#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
struct Page;
