use smbios_creds::format::base64;
use smbios_creds::trust::signature::{PREFIX, Signature, TrustedKey, signer};

use crate::input::Input;
use testkit::systemd::unbase64;

/// The public key for `SIGNATURE`. Its secret key never signed anything that a fuzzer makes.
const KEY: &str = include_str!("../../testdata/signed/owner.pub");
const MANIFEST: &[u8] = include_bytes!("../../testdata/signed/manifest");
const SIGNATURE: &str = include_str!("../../testdata/signed/manifest.minisig");

/// Reads any text as a signature and as a key without a panic. A signature is written as it was read. For the
/// manifest, only the signature that minisign made is accepted. Its first line may differ, because this line is not
/// signed.
pub fn signature(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => _ = TrustedKey::read(input.0),
        1 => read(Signature::read(input.0).ok()),
        2 => {
            let signature = Signature::decode(input.0).ok();
            if let Some(signature) = &signature {
                let written = signature.encode();
                let text = written.strip_prefix(PREFIX).unwrap();
                assert_eq!(unbase64(text.as_bytes()), unbase64(input.0), "the same file");
            }
            read(signature);
        }
        _ => read(Signature::decode(base64::encode(input.0).as_bytes()).ok()),
    }
}

fn read(signature: Option<Signature>) {
    let Some(signature) = signature else { return };
    let written = signature.encode();
    let text = written.strip_prefix(PREFIX).unwrap();
    assert_eq!(Signature::decode(text.as_bytes()).as_ref(), Ok(&signature));
    let file = unbase64(text.as_bytes()).unwrap();
    let lines: Vec<&[u8]> = file.split(|&byte| byte == b'\n').collect();
    assert!(lines.len() == 5 && lines[4].is_empty(), "four whole lines");
    // The host may add blanks to the first line, which is not signed.
    let sent = Signature::read(&file).unwrap().encode();
    let sent = unbase64(sent.strip_prefix(PREFIX).unwrap().as_bytes()).unwrap();
    let end = sent.iter().position(|&byte| byte == b'\n').unwrap();
    assert_eq!(&sent[end + 1..], lines[1..].join(&b'\n'));
    assert_eq!(sent[..end].trim_ascii_end(), lines[0].trim_ascii_end());

    let key = TrustedKey::read(KEY.as_bytes()).unwrap();
    let signed = signer(MANIFEST, [&signature], &[key]).is_some();
    // Base64 has more than one spelling of the same bytes.
    let meaning = |lines: &[&[u8]]| (unbase64(lines[1]), lines[2].to_vec(), unbase64(lines[3]));
    let real: Vec<&[u8]> = SIGNATURE.as_bytes().split(|&byte| byte == b'\n').collect();
    assert_eq!(
        signed,
        meaning(&lines) == meaning(&real),
        "another signature is accepted, or this one refused"
    );
}
