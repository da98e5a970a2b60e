//! The address to which a guest sends a receipt, and the OEM string that contains this address.

use std::fmt::{self, Display, Formatter};

/// Prefix of the OEM string with which the host asks the guest for a receipt. The text of an [`Address`] follows the
/// prefix.
pub const PREFIX: &str = "io.smbios-creds.receipt:";

/// Text at the start of every address, before the CID (a machine's number in vsock addresses) and the port. The
/// notation is systemd's (`socket_address_parse_vsock()`, `src/basic/socket-util.c`, v262).
const STREAM: &str = "vsock-stream:";

/// The CID with which every guest addresses its host (`VMADDR_CID_HOST`, Linux `include/uapi/linux/vm_sockets.h`).
pub const HOST_CID: u32 = 2;

/// The address to which a guest sends a receipt: a vsock port of its host.
///
/// The text of an address is always `vsock-stream:2:PORT`. CID 2 is the host, which already knows everything in a
/// receipt. This program refuses every other CID, because another CID belongs to the guest itself or to another virtual
/// machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Address {
    port: u32,
}

/// Why a text is not an address to which a receipt can be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text does not begin with `vsock-stream:`.
    #[error("it does not begin with 'vsock-stream:'")]
    Kind,
    /// The CID is not 2, the CID of the host.
    #[error("its CID is not 2, the CID of the host")]
    Cid,
    /// The port is not a decimal number from 1 to 4294967294 without a leading zero.
    #[error("its port is not a number from 1 to 4294967294")]
    Port,
}

impl Address {
    /// Makes the address of the vsock port `port` on the host.
    ///
    /// # Errors
    /// [`AddressError::Port`] for the ports 0 and 4294967295, which mean "any port".
    pub fn new(port: u32) -> Result<Self, AddressError> {
        if matches!(port, 0 | u32::MAX) { Err(AddressError::Port) } else { Ok(Self { port }) }
    }

    /// Reads an address from the text after [`PREFIX`] in an OEM string.
    ///
    /// ```
    /// use smbios_creds::format::receipt::{Address, AddressError};
    /// assert_eq!(Address::decode(b"vsock-stream:2:8889")?.port(), 8889);
    /// assert_eq!(Address::decode(b"vsock-stream:3:8889"), Err(AddressError::Cid));
    /// # Ok::<(), AddressError>(())
    /// ```
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong with the text.
    pub fn decode(text: &[u8]) -> Result<Self, AddressError> {
        let rest = text.strip_prefix(STREAM.as_bytes()).ok_or(AddressError::Kind)?;
        let port = rest.strip_prefix(b"2:").ok_or(AddressError::Cid)?;
        Self::new(number(port).ok_or(AddressError::Port)?)
    }

    /// Returns how many bytes at the start of `text` are certainly not secret, and can be shown. An address can be
    /// shown completely. Of any other text, only the part that looks like the start of an address can be shown, because
    /// the part after it may be a secret.
    #[must_use]
    pub fn public_length(text: &[u8]) -> usize {
        match Self::decode(text) {
            Ok(_) => text.len(),
            Err(AddressError::Kind) => 0,
            Err(AddressError::Cid) => STREAM.len(),
            Err(AddressError::Port) => STREAM.len() + "2:".len(),
        }
    }

    /// Returns the vsock port of the address.
    #[must_use]
    pub fn port(self) -> u32 {
        self.port
    }

    /// Writes the OEM string that asks the guest to send a receipt to this address.
    #[must_use]
    pub fn encode(self) -> String {
        format!("{PREFIX}{self}")
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{STREAM}{HOST_CID}:{}", self.port)
    }
}

/// Parses a decimal number that has neither a sign nor a leading zero.
pub(super) fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    let is_canonical = matches!(text, [b'0'] | [b'1'..=b'9', ..]) && text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| is_canonical)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::escape::Escaped;

    #[test]
    fn address_other_than_a_port_of_the_host_is_refused() {
        assert_eq!(Address::decode(b"vsock-stream:2:8889").map(Address::port), Ok(8889));
        assert_eq!(Address::decode(b"vsock-stream:2:4294967294").map(Address::port), Ok(4_294_967_294));
        for (text, error) in [
            (&b""[..], AddressError::Kind),
            (b"/run/notify", AddressError::Kind),
            (b"vsock:2:8889", AddressError::Kind),
            (b"VSOCK-STREAM:2:8889", AddressError::Kind),
            (b"vsock-stream:1:8889", AddressError::Cid),
            (b"vsock-stream:22:8889", AddressError::Cid),
            (b"vsock-stream::8889", AddressError::Cid),
            (b"vsock-stream:2:", AddressError::Port),
            (b"vsock-stream:2:0", AddressError::Port),
            (b"vsock-stream:2:08", AddressError::Port),
            (b"vsock-stream:2:+8", AddressError::Port),
            (b"vsock-stream:2:4294967295", AddressError::Port),
            (b"vsock-stream:2:4294967296", AddressError::Port),
            (b"vsock-stream:2:8889\n", AddressError::Port),
            (b"vsock-stream:2:8889:1", AddressError::Port),
        ] {
            assert_eq!(Address::decode(text), Err(error), "{}", Escaped(text));
        }
        let string = Address::new(8889).unwrap().encode();
        assert_eq!(string, "io.smbios-creds.receipt:vsock-stream:2:8889");
    }
}
