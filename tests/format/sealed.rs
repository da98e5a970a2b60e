//! Encrypted credentials of systemd-creds (blobs): how recorded blobs are recognised, and how OEM strings contain
//! them.

use smbios_creds::Name;
use smbios_creds::format::base64;
use smbios_creds::trust::sealed::{Blob, BlobError, PREFIX, Sealed, SealedError, key_of};
use testkit::testdata;

/// Returns blobs that `systemd-creds` wrote, each with the kind of key that it was told to use.
fn recorded() -> Vec<(Vec<u8>, &'static str)> {
    let kinds = [("host", "host"), ("tpm2-254", "tpm2"), ("tpm2-262", "tpm2-pinned"), ("null", "null")];
    let read = |(file, kind)| (std::fs::read(testdata("sealed").join(format!("{file}.cred"))).unwrap(), kind);
    kinds.map(read).to_vec()
}

#[test]
fn recorded_blob_is_recognised_raw_and_in_base64() {
    for (text, kind) in recorded() {
        assert_eq!(key_of(&text).unwrap().as_str(), kind);
        assert_eq!(key_of(&base64::decode(&text).unwrap()).unwrap().as_str(), kind);
        let unwrapped = base64::encode(&base64::decode(&text).unwrap());
        match Blob::new(&text) {
            Ok(blob) => assert_eq!((blob.text(), blob.key().as_str()), (unwrapped.as_str(), kind)),
            Err(error) => assert_eq!((error, kind), (BlobError::NullKey, "null")),
        }
    }
}

#[test]
fn sealed_credential_survives_its_string() {
    for (text, kind) in recorded().into_iter().filter(|(_, kind)| *kind != "null") {
        let sealed = Sealed { name: Name::new("tls key").unwrap(), blob: Blob::new(&text).unwrap() };
        let string = sealed.encode().unwrap();
        assert!(string.len() < text.len() + PREFIX.len() + 9 && !string.contains('\n'));
        let again = Sealed::decode(string.strip_prefix(PREFIX).unwrap().as_bytes()).unwrap();
        assert_eq!((again.blob.key().as_str(), again), (kind, sealed));
    }
    let blob = Blob::new(&recorded()[0].0).unwrap();
    assert_eq!(Sealed { name: Name::new("a=b").unwrap(), blob }.encode(), None);
}

#[test]
fn blob_by_the_null_key_is_refused_by_name() {
    let rest = [b"db=", recorded()[3].0.as_slice()].concat();
    assert_eq!(Sealed::decode(&rest), Err(SealedError::NullKey(Name::new("db").unwrap())));
}
