use smbios_creds::format::base64;
use smbios_creds::format::credential::Name;
use smbios_creds::format::oem_string::{Encoding, OemString, decode, encode};

use testkit::systemd::{import, unbase64};

/// An OEM string is a credential if and only if systemd imports it, and then both have the same name and value.
/// Base64 is decoded if and only if systemd decodes it.
pub fn oem_string(data: &[u8]) {
    assert_eq!(base64::decode(data).ok().map(|bytes| bytes.to_vec()), unbase64(data));
    // A string of a table ends at its first NUL byte.
    let string = data.split(|&byte| byte == 0).next().unwrap_or_default();
    let decoded = decode(string);
    match (&decoded, import(string)) {
        (OemString::Credential(credential, encoding), Some((name, value))) => {
            assert_eq!(credential.name.as_str().as_bytes(), name);
            assert_eq!(credential.value.expose(), value);
            let written = encode(credential, *encoding).unwrap();
            if *encoding == Encoding::Text {
                assert_eq!(written.expose(), string);
            }
            let again = match decode(written.expose()) {
                OemString::Credential(again, _) => again,
                // A credential in the binary form whose name looks like base64.
                OemString::MaybeNameless(text) => text.named(None, |_| true).unwrap(),
                other => panic!("{other:?}"),
            };
            assert_eq!((&again.name, again.value.expose()), (&credential.name, credential.value.expose()));
        }
        (OemString::MaybeNameless(text), Some((name, value))) => {
            assert!(value.is_empty());
            assert!(text.named(None, |_| false).is_none());
            let credential = text.named(None, |text| text.as_bytes() == name).unwrap();
            assert!(credential.name.as_str().as_bytes() == name && credential.value.is_empty());
            assert_eq!(text.length(), name.len());
        }
        (OemString::Credential(..) | OemString::MaybeNameless(_), None) => {
            panic!("accepted, and not by systemd")
        }
        (_, Some(_)) => panic!("accepted by systemd alone"),
        (OemString::Undecodable(_, encoding), None) => {
            assert!(string.starts_with(encoding.prefix().as_bytes()));
        }
        (OemString::Manifest(rest), None) => {
            assert_eq!([b"io.smbios-creds.manifest:", *rest].concat(), string);
        }
        (OemString::Signature(rest), None) => {
            assert_eq!([b"io.smbios-creds.signature:", *rest].concat(), string);
        }
        (OemString::Encrypted(rest), None) => {
            assert_eq!([b"io.smbios-creds.encrypted:", *rest].concat(), string);
        }
        (OemString::Receipt(rest), None) => {
            assert_eq!([b"io.smbios-creds.receipt:", *rest].concat(), string);
        }
        (OemString::NearMiss { meant }, None) => assert!(!string.starts_with(meant.as_bytes())),
        (OemString::Foreign, None) => {
            assert!(!string.starts_with(b"io.systemd.credential"), "a near miss is never foreign");
        }
    }
    // A name may contain '=', but a reader of a string splits it at the first '='. So compare a name without '='.
    let plain: Vec<u8> = data.iter().map(|&byte| if byte == b'=' { b'.' } else { byte }).collect();
    let with_name = [b"io.systemd.credential:", plain.as_slice(), b"="].concat();
    let imported = import(&with_name).is_some_and(|(name, _)| name == plain);
    assert_eq!(Name::new(&plain).is_ok(), imported);
}
