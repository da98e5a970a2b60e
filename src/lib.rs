//! Reads, verifies and stores credentials that a virtual machine receives over SMBIOS Type 11. On the host, writes
//! credentials as SMBIOS Type 11 strings.
//!
//! A host passes secrets to a virtual machine as SMBIOS Type 11 "OEM strings",
//! `io.systemd.credential:NAME=VALUE` or, in base64, `io.systemd.credential.binary:NAME=VALUE`. The channel can cut or
//! drop a table without reporting an error. This library keeps the two promises of `smbios-creds`:
//!
//! 1. The guest has exactly the credentials that the host sent, or a finding says what is wrong. The finding names the
//!    affected credential, the number of bytes that were expected and found, and the offset at which the damage of the
//!    table begins.
//! 2. A secret value never appears in an argument, the environment, a log at any level, an error message, or freed
//!    memory. This library wipes every copy that it makes of a value, regardless of the program's allocator. Your
//!    program must wipe the bytes that it reads itself: move these bytes into a [`Secret`] or a [`Table`].
//!
//! # Modules
//!
//! | module | content |
//! |---|---|
//! | [`format::credential`] | [`Name`], [`Secret`], [`Credential`] |
//! | [`format::oem_string`] | converts a credential to an OEM string and back |
//! | [`format::manifest`] | reads and writes the list of what the host sent: names, sizes and one digest |
//! | [`format::base64`] | decodes base64 that systemd accepts, and encodes base64 |
//! | [`format::smbios`] | parses SMBIOS bytes into Type 11 strings, and reports every fault of the table |
//! | [`format::smbios::machine`] | identifies the hypervisor and the firmware by SMBIOS structures of Types 0 and 1 |
//! | [`guest`] | the steps of an import: source -> verify -> place -> handover -> report |
//! | [`host`] | the steps of a start: credentials directory -> OEM strings -> limits -> hypervisor |
//! | [`format::systemd`] | systemd's limits and names, each with the file of systemd that defines it |
//! | [`trust::signature`] | converts a minisign signature of a manifest to an OEM string and back; reads trusted keys |
//! | [`trust::sealed`] | encrypted credentials, which only the guest's own key can decrypt |
//! | [`text::escape`] | makes text from outside safe to print |
//! | [`text::listing`] | human-readable text: columns, sizes, marks for good and bad |
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
//! If you write a VMM, read the documentation of [`host`] and `examples/vmm.rs`. If you test a guest, read
//! `examples/harness.rs`. This program makes a table, imports the table into a directory as a guest would, and shows
//! that a cut table is noticed.
//!
//! [`guest::import::import`] imports the credentials of the running system, as `smbios-creds import` does.
//!
//! # Features
//!
//! * `launch`: starts a hypervisor with private arguments (`host::start`). Available only on aarch64 and x86-64.
//! * `cli`, on by default: the code of the two programs, with clap and the log. This feature enables `launch`.
//!
//! A VMM that only needs the format needs neither feature: set `default-features = false`.

#![forbid(unsafe_code)]
// docs.rs shows which feature an item needs.
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

/// Runs the example in docs/library.md as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
struct Page;
