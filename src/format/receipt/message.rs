//! Writes and reads the message of a receipt: the text that a guest sends to its host.

use std::fmt::{self, Display, Formatter, Write as _};

use zeroize::Zeroizing;

use super::address::number;
use super::proof::ValueProof;
use crate::text::escape::Escaped;

/// Maximum number of bytes of a message. systemd's PID 1 also reads at most 4096 bytes of a notification
/// (`NOTIFY_BUFFER_MAX`, `src/basic/constants.h`, v262).
pub const MESSAGE_MAX: usize = 4096;

/// Maximum number of bytes of a receipt's status after escaping. A longer status is cut, and then ends in `...`.
pub const STATUS_MAX: usize = 2048;

/// The result of an import, which a guest sends to its host.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The result of the import in words: one line of text for people. This program escapes the text when it makes a
    /// receipt, and again when it shows a receipt.
    pub status: Status,
    /// The exit code of the import (smbios-creds(1)).
    pub exit: u8,
    /// Number of credentials that the manifest lists. Without a manifest, the number of credentials that arrived.
    pub expected: u64,
    /// Number of credentials that arrived intact.
    pub verified: u64,
    /// ID of the boot in which the guest imported the credentials, from `/proc/sys/kernel/random/boot_id`.
    pub boot: Option<BootId>,
    /// Proof that the guest has every value of the set. The proof is `None` if a value is missing, or if the set had no
    /// manifest.
    pub proof: Option<ValueProof>,
}

/// One line of text from a guest. `Display` escapes everything except printable ASCII.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status(Vec<u8>);

impl Status {
    /// Makes the status of a receipt that this program sends: escapes `text`, and cuts it to [`STATUS_MAX`] bytes.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut escaped = Escaped(text.as_bytes()).to_string();
        if escaped.len() > STATUS_MAX {
            // After escaping, the text is ASCII, so it can be cut at any byte.
            escaped.truncate(STATUS_MAX - "...".len());
            escaped.push_str("...");
        }
        Self(escaped.into_bytes())
    }

    /// Writes a message that contains only this status. The message is for a socket that supports `sd_notify(3)`, but
    /// not receipts.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [b"STATUS=", self.0.as_slice(), b"\n"].concat()
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(&Escaped(&self.0), f)
    }
}

/// The ID of a boot: 36 characters of hexadecimal digits and `-`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BootId([u8; 36]);

impl BootId {
    /// Makes a boot ID from its text. Returns `None` if `text` is not a boot ID.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let id: [u8; 36] = text.try_into().ok()?;
        let fits = |(index, byte): (usize, &u8)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        };
        id.iter().enumerate().all(fits).then_some(Self(id))
    }
}

impl Display for BootId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| f.write_char(byte.into()))
    }
}

/// Why a message is not a receipt. The error never shows the message, which may be from any program in the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// The message has more than [`MESSAGE_MAX`] bytes.
    #[error("it is longer than {MESSAGE_MAX} bytes")]
    TooLong,
    /// The message does not contain a required field.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// The message contains a field twice.
    #[error("it has {0} twice")]
    Twice(&'static str),
    /// The value of a field in the message is malformed.
    #[error("its {0} is malformed")]
    Malformed(&'static str),
}

const STATUS: &str = "STATUS";
const EXIT: &str = "X_SMBIOS_CREDS_EXIT";
const EXPECTED: &str = "X_SMBIOS_CREDS_EXPECTED";
const VERIFIED: &str = "X_SMBIOS_CREDS_VERIFIED";
const BOOT_ID: &str = "X_SMBIOS_CREDS_BOOT_ID";
const PROOF: &str = "X_SMBIOS_CREDS_PROOF";

impl Receipt {
    /// Writes the message of this receipt, at most [`MESSAGE_MAX`] bytes. A blank line at the end shows the host that
    /// the message is complete, because cloud-hypervisor 52 and older do not tell the host that a guest has sent its
    /// last byte.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // The buffer never grows: a buffer that grows leaves a copy in memory that is not wiped.
        let mut message = Zeroizing::new(Vec::with_capacity(MESSAGE_MAX));
        message.extend(self.status.encode());
        let mut line = |key: &str, value: &[u8]| {
            for part in [key.as_bytes(), b"=", value, b"\n"] {
                message.extend_from_slice(part);
            }
        };
        line(EXIT, self.exit.to_string().as_bytes());
        line(EXPECTED, self.expected.to_string().as_bytes());
        line(VERIFIED, self.verified.to_string().as_bytes());
        if let Some(BootId(id)) = &self.boot {
            line(BOOT_ID, id);
        }
        if let Some(proof) = &self.proof {
            line(PROOF, proof.encode().as_bytes());
        }
        message.push(b'\n');
        message
    }

    /// Whether a message is complete: a complete message ends with a blank line.
    #[must_use]
    pub fn is_whole(message: &[u8]) -> bool {
        message.ends_with(b"\n\n")
    }

    /// Reads a receipt from a message. Ignores fields that belong to other programs or to later versions of this
    /// program.
    ///
    /// # Errors
    /// [`ReceiptError`] says why the message is not a receipt.
    pub fn decode(message: &[u8]) -> Result<Self, ReceiptError> {
        if message.len() > MESSAGE_MAX {
            return Err(ReceiptError::TooLong);
        }
        let required = |key| field(message, key)?.ok_or(ReceiptError::Missing(key));
        let malformed = ReceiptError::Malformed;
        let counted = |key| number::<u64>(required(key)?).ok_or(malformed(key));
        let read = |key| field(message, key);
        Ok(Self {
            exit: number(required(EXIT)?).ok_or(malformed(EXIT))?,
            expected: counted(EXPECTED)?,
            verified: counted(VERIFIED)?,
            boot: read(BOOT_ID)?.map(|id| BootId::new(id).ok_or(malformed(BOOT_ID))).transpose()?,
            proof: read(PROOF)?.map(|text| ValueProof::decode(text).ok_or(malformed(PROOF))).transpose()?,
            status: Status(required(STATUS)?.to_vec()),
        })
    }
}

/// Returns the value of the field `key`; `None` if the message does not contain this field.
fn field<'a>(message: &'a [u8], key: &'static str) -> Result<Option<&'a [u8]>, ReceiptError> {
    let value = |line: &'a [u8]| line.strip_prefix(key.as_bytes())?.strip_prefix(b"=");
    let mut values = message.split(|&byte| byte == b'\n').filter_map(value);
    let first = values.next();
    if values.next().is_some() { Err(ReceiptError::Twice(key)) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof() -> ValueProof {
        ValueProof::new(Zeroizing::new([0xa9; 32]))
    }

    fn receipt(status: &str) -> Receipt {
        Receipt {
            status: Status::new(status),
            exit: 0,
            expected: 3,
            verified: 3,
            boot: BootId::new(b"5bd7e8c5-9c5d-4c6e-8c3f-0d8f4f0f2f5a"),
            proof: Some(proof()),
        }
    }

    #[test]
    fn receipt_read_again_says_what_was_written() {
        let sent = receipt("smbios-creds: 3 of 3 credentials verified");
        let read = Receipt::decode(&sent.encode()).unwrap();
        assert_eq!(read.status, sent.status);
        assert_eq!((read.exit, read.expected, read.verified, read.boot), (0, 3, 3, sent.boot));
        assert!(proof().verifier().accepts(&read.proof.unwrap()));
    }

    #[test]
    fn newline_in_a_status_adds_no_field_to_the_message() {
        let message = receipt("a\nREADY=1\n\x1b[31mX_SMBIOS_CREDS_EXIT=0\r").encode();
        let text = str::from_utf8(&message).unwrap();
        assert_eq!(text.lines().count(), 7, "{text}");
        assert!(text.ends_with("\n\n") && text.matches("\n\n").count() == 1, "{text}");
        assert!(text.lines().all(|line| !line.starts_with("READY")), "{text}");
        assert!(text.bytes().all(|byte| matches!(byte, b'\n' | 0x20..=0x7e)));
        assert_eq!(
            Receipt::decode(&message).unwrap().status.to_string(),
            r"a\nREADY=1\n\x1b[31mX_SMBIOS_CREDS_EXIT=0\r"
        );
    }

    #[test]
    fn longest_status_fits_into_a_message() {
        let mut largest = receipt(&"\x1b".repeat(10_000));
        (largest.exit, largest.expected, largest.verified) = (u8::MAX, u64::MAX, u64::MAX);
        let message = largest.encode();
        assert!(message.len() <= MESSAGE_MAX && message.capacity() == MESSAGE_MAX);
        assert_eq!(largest.status.to_string().len(), STATUS_MAX);
        assert!(largest.status.to_string().ends_with("..."));
    }

    #[test]
    fn hostile_message_is_no_receipt_and_is_shown_escaped() {
        let good = receipt("well").encode();
        let text = str::from_utf8(&good).unwrap();
        let decode = |text: String| Receipt::decode(text.as_bytes()).map(|_| ()).unwrap_err();
        for (line, key) in text.lines().take(4).map(|line| (line, line.split_once('=').unwrap().0)) {
            assert_eq!(
                decode(text.replace(&format!("{line}\n"), "")).to_string(),
                format!("it has no {key}")
            );
            assert_eq!(decode(format!("{text}{line}\n")).to_string(), format!("it has {key} twice"));
        }
        for (from, to, key) in [
            ("EXIT=0", "EXIT=256", EXIT),
            ("EXIT=0", "EXIT=-1", EXIT),
            ("EXIT=0", "EXIT=00", EXIT),
            ("EXIT=0", "EXIT=", EXIT),
            ("EXPECTED=3", "EXPECTED=18446744073709551616", EXPECTED),
            ("VERIFIED=3", "VERIFIED=3 ", VERIFIED),
            ("5bd7e8c5-", "5bd7e8c5_", BOOT_ID),
            ("5bd7e8c5-", "5BD7E8C5-", BOOT_ID),
            ("PROOF=a9", "PROOF=A9", PROOF),
            ("PROOF=a9", "PROOF=", PROOF),
            ("PROOF=a9", "PROOF=a9a9", PROOF),
        ] {
            assert_eq!(decode(text.replace(from, to)), ReceiptError::Malformed(key), "{to}");
        }
        assert_eq!(decode(format!("{text}{}", "A=\n".repeat(1366))), ReceiptError::TooLong);
        assert!(matches!(decode("READY=1\n".into()), ReceiptError::Missing(_)));
        let hostile =
            Receipt::decode(&text.replace("=well", "=\x1b]0;x\x07\0\u{202e}").into_bytes()).unwrap();
        assert_eq!(hostile.status.to_string(), r"\x1b]0;x\x07\x00\xe2\x80\xae");
    }

    #[test]
    fn debug_output_of_a_receipt_does_not_show_its_proof() {
        let shown = format!("{:?}", receipt("well"));
        assert!(!shown.contains("a9") && !shown.contains("169"), "{shown}");
    }
}
