//! Removes the secrets from items of `fw_cfg`.

use super::repeats::FILLER;
use super::sealed::plain_filler;
use super::values::Values;
use crate::format::credential::{NameError, Secret};
use crate::format::fw_cfg::{self, Content, Item, Kind};
use crate::format::manifest::Manifest;
use crate::format::receipt::Address;
use crate::format::systemd::FW_CFG_DIRECTORY;

/// Decodes the manifests in the items, and returns the first one that is valid.
pub(super) fn manifest(items: &[Item]) -> Option<Manifest> {
    let mut items = items.iter().filter(|item| fw_cfg::kind(item.path.expose()) == Some(Kind::Manifest));
    items.find_map(|item| match &item.content {
        Content::Bytes(text) => Manifest::decode(text.expose()).ok(),
        Content::TooLarge { .. } => None,
    })
}

/// Returns the values of the credentials in the items, each replaced by what `value_of` returns for it.
pub(super) fn values(items: &[Item], value_of: impl Fn(&Secret) -> Secret) -> Values {
    let mut values = Values::default();
    for Item { path, content, .. } in items {
        if let (Some(Kind::Credential(Ok(name))), Content::Bytes(value)) =
            (fw_cfg::kind(path.expose()), content)
        {
            values.add(name, value_of(value));
        }
    }
    values
}

/// Returns filler that has the same length as the value.
pub(super) fn filler(value: &Secret) -> Secret {
    plain_filler(value.expose(), FILLER)
}

/// Returns copies of the items with filler instead of secrets. A guest accepts and refuses these copies in the same way
/// as the original items. `redact_manifest` overwrites the text of a manifest.
pub(super) fn redact(items: &[Item], redact_manifest: impl Fn(&mut [u8])) -> Vec<Item> {
    let redacted = |item: &Item| {
        let kind = fw_cfg::kind(item.path.expose());
        let mut path = item.path.expose().to_vec();
        let content = match &item.content {
            Content::TooLarge { size } => Content::TooLarge { size: *size },
            Content::Bytes(bytes) => Content::Bytes(match kind {
                Some(Kind::Manifest) => {
                    let mut text = bytes.expose().to_vec();
                    redact_manifest(&mut text);
                    text.into()
                }
                Some(Kind::Receipt) => {
                    let mut text = bytes.expose().to_vec();
                    text.iter_mut()
                        .skip(Address::public_length(bytes.expose()))
                        .for_each(|byte| *byte = FILLER);
                    text.into()
                }
                _ => filler(bytes),
            }),
        };
        if let Some(Kind::Credential(Err(error))) = kind {
            redact_name(path.get_mut(FW_CFG_DIRECTORY.len()..).unwrap_or_default(), error);
        }
        Item { key: item.key, path: path.into(), content }
    };
    items.iter().map(redacted).collect()
}

/// Overwrites a name that is not allowed, because it may be a secret value. The function keeps only the byte because of
/// which a guest refuses the name.
fn redact_name(name: &mut [u8], error: NameError) {
    let kept = match error {
        NameError::Empty | NameError::Reserved => return,
        NameError::TooLong { .. } => None,
        NameError::Byte { position, .. } => Some(position),
    };
    for (position, byte) in name.iter_mut().enumerate() {
        if Some(position) != kept {
            *byte = FILLER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::credential::Name;

    #[test]
    fn bad_name_is_refused_for_the_same_reason_and_not_shown() {
        for name in ["hunter2/hunter3", "hunter2\nhunter3", ".", "..", ""] {
            let Err(error) = Name::new(name) else { panic!("{name:?}") };
            let mut redacted = name.as_bytes().to_vec();
            redact_name(&mut redacted, error);
            assert_eq!(Name::new(&redacted).unwrap_err(), error);
            assert!(!redacted.windows(6).any(|window| window == b"hunter"));
        }
    }
}
