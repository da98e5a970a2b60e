//! `KubeVirt`'s hook `onDefineDomain`: adds arguments with which QEMU reads SMBIOS structures from the files of a
//! Secret.
//!
//! `KubeVirt` logs every domain that it defines (`SetDomainSpecStr` in
//! `pkg/virt-launcher/virtwrap/util/libvirt_helper.go`). So this hook adds only paths of files to the domain, and no
//! values of credentials. An admission policy mounts the Secret in the container where QEMU runs (see
//! `integration/kubevirt`). The hook runs in a sidecar container, which does not get the Secret and does not need it.

use std::borrow::Cow;

use serde::Deserialize;

use super::hypervisor::libvirt::edit::{EditError, with_arguments};
use crate::text::help::Help;

/// Directory in QEMU's container in which the Secret is mounted.
pub const DIRECTORY: &str = "/var/run/smbios-creds";

/// Maximum number of files that an annotation may state. An SMBIOS table has no room for more structures of 4 KiB.
pub const FILES_MAX: u16 = 64;

/// Why the arguments cannot be added to a domain. No error shows text of the machine's definition, because the text may
/// contain secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// The `VirtualMachineInstance` cannot be read.
    #[error("the VirtualMachineInstance is not JSON with annotations as text (line {line}, column {column})")]
    Machine {
        /// Number of the line with the error, from 1.
        line: usize,
        /// Number of the column with the error, from 1.
        column: usize,
    },
    /// A required annotation is missing.
    #[error("the VirtualMachineInstance has no annotation {0}")]
    Missing(&'static str),
    /// The annotation does not contain a valid number of files.
    #[error("the annotation {FILES} is not a number from 1 to {FILES_MAX}")]
    Files,
    /// The arguments cannot be added to the domain.
    #[error(transparent)]
    Domain(#[from] EditError),
}

impl Help for HookError {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Missing(_) => Some("set it in spec.template.metadata of the VirtualMachine".into()),
            Self::Files => Some("set it to the number given to 'emit --files'".into()),
            Self::Domain(error) => error.help(),
            Self::Machine { .. } => None,
        }
    }
}

/// Name of the annotation that contains the name of the Secret.
const SECRET: &str = "smbios-creds.io/secret";

/// Name of the annotation that contains the number of the Secret's files.
const FILES: &str = "smbios-creds.io/files";

#[derive(Deserialize)]
struct Machine {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "smbios-creds.io/secret")]
    secret: Option<String>,
    #[serde(rename = "smbios-creds.io/files")]
    files: Option<String>,
}

/// Adds the arguments with which QEMU reads the files of the Secret to the XML of `domain`, and returns the XML.
/// `machine` is the `VirtualMachineInstance` in JSON.
///
/// # Errors
/// [`HookError`] says why the machine must not start. Without the arguments, the machine would start without
/// credentials.
pub fn on_define_domain(machine: &str, domain: &str) -> Result<String, HookError> {
    let values: Vec<String> =
        (0..files(machine)?).map(|number| format!("file={DIRECTORY}/{number}")).collect();
    let arguments: Vec<&str> = values.iter().flat_map(|value| ["-smbios", value]).collect();
    Ok(with_arguments(domain, &arguments)?)
}

/// Returns the number of files that the machine's annotation states.
fn files(machine: &str) -> Result<u16, HookError> {
    let machine: Machine = serde_json::from_str(machine)
        .map_err(|error| HookError::Machine { line: error.line(), column: error.column() })?;
    let annotations = machine.metadata.annotations.unwrap_or_default();
    // Without the annotation that names the Secret, the admission policy does not mount a Secret.
    annotations.secret.filter(|name| !name.is_empty()).ok_or(HookError::Missing(SECRET))?;
    let files = annotations.files.ok_or(HookError::Missing(FILES))?;
    let is_plain = !files.starts_with('0') && files.bytes().all(|byte| byte.is_ascii_digit());
    let files = files.parse().ok().filter(|number| is_plain && (1..=FILES_MAX).contains(number));
    files.ok_or(HookError::Files)
}
