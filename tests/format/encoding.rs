//! Encodes credentials as OEM strings and decodes them: exactly by systemd's rules, and without a loss.

use std::cmp::Ordering;

use ct_codecs::{Base64, Encoder as _};
use proptest::prelude::*;
use smbios_creds::format::base64::{self, Base64Error};
use smbios_creds::format::credential::{Credential, Name, NameError, VALUE_MAX};
use smbios_creds::format::oem_string::{DecodeError, EncodeError, Encoding, OemString, decode, encode};
use testkit::systemd::unbase64;

/// The names are those of systemd's `test-creds.c` and of measurements with systemd 262.
#[test]
fn names_are_accepted_exactly_as_systemd_accepts_them() {
    let long = "n".repeat(255);
    let accepted = [
        "foo",
        "a",
        &long,
        ".hidden",
        "sp ace",
        " lead",
        "trail ",
        "com,ma",
        "star*?[x]",
        "back\\slash",
        "quote\"'$`",
        "tilde~",
        "e=q",
        "...",
        "-dash",
    ];
    for name in accepted {
        assert_eq!(Name::new(name).map(String::from), Ok(name.to_owned()));
    }
    let too_long = "n".repeat(256);
    let refused: [(&[u8], NameError); 12] = [
        (b"", NameError::Empty),
        (b".", NameError::Reserved),
        (b"..", NameError::Reserved),
        (too_long.as_bytes(), NameError::TooLong { length: 256 }),
        (b"foo/bar", NameError::Byte { position: 3, byte: b'/' }),
        (b"../x", NameError::Byte { position: 2, byte: b'/' }),
        (b"test:invalid", NameError::Byte { position: 4, byte: b':' }),
        (b"\x1b", NameError::Byte { position: 0, byte: 0x1b }),
        (b"a\x7f", NameError::Byte { position: 1, byte: 0x7f }),
        (b"a\n", NameError::Byte { position: 1, byte: b'\n' }),
        ("ünï".as_bytes(), NameError::Byte { position: 0, byte: 0xc3 }),
        (b"a\0b", NameError::Byte { position: 1, byte: 0 }),
    ];
    for (name, error) in refused {
        assert_eq!(Name::new(name), Err(error), "{}", name.escape_ascii());
    }
    for byte in 0..=255_u8 {
        let allowed = (0x20..=0x7e).contains(&byte) && byte != b'/' && byte != b':';
        assert_eq!(Name::new([b'x', byte]).is_ok(), allowed, "{byte:#04x}");
    }
}

/// The texts are those of systemd's `test-hexdecoct.c` and of measurements with systemd 262.
#[test]
fn base64_is_accepted_exactly_as_systemd_accepts_it() {
    let accepted: [(&str, &[u8]); 17] = [
        ("", b""),
        (" \t\n\r", b""),
        ("Zg==", b"f"),
        ("Zm8=", b"fo"),
        ("Zm9v", b"foo"),
        ("Zm9vYg==", b"foob"),
        (" Z m 9 v ", b"foo"),
        ("Z\nm\r8\t=", b"fo"),
        ("Zg= =", b"f"),
        ("Zg==\n", b"f"),
        ("\nZg==", b"f"),
        ("-_-_", b"\xfb\xff\xbf"),
        ("+/+/", b"\xfb\xff\xbf"),
        ("-/+_", b"\xfb\xff\xbf"),
        ("AAECAwQ=", &[0, 1, 2, 3, 4]),
        ("AAAA", &[0; 3]),
        ("aGVs bG8=", b"hello"),
    ];
    for (text, bytes) in accepted {
        assert_eq!(base64::decode(text.as_bytes()).map(|b| b.to_vec()), Ok(bytes.to_vec()), "{text:?}");
    }
    let refused = [
        ("A", Base64Error::Padding),
        ("AA", Base64Error::Padding),
        ("AAA", Base64Error::Padding),
        ("Zg", Base64Error::Padding),
        ("Zg=", Base64Error::Padding),
        ("Zm9v====", Base64Error::Padding),
        ("A===", Base64Error::Padding),
        ("A====", Base64Error::Padding),
        ("=", Base64Error::Padding),
        ("====", Base64Error::Padding),
        ("aGVsbG8", Base64Error::Padding),
        ("Zg==Zg==", Base64Error::Trailing),
        (" Z m 8 = q u u x ", Base64Error::Trailing),
        ("Zg=A", Base64Error::Trailing),
        ("AAB==", Base64Error::Padding),
        (" A A A B = ", Base64Error::Padding),
        ("Zh==", Base64Error::SpareBits),
        ("Zm9=", Base64Error::SpareBits),
        ("aGVsbG9=", Base64Error::SpareBits),
        ("Zg==!", Base64Error::Character { position: 4 }),
        ("Z*==", Base64Error::Character { position: 1 }),
        ("Zg\x0b==", Base64Error::Character { position: 2 }),
        ("Zg==\u{e9}", Base64Error::Character { position: 4 }),
    ];
    for (text, error) in refused {
        assert_eq!(base64::decode(text.as_bytes()), Err(error), "{text:?}");
    }
}

/// The decoder decodes eight characters at once. The other seven characters must not hide that one is wrong.
#[test]
fn each_byte_is_accepted_or_refused_at_each_place_of_a_word() {
    for place in 0..16 {
        for byte in 0..=u8::MAX {
            let mut text = *b"09+/azAZQRSTmnop";
            text[place] = byte;
            assert_eq!(
                base64::decode(&text).ok().map(|b| b.to_vec()),
                unbase64(&text),
                "{byte:#04x} at {place}"
            );
        }
    }
}

#[test]
fn each_six_bits_are_written_and_read_at_each_place_of_a_word() {
    for (place, six) in (0..8).flat_map(|place| (0..64_u64).map(move |six| (place, six))) {
        let bytes = (six << (42 - 6 * place)).to_be_bytes()[2..].to_vec();
        let text = base64::encode(&bytes);
        assert_eq!(*text, Base64::encode_to_string(&bytes).unwrap());
        assert_eq!(base64::decode(text.as_bytes()).map(|b| b.to_vec()), Ok(bytes));
    }
}

fn decoded(string: &[u8]) -> Result<(String, Vec<u8>, Encoding), DecodeError> {
    match decode(string) {
        OemString::Credential(Credential { name, value }, encoding) => {
            Ok((name.as_str().to_owned(), value.expose().to_vec(), encoding))
        }
        OemString::Undecodable(error, _) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn strings_are_split_at_the_first_equals_and_taken_verbatim() {
    let text = |string: &[u8]| decoded(string).unwrap();
    assert_eq!(text(b"io.systemd.credential:eq=a=b=c"), ("eq".into(), b"a=b=c".to_vec(), Encoding::Text));
    let odd = b"io.systemd.credential:x= \t\n\x01\x1b\x80\xff,\"[]\\ ";
    assert_eq!(text(odd).1, b" \t\n\x01\x1b\x80\xff,\"[]\\ ");
    assert_eq!(text(b"io.systemd.credential:empty=").1, b"");
    assert_eq!(text(b"io.systemd.credential.binary:empty=").1, b"");
    assert_eq!(text(b"io.systemd.credential.binary:b=AAECAwQ=").1, [0, 1, 2, 3, 4]);
    assert_eq!(decoded(b"io.systemd.credential:name"), Err(DecodeError::NoEquals));
    assert_eq!(decoded(b"io.systemd.credential:"), Err(DecodeError::NoEquals));
    assert_eq!(decoded(b"io.systemd.credential:=value"), Err(DecodeError::Name(NameError::Empty)));
    assert_eq!(
        decoded(b"io.systemd.credential.binary:b=?"),
        Err(Base64Error::Character { position: 0 }.into())
    );
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte takes Miri minutes")]
fn a_value_larger_than_systemd_takes_is_refused_and_the_largest_is_not() {
    let string = |size: usize| [b"io.systemd.credential:big=".as_slice(), &vec![b'A'; size]].concat();
    assert_eq!(decoded(&string(VALUE_MAX)).unwrap().1.len(), VALUE_MAX);
    assert_eq!(decoded(&string(VALUE_MAX + 1)), Err(DecodeError::TooLarge { size: VALUE_MAX + 1 }));
    assert!(encode(&testkit::credential("big", &vec![0; VALUE_MAX]), Encoding::Binary).is_ok());
    let error = encode(&testkit::credential("big", &vec![0; VALUE_MAX + 1]), Encoding::Binary).unwrap_err();
    assert_eq!(error, EncodeError::TooLarge { size: VALUE_MAX + 1 });
}

#[test]
fn a_secret_without_its_name_is_not_taken_for_a_name() {
    // A user passed only the base64 of a secret. The text before the padding must not be taken for a name, which
    // would be printed.
    let decoded = decoded(b"io.systemd.credential.binary:c2VjcmV0IQ==");
    assert_eq!(decoded, Err(DecodeError::NoEquals));
}

#[test]
fn mistyped_prefixes_are_near_misses_and_others_are_foreign() {
    let near = [
        "io.systemd.credentials:a=b",
        "IO.systemd.credential:a=b",
        " io.systemd.credential:a=b",
        "io.systemd.credential=a",
        "io.systemd.credential",
        "io.systemd.Credential.Binary:a=b",
        "io.systemd.credentials.binary:a=b",
        "\tio.systemd.credential:a=b",
        "io.systemd.credential :a=b",
        "io.sytemd.credential:a=b",
        "io.systemd.credentail:a=b",
        "io.systemd.credential-binary:a=b",
        "io.systemd.credential.bin:a=b",
        "io.systemd.cred ential:a=b",
        "\"io.systemd.credential:a=b",
        "io-systemd-credential:a=b",
        "io.smbios-creds.manifests:a",
        "io.smbios-cred.manifest:a",
        "IO.SMBIOS-CREDS.MANIFEST:a",
        "io.smbios-creds.signatures:a",
        "io.smbios-creds.encryptd:a=b",
        "io.smbios-creds.reciept:vsock-stream:2:8889",
        "\u{feff}io.systemd.credential:a=b",
    ];
    for string in near {
        assert!(matches!(decode(string.as_bytes()), OemString::NearMiss { .. }), "{string}");
    }
    // A prefix in which up to two letters are inserted, missing or wrong is a near miss. With three such letters, it
    // is another word.
    let word = "io.systemd.credential";
    for at in 0..word.len() {
        let edit = |insert: &str, remove: usize| {
            format!("{}{insert}{}:a=b", &word[..at], &word[(at + remove).min(word.len())..])
        };
        for string in [edit("##", 0), edit("#", 1), edit("", 2), edit("#", 2), edit("##", 1), edit("##", 2)] {
            assert!(matches!(decode(string.as_bytes()), OemString::NearMiss { .. }), "{string}");
        }
        if at + 3 <= word.len() {
            for string in
                [edit("###", 0), edit("", 3), edit("###", 3), edit("#", 3), edit("##", 3), edit("###", 1)]
            {
                assert!(matches!(decode(string.as_bytes()), OemString::Foreign), "{string}");
            }
        }
    }
    let foreign = [
        "",
        "x",
        "one",
        "io.systemd.stub.kernel-cmdline-extra=quiet",
        "io.systemd.boot.loglevel=debug",
        "io.systemd.boot.entries-extra:a=b",
        "Dell System",
        "https://example.org/?io.systemd.credential",
        "a:b=c",
    ];
    for string in foreign {
        assert!(matches!(decode(string.as_bytes()), OemString::Foreign), "{string}");
    }
}

#[test]
fn a_secret_is_shown_as_its_size_and_never_as_its_bytes() {
    let credential = testkit::credential("db", b"hunter2");
    assert_eq!(format!("{:?}", credential.value), "Secret(7 bytes)");
    assert_eq!(format!("{credential:?}"), r#"Credential { name: Name("db"), value: Secret(7 bytes) }"#);
}

#[test]
fn what_no_reader_would_get_back_is_not_written() {
    let error = |name, value, encoding| encode(&testkit::credential(name, value), encoding).unwrap_err();
    assert_eq!(error("a=b", b"", Encoding::Binary), EncodeError::EqualsInName);
    assert_eq!(error("a", b"xy\0", Encoding::Text), EncodeError::Nul { position: 2 });
}

fn name() -> impl Strategy<Value = String> {
    "[ -~&&[^/:=]]{1,255}".prop_filter("reserved", |name| name != "." && name != "..")
}

#[test]
fn every_byte_at_every_position_is_accepted_if_and_only_if_systemd_accepts_it() {
    for size in [16, 20, 36] {
        for (position, byte) in (0..size).flat_map(|position| (0..=255).map(move |byte| (position, byte))) {
            let mut text = vec![b'Q'; size];
            text[position] = byte;
            let decoded = base64::decode(&text).ok().map(|bytes| bytes.to_vec());
            assert_eq!(decoded, unbase64(&text), "{byte:#04x} at {position} of {size}");
        }
    }
}

#[test]
fn name_is_not_equal_to_a_longer_one_that_begins_with_it() {
    for size in 1..40 {
        let (short, long) = ("n".repeat(size), "n".repeat(size + 1));
        let (short, long) = (Name::new(&short).unwrap(), Name::new(&long).unwrap());
        let orders = (short.cmp(&long), long.cmp(&short));
        assert_eq!(orders, (Ordering::Less, Ordering::Greater), "{size}");
        assert_ne!(short, long);
    }
}

proptest! {
    #[test]
    fn encode_then_decode_is_identity(name in name(), value: Vec<u8>) {
        let credential = testkit::credential(&name, &value);
        let binary = encode(&credential, Encoding::Binary).unwrap();
        prop_assert!(!binary.expose().contains(&0));
        prop_assert_eq!(decoded(binary.expose()), Ok((name.clone(), value.clone(), Encoding::Binary)));
        match encode(&credential, Encoding::Text) {
            Ok(text) => prop_assert_eq!(decoded(text.expose()), Ok((name, value, Encoding::Text))),
            Err(error) => prop_assert_eq!(error, EncodeError::Nul { position: value.iter().position(|&b| b == 0).unwrap() }),
        }
    }

    #[test]
    fn any_text_is_base64_if_and_only_if_systemd_says_so(text in "[A-Da-d/+_= \n*-]{0,12}") {
        prop_assert_eq!(base64::decode(text.as_bytes()).ok().map(|b| b.to_vec()), unbase64(text.as_bytes()));
    }

    #[test]
    fn base64_is_that_of_an_independent_library(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
        let text = base64::encode(&bytes);
        prop_assert_eq!(&*text, &Base64::encode_to_string(&bytes).unwrap());
        prop_assert_eq!(base64::decode(text.as_bytes()).map(|b| b.to_vec()), Ok(bytes));
    }

    #[test]
    fn names_have_the_order_of_their_text(first in "[a-c ]{1,20}", second in "[a-c ]{1,20}", same in "[a-z]{0,20}") {
        let texts = [&*first, &*second, &*(same.clone() + &first), &*(same + &second)];
        for (one, other) in texts.iter().flat_map(|one| texts.map(|other| (*one, other))) {
            prop_assert_eq!(Name::new(one).unwrap().cmp(&Name::new(other).unwrap()), one.cmp(other));
        }
    }

    #[test]
    fn no_string_panics(string: Vec<u8>) {
        _ = decode(&string);
    }

    #[test]
    fn no_near_string_panics(string in "[ i]?io.s?ystemd[.]credentials?([.]binary)?[:=]?.{0,8}") {
        _ = decode(string.as_bytes());
    }
}
