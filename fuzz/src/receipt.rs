use smbios_creds::format::receipt::{Address, MESSAGE_MAX, PREFIX, Receipt, Status, Verifier};

/// Reads any bytes as a receipt's message, address and verifier without a panic, and shows the message's status as
/// printable ASCII. If these are written and read again, they are the same.
pub fn receipt(data: &[u8]) {
    if let Ok(receipt) = Receipt::decode(data) {
        assert!(data.len() <= MESSAGE_MAX);
        assert_eq!(field(data, "X_SMBIOS_CREDS_EXIT"), [receipt.exit.to_string().as_bytes()]);
        assert_eq!(field(data, "X_SMBIOS_CREDS_EXPECTED"), [receipt.expected.to_string().as_bytes()]);
        assert_eq!(field(data, "X_SMBIOS_CREDS_VERIFIED"), [receipt.verified.to_string().as_bytes()]);
        let shown = receipt.status.to_string();
        assert!(shown.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{shown}");
        // A status from a guest is escaped again when it is put into a message.
        let again = Receipt { status: Status::new(&shown), ..receipt.clone() };
        let message = again.encode();
        assert!(message.len() <= MESSAGE_MAX && Receipt::is_whole(&message));
        let read = Receipt::decode(&message).expect("what is written is read");
        assert_eq!(
            (read.exit, read.expected, read.verified),
            (receipt.exit, receipt.expected, receipt.verified)
        );
        assert_eq!((read.boot, read.status), (receipt.boot, again.status));
        assert_eq!(read.proof.is_some(), receipt.proof.is_some());
        if let (Some(sent), Some(proof)) = (&receipt.proof, &read.proof) {
            assert!(sent.verifier().accepts(proof));
        }
    }
    if let Ok(address) = Address::decode(data) {
        assert_eq!(address.encode().as_bytes(), [PREFIX.as_bytes(), data].concat());
    }
    if let Ok(verifier) = Verifier::decode(data) {
        assert_eq!(verifier.encode().as_bytes(), data);
    }
    // A status with any text is written as exactly one line.
    let status = Status::new(&String::from_utf8_lossy(data)).encode();
    assert!(
        status.starts_with(b"STATUS=")
            && status.iter().position(|&byte| byte == b'\n') == Some(status.len() - 1)
    );
}

/// Returns the values of a field in a message, without using the code of `Receipt`.
fn field<'a>(data: &'a [u8], key: &str) -> Vec<&'a [u8]> {
    let lines = data.split(|&byte| byte == b'\n');
    let parts = lines.filter_map(|line| {
        let at = line.iter().position(|&byte| byte == b'=')?;
        (&line[..at] == key.as_bytes()).then(|| &line[at + 1..])
    });
    parts.collect()
}
