//! Signatures and trusted keys, made by Debian's minisign (`testdata/signed/make`).

use std::fs;

use smbios_creds::format::base64;
use smbios_creds::trust::signature::{
    KeyError, PREFIX, SIGNATURE_MAX, Signature, SignatureError, TrustedKey, signer,
};

fn file(name: &str) -> Vec<u8> {
    fs::read(format!("testdata/signed/{name}")).unwrap()
}

fn key(name: &str) -> TrustedKey {
    TrustedKey::read(&file(&format!("{name}.pub"))).unwrap()
}

fn decoded(string: &[u8]) -> Result<Signature, SignatureError> {
    Signature::decode(string.strip_prefix(PREFIX.as_bytes()).unwrap_or_default())
}

#[test]
fn signature_file_and_string_are_the_same() {
    let signature = Signature::read(&file("manifest.minisig")).unwrap();
    let string = signature.encode();
    assert_eq!(decoded(string.as_bytes()).as_ref(), Ok(&signature));
    let text = base64::decode(string.strip_prefix(PREFIX).unwrap().as_bytes()).unwrap();
    let (comment, signed) = str::from_utf8(&text).unwrap().split_once('\n').unwrap();
    let sent = format!("{}\n{signed}", comment.trim_end());
    assert_eq!(sent.into_bytes(), file("manifest.minisig"), "minisign can verify what was sent");
    assert!(string.ends_with("=="), "{string}");
    assert!(key("owner").has_signed(&file("manifest"), &signature));
    assert_eq!(signature.key_id(), key("owner").id());
}

#[test]
fn file_without_last_newline_or_with_crlf_is_sent_whole() {
    let sent = Signature::read(&file("manifest.minisig")).unwrap().encode();
    let text = String::from_utf8(file("manifest.minisig")).unwrap();
    for other in [text.trim_end().to_owned(), text.replace('\n', "\r\n"), text.clone() + "\n"] {
        assert_eq!(Signature::read(other.as_bytes()).unwrap().encode(), sent);
    }
}

#[test]
fn key_is_shown_as_minisign_shows_it() {
    for name in ["owner", "old", "other"] {
        let text = String::from_utf8(file(&format!("{name}.pub"))).unwrap();
        let shown = text.lines().next().unwrap().rsplit(' ').next().unwrap();
        assert_eq!(key(name).id().to_string(), shown);
        let line = text.lines().nth(1).unwrap();
        assert_eq!(TrustedKey::read(line.as_bytes()).unwrap().id(), key(name).id());
    }
}

#[test]
fn legacy_signature_is_refused() {
    assert_eq!(Signature::read(&file("legacy.minisig")), Err(SignatureError::Legacy));
    // Change only the header of the signature, so that it claims to be over a digest.
    let text = String::from_utf8(file("legacy.minisig")).unwrap().replacen("\nRWS", "\nRUS", 1);
    let text = text.replacen("\nRWT", "\nRUT", 1).replacen("\nRWQ", "\nRUQ", 1).replacen("\nRWR", "\nRUR", 1);
    let signature = Signature::read(text.as_bytes()).unwrap();
    assert!(!key("owner").has_signed(&file("manifest"), &signature));
}

#[test]
fn signature_cut_at_any_byte_is_never_accepted() {
    let (manifest, keys) = (file("manifest"), [key("owner")]);
    let signature = Signature::read(&file("manifest.minisig")).unwrap();
    let string = signature.encode();
    for end in 0..string.len() {
        let cut = decoded(&string.as_bytes()[..end]);
        assert!(cut.is_err(), "{end} of {} bytes", string.len());
    }
    let text = base64::decode(string.strip_prefix(PREFIX).unwrap().as_bytes()).unwrap();
    // Here, the file is cut first and then encoded. The base64 is valid, so only the parser of the signature can find the
    // cut, even if only the last newline is missing.
    for end in 0..text.len() {
        assert!(decoded(format!("{PREFIX}{}", *base64::encode(&text[..end])).as_bytes()).is_err(), "{end}");
    }
    for end in 0..manifest.len() {
        assert_eq!(signer(&manifest[..end], [&signature], &keys), None);
    }
}

#[test]
fn signature_with_any_bit_flipped_is_never_accepted() {
    let (manifest, key) = (file("manifest"), key("owner"));
    let text = file("manifest.minisig");
    // The untrusted comment is not signed.
    let signed = text.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for at in signed..text.len() {
        for bit in 0..8 {
            let mut text = text.clone();
            text[at] ^= 1 << bit;
            if let Ok(signature) = Signature::decode(base64::encode(&text).as_bytes()) {
                assert!(!key.has_signed(&manifest, &signature), "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn manifest_with_any_byte_changed_is_not_signed() {
    let signature = Signature::read(&file("manifest.minisig")).unwrap();
    let keys = [key("owner")];
    for at in 0..file("manifest").len() {
        let mut manifest = file("manifest");
        manifest[at] ^= 1;
        assert_eq!(signer(&manifest, [&signature], &keys), None, "byte {at}");
    }
    let more = [file("manifest"), b"\n".to_vec()].concat();
    assert_eq!(signer(&more, [&signature], &keys), None);
}

#[test]
fn any_of_eight_signatures_is_enough_and_the_ninth_never_counts() {
    let manifest = file("manifest");
    let signature = Signature::read(&file("manifest.minisig")).unwrap();
    let other = {
        let strings = String::from_utf8(file("other-key.strings")).unwrap();
        let string = strings.lines().find(|string| string.starts_with(PREFIX)).unwrap().to_owned();
        decoded(string.as_bytes()).unwrap()
    };
    let keys = [key("old"), key("owner")];
    for others in 0..10 {
        let signatures: Vec<_> = std::iter::repeat_n(&other, others).chain([&signature]).collect();
        let signer = signer(&manifest, signatures, &keys);
        assert_eq!(signer, (others < 8).then_some(key("owner").id()), "{others} before it");
    }
    assert_eq!(signer(&manifest, [&signature], &[]), None, "nobody is trusted");
    assert_eq!(signer(&manifest, [], &keys), None);
}

#[test]
fn what_is_no_signature_is_refused_by_what_is_wrong() {
    let text = String::from_utf8(file("manifest.minisig")).unwrap();
    for (other, error) in [
        (String::new(), SignatureError::Lines),
        (text.clone() + "a fifth line\n", SignatureError::Lines),
        (text.clone() + "half a line", SignatureError::Lines),
        (text.clone() + "\n", SignatureError::Lines),
        (text.replace("untrusted comment:", "comment:"), SignatureError::Lines),
        (text.replace("\ntrusted comment: ", "\ntrusted comment:"), SignatureError::Lines),
        (text.replace('\n', "\r\n"), SignatureError::Lines),
        (text.replace("\nRU", "\nXX"), SignatureError::Damaged),
        (text.replace("==\n", "=\n"), SignatureError::Damaged),
        (text.replace("\nRU", "\nRU AA"), SignatureError::Damaged),
        (text.replace("timestamp", "time\0stamp"), SignatureError::NotText),
        (text.replace("timestamp", &"t".repeat(SIGNATURE_MAX)), SignatureError::NotText),
    ] {
        assert_eq!(Signature::decode(base64::encode(other.as_bytes()).as_bytes()), Err(error), "{other}");
    }
    assert_eq!(Signature::decode(base64::encode(&[0xff; 8]).as_bytes()), Err(SignatureError::NotText));
    assert_eq!(Signature::decode(b"!"), Err(SignatureError::Damaged));
    assert_eq!(Signature::decode(&vec![b'A'; 1 << 20]), Err(SignatureError::NotText));
}

#[test]
fn what_is_no_public_key_is_refused_by_what_is_wrong() {
    let text = String::from_utf8(file("owner.pub")).unwrap();
    let line = text.lines().nth(1).unwrap();
    // A secret key as minisign writes it: algorithms, salt, limits, number, keys and checksum (`SeckeyStruct`).
    let secret = base64::encode(&[b"Ed\0\0B2".as_slice(), &[0; 152]].concat());
    for (other, error) in [
        (String::new(), KeyError::Lines),
        (text.clone() + line, KeyError::Lines),
        (text.lines().next().unwrap().to_owned(), KeyError::Lines),
        (format!("{line}\n{line}"), KeyError::Lines),
        (line[..52].to_owned(), KeyError::Damaged),
        (line.replacen("RW", "RU", 1), KeyError::Damaged),
        ("ssh-ed25519 AAAA".to_owned(), KeyError::Damaged),
        (format!("untrusted comment: minisign encrypted secret key\n{}", *secret), KeyError::Secret),
        ("\0".to_owned(), KeyError::NotText),
        ("x".repeat(5000), KeyError::NotText),
    ] {
        assert_eq!(TrustedKey::read(other.as_bytes()).map(|key| key.id()), Err(error), "{other}");
    }
    for end in 0..line.len() {
        assert!(TrustedKey::read(&line.as_bytes()[..end]).is_err(), "{end}");
    }
}
