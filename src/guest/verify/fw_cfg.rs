//! Reads items of `fw_cfg` into [`Received`].

use super::delivery::Entry;
use super::finding::{FindingKind, Severity};
use super::origin::Origin;
use super::received::{Received, SentManifest};
use crate::format::credential::Credential;
use crate::format::fw_cfg::{self, Content, Item, Kind};
use crate::format::oem_string::DecodeError;

/// Decodes every item that is, or was meant to be, a credential or another item of this program. Other items are not
/// counted: most of them belong to the firmware.
///
/// ```
/// use smbios_creds::format::fw_cfg::{Content, Item};
/// use smbios_creds::guest::verify::fw_cfg::receive;
/// let content = Content::Bytes(b"hunter2".to_vec().into());
/// let item = Item { key: 41, path: b"opt/io.systemd.credentials/db".to_vec().into(), content };
/// let received = receive(vec![item]);
/// assert_eq!(received.entries[0].origin.short().to_string(), "qemu_fw_cfg/by_key/41");
/// ```
#[must_use]
pub fn receive(items: Vec<Item>) -> Received {
    let mut received = Received::default();
    for Item { key, path, content } in items {
        let Some(kind) = fw_cfg::kind(path.expose()) else { continue };
        received.is_anything_sent = true;
        let origin = Origin::fw_cfg(key);
        let size = content.size();
        let refused = match (kind, content) {
            (kind @ (Kind::Manifest | Kind::Signature | Kind::Receipt), content) => {
                // An item that is too large was not read. The text of such an item is empty here, and empty text cannot
                // be decoded.
                let text = match content {
                    Content::Bytes(text) => text,
                    Content::TooLarge { .. } => Vec::new().into(),
                };
                match kind {
                    Kind::Signature => received.signatures.push((text, origin)),
                    Kind::Receipt => received.receipts.push((text, origin)),
                    _ => received.manifests.push(SentManifest::read(text.expose(), origin)),
                }
                continue;
            }
            (Kind::Credential(Ok(name)), Content::Bytes(value)) => {
                received.entries.push(Entry::decoded(Credential::new(name, value), None, origin));
                continue;
            }
            (Kind::Credential(Err(reason)), _) => DecodeError::Name(reason),
            (Kind::Credential(Ok(_)), Content::TooLarge { size }) => DecodeError::TooLarge { size },
        };
        let kind = FindingKind::ItemNotACredential { reason: refused, size };
        received.find(kind, Severity::Error, origin.clone());
        received.entries.push(Entry::undecodable(refused, None, origin));
    }
    received
}
