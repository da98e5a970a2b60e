use smbios_creds::format::base64;
use smbios_creds::trust::sealed::{Blob, BlobError, Sealed, SealedError, key_of};

/// A string contains a sealed credential (encrypted by systemd-creds) if and only if its blob begins with one of
/// systemd's key IDs and the sizes of its cipher, and is long enough. Encoding a decoded string gives the same string
/// again. An error message never shows the refused data.
pub fn sealed(data: &[u8]) {
    let text = base64::encode(data);
    assert_eq!(key_of(data).is_some(), looks_like_one(data) || in_base64(data));
    match Blob::new(text.as_bytes()) {
        Ok(blob) => {
            assert!(looks_like_one(data) && !blob.key().is_null());
            assert_eq!((blob.text(), Some(blob.key())), (text.as_str(), key_of(data)));
            assert_eq!(blob.ciphertext().size, u64::try_from(text.len()).unwrap());
        }
        Err(BlobError::NullKey) => assert!(looks_like_one(data) && key_of(data).unwrap().is_null()),
        Err(BlobError::NotABlob) => assert!(!looks_like_one(data)),
        Err(error) => panic!("{error}"),
    }
    match Sealed::decode(data) {
        Ok(sealed) => {
            let string = sealed.encode().unwrap();
            let again = Sealed::decode(&string.as_bytes()["io.smbios-creds.encrypted:".len()..]);
            assert_eq!(again, Ok(sealed));
        }
        Err(SealedError::NullKey(name)) => assert!(data.starts_with(name.as_str().as_bytes())),
        Err(error) => {
            let shown = format!("{error} {error:?}");
            let name = data.split(|&byte| byte == b'=').next().unwrap_or_default();
            let is_in = |text: &str| text.as_bytes().windows(name.len()).any(|window| window == name);
            // The fuzzer learns words of the messages and tries them as names, so the message for another name may
            // contain the name.
            assert!(name.len() <= 8 || !is_in(&shown) || is_in(&said_without(name, data)), "{shown}");
        }
    }
}

/// The message for the same data with another name of the same length.
fn said_without(name: &[u8], data: &[u8]) -> String {
    let other: Vec<u8> =
        name.iter().map(|byte| if byte.is_ascii_lowercase() { b'#' } else { *byte }).collect();
    let error = Sealed::decode(&[&other, data.get(name.len()..).unwrap_or_default()].concat()).unwrap_err();
    format!("{error} {error:?}")
}

/// Whether data begins like a blob, checked without the code of `Blob`: with one of 15 key IDs of 16 bytes, and then
/// the numbers 32, 1, 12 and 16 in 32 bits each.
fn looks_like_one(data: &[u8]) -> bool {
    let sizes: Vec<u8> = [32_u32, 1, 12, 16].iter().flat_map(|size| size.to_le_bytes()).collect();
    let is_id = |id: &str| u128::from_str_radix(id, 16).unwrap().to_be_bytes() == data[..16];
    data.len() >= 88 && data[16..32] == sizes && IDS.iter().any(|id| is_id(id))
}

/// Whether data begins with the base64 of such a blob.
fn in_base64(data: &[u8]) -> bool {
    let characters: Vec<u8> =
        data.iter().copied().filter(|byte| !b" \t\r\n".contains(byte)).take(44).collect();
    let is_whole = characters.len() == 44 && !characters.contains(&b'=');
    let decoded = base64::decode(&characters).map(|bytes| bytes.to_vec()).unwrap_or_default();
    let padded = [decoded.as_slice(), &[0; 88]].concat();
    data.len() >= 88 && is_whole && decoded.len() == 33 && looks_like_one(&padded)
}

/// The key IDs in `src/shared/creds-util.h` of systemd 262.
const IDS: [&str; 15] = [
    "5a1c6a86df9d4096b1d5a65e0862f19a",
    "55b9ed1d38594d43a8319d2ebb332ac6",
    "0c7cc07b117645919c4b0bea08bc20fe",
    "faf7eb9341e3412ca1a436f95a29362f",
    "93a894094874449090caf2fc93cab553",
    "ef4ac13679a9480ea7db68897f9f165d",
    "af4950a849134eb1a73846304ff30c05",
    "adbc4ca3efb64201ba881b6f2e4095ea",
    "d4062dfb71ad4c86804b40ef1180f1fc",
    "5e2d5c7603724eaf843c6fb5f64098f5",
    "1414258818a240cd900bce862db5c7b9",
    "2a1f877a4275431ab3f9ed1f5d8f6601",
    "afbfeaaceb6a4a3795419d135c47f37b",
    "16e492949f94400286758f94b7c52bc7",
    "058469daf6f54324800549da0f8ea2fb",
];
