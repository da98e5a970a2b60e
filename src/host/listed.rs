//! Finds the credentials that a manifest must list: encrypted credentials, and the credentials in existing OEM strings.

use super::content::{Content, Origin};
use super::emit_error::EmitError;
use crate::format::credential::{Credential, Name, Secret};
use crate::format::manifest::{Manifest, ManifestError, Terms};
use crate::format::oem_string::{OemString, decode};
use crate::format::smbios::write::WriteError;
use crate::trust::sealed::Sealed;

/// The credentials that a manifest lists.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) plain: Vec<Credential>,
    pub(super) encrypted: Vec<(Sealed, Origin)>,
}

pub(super) fn encrypted_content(Sealed { name, blob }: &Sealed) -> Content {
    Content::Encrypted { name: name.clone(), size: blob.text().len() }
}

/// Adds size and digest of every encrypted credential to the manifest.
pub(super) fn with_encrypted(
    manifest: Manifest,
    encrypted: &[(Sealed, Origin)],
    mut terms: Terms,
) -> Result<Manifest, EmitError> {
    for (Sealed { name, blob }, _) in encrypted {
        if terms.encrypted.insert(name.clone(), blob.ciphertext()).is_some() {
            let sources = "two encrypted credentials have this name";
            return Err(EmitError::Duplicate { name: name.clone(), sources, help: "remove one" });
        }
    }
    manifest.with_terms(terms).map_err(|error| match error {
        ManifestError::Duplicate(name) => {
            let sources = "an encrypted and a plain credential have this name";
            EmitError::Duplicate { name, sources, help: "remove one" }
        }
        error => EmitError::Set(error),
    })
}

/// Returns the kind of an existing OEM string, for example of a string on the command line. If the string is a
/// credential, adds the credential to `set`.
pub(super) fn look_at(
    text: &Secret,
    origin: Origin,
    string: usize,
    set: &mut Listed,
) -> Result<Content, EmitError> {
    let bytes = text.expose();
    if bytes.is_empty() {
        return Err(EmitError::Unwritable(WriteError::Empty { string }));
    }
    if let Some(position) = bytes.iter().position(|&byte| byte == 0) {
        return Err(EmitError::Unwritable(WriteError::Nul { string, position }));
    }
    match decode(bytes) {
        OemString::Credential(credential, _) => {
            let (name, size) = (credential.name.clone(), credential.value.len());
            set.plain.push(credential);
            Ok(Content::Credential { name, size, origin })
        }
        OemString::MaybeNameless(_) => Err(EmitError::MaybeNameless { string }),
        OemString::Undecodable(error, _) => Err(EmitError::Refused { string, error }),
        OemString::NearMiss { meant } => Err(EmitError::NearMiss { string, meant }),
        OemString::Manifest(_) => Err(EmitError::SecondManifest { string }),
        OemString::Encrypted(text) => {
            let sealed = Sealed::decode(text).map_err(|error| EmitError::Sealed { string, error })?;
            let content = encrypted_content(&sealed);
            set.encrypted.push((sealed, origin));
            Ok(content)
        }
        OemString::Signature(_) => Err(EmitError::OtherSignature { string }),
        OemString::Receipt(_) => Ok(Content::Receipt),
        OemString::Foreign => Ok(Content::Foreign),
    }
}

/// The sources of two credentials with the same name, and how to remove one of them.
pub(super) struct Both {
    pub(super) sources: &'static str,
    pub(super) help: &'static str,
}

/// Returns the sources of the two credentials with the name `wanted`, and how to remove one of them. `in_items` is the
/// number of credentials with this name in `fw_cfg` items.
pub(super) fn both_sources<'a>(
    wanted: &Name,
    in_items: usize,
    contents: impl Iterator<Item = &'a Content>,
) -> Both {
    let existing = contents.filter_map(|content| match content {
        Content::Credential { name, origin, .. } if name == wanted => Some(*origin),
        _ => None,
    });
    match existing.filter(|origin| *origin != Origin::Directory).collect::<Vec<_>>().as_slice() {
        _ if in_items > 1 => Both { sources: "both are given with -fw_cfg", help: "remove one" },
        [] if in_items > 0 => Both {
            sources: "one is given with -fw_cfg, the other is a file of the credentials directory",
            help: "remove one, or do not select the latter",
        },
        _ if in_items > 0 => Both {
            sources: "one is given with -fw_cfg, the other in an OEM string that is sent already",
            help: "remove one",
        },
        [] => Both { sources: "two files are selected for it", help: "remove one --credential" },
        [Origin::File] => Both {
            sources: "one is in a file of OEM strings that the command line names, and the other is a file of the \
                      credentials directory",
            help: "remove one, or do not select the latter",
        },
        [_] => Both {
            sources: "one is in an OEM string of the command line, the other is a file of the credentials directory",
            help: "remove the string, or do not select the file",
        },
        several if several.contains(&Origin::File) => Both {
            sources: "both are OEM strings on the command line or in a file that the command line names",
            help: "remove one",
        },
        _ => Both { sources: "both are OEM strings of the command line", help: "remove one" },
    }
}
