//! What people who know systemd-creds expect: the same options, the same words, and a suggestion for a mistyped name.

use smbios_creds::format::base64;
use smbios_creds::text::near::nearest;
use testkit::{agent, code, recording, run, run_on, stderr, stdout, table, testdata};

#[test]
fn mistyped_name_is_answered_with_the_one_that_arrived() {
    let strings: &[&[u8]] =
        &[b"io.systemd.credential:db-password=S3cret", b"io.systemd.credential:token-1=1"];
    let folder = recording(&table(strings));
    let advice = "did you mean db-password, which arrived? If not, check that the host sends the credential";
    let output = run_on(folder.path(), &["cat", "db-pasword"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (3, ""));
    assert!(
        stderr(&output)
            .contains(&format!("missing: required, but did not arrive\nsmbios-creds: help: {advice}\n")),
        "{output:?}"
    );
    for verb in [&["check", "--require"][..], &["import", "--dry-run", "--require"]] {
        let output = run_on(folder.path(), &[verb, &["DB_password"]].concat());
        let said = stdout(&output) + &stderr(&output);
        assert!(code(&output) == 3 && said.contains(advice) && !said.contains("S3cret"), "{said}");
    }
    let output = run_on(folder.path(), &["check", "--json", "--require", "db-pasword"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().last().unwrap()["advice"], advice);

    // There is no suggestion if no name is similar, or if the similar name (token-1) is required itself.
    for names in [&["backup-key"][..], &["token-1", "token-2"]] {
        let output = run_on(folder.path(), &[&["check", "--require"], names].concat());
        let said = stdout(&output);
        assert!(code(&output) == 3 && !said.contains("did you mean"), "{said}");
        assert!(said.contains("check the credential's name, and that the host sends it"), "{said}");
    }
}

#[test]
fn options_of_systemd_creds_are_taken() {
    let lost = testdata("qemu-10-silent-loss");
    let whole = testdata("qemu-7.2-two-structures");
    // The exit status says that the verdict failed, and nothing is printed.
    for option in ["-q", "--quiet"] {
        let output = run_on(&lost, &["check", option]);
        assert_eq!((code(&output), output.stdout.len(), output.stderr.len()), (3, 0, 0), "{output:?}");
    }
    // An error that prevents a verdict is printed nevertheless.
    let output = run_on(&testdata("nonexistent"), &["check", "-q"]);
    assert!(code(&output) == 1 && stderr(&output).contains("error: no recording in "), "{output:?}");
    assert_eq!(code(&run_on(&lost, &["check", "-q", "--json"])), 2, "either text for programs or none");

    let full = run_on(&whole, &["list", "--no-pager"]);
    assert!(stdout(&full).starts_with("NAME ") && stderr(&full).contains("info: the machine is"), "{full:?}");
    let rows = stdout(&run_on(&whole, &["list", "--no-legend"]));
    assert!(rows.starts_with("f1 ") && rows.lines().count() == 3, "{rows}");
    for options in [&["-q"][..], &["--quiet", "--no-legend"], &["-q", "--log-level=debug"]] {
        let output = run_on(&whole, &[&["list"], options].concat());
        assert_eq!((stdout(&output), stderr(&output).as_str()), (rows.clone(), ""), "{options:?}");
    }
    assert!(stderr(&run_on(&lost, &["list", "-q"])).contains("error: 2 OEM strings"), "no loss is hushed up");
    assert!(stdout(&run_on(&whole, &["check", "--no-pager"])).starts_with("passed: "));
}

#[test]
fn verbs_of_systemd_creds_are_answered_with_its_man_page() {
    for verb in [&["encrypt", "a", "-"][..], &["decrypt"], &["setup"], &["has-tpm2"]] {
        let output = run(&mut agent(verb));
        let said = stderr(&output);
        assert_eq!((code(&output), stdout(&output).as_str()), (2, ""), "{verb:?}");
        assert!(said.contains("\n  help: this is a verb of systemd-creds(1)"), "{verb:?}: {said}");
    }
    assert!(!stderr(&run(&mut agent(&["nonsense"]))).contains("systemd-creds(1)"));
}

#[test]
fn cat_transcodes_as_systemd_creds_does() {
    // The expected texts are what systemd-creds 252 printed for these values.
    let (full, more) = ("A".repeat(79), "YWFh".repeat(19));
    let cases: [(&str, &[u8], &str, &[u8]); 9] = [
        ("base64", b"S3 cr\xff\n", "bytes", b"UzMgY3L/Cg=="),
        ("base64", &[0; 237], "long", [&*full, &full, &full, &full].join("\n").leak().as_bytes()),
        ("base64", &[b'a'; 58], "broken", format!("{more}YQ=\n=").leak().as_bytes()),
        ("hex", b"S3 cr\xff\n", "bytes", b"5333206372ff0a"),
        ("unhex", b" 5333 6\t3\nfF ", "digits", b"S3c\xff"),
        ("unbase64", b"UzNj cmV0\n", "text", b"S3cret"),
        ("off", b"S3 cr\xff\n", "bytes", b"S3 cr\xff\n"),
        // systemd-creds 252 aborts on an empty value.
        ("hex", b"", "none", b""),
        ("unbase64", b"", "none", b""),
    ];
    let cases = cases.map(|(mode, value, name, printed)| {
        let name = format!("{name}-{}", value.len());
        (mode, value, name, printed)
    });
    let strings = cases.clone().map(|(_, value, name, _)| {
        format!("io.systemd.credential.binary:{name}={}", *base64::encode(value)).into_bytes()
    });
    let folder = recording(&table(&strings.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    for (mode, _, name, printed) in &cases {
        for option in [&[&*format!("--transcode={mode}")][..], &["--transcode", mode]] {
            let output = run_on(folder.path(), &[&["cat", name, "--allow-empty", name], option].concat());
            assert_eq!((output.stdout.as_slice(), code(&output)), (*printed, 0), "{mode} {name}: {output:?}");
        }
    }
    let output = run_on(folder.path(), &["cat", "bytes-7", "--transcode=hex", "--newline=yes"]);
    assert_eq!(stdout(&output), "5333206372ff0a\n");
}

#[test]
fn cat_prints_nothing_of_a_value_that_cannot_be_decoded() {
    let secret = b"io.systemd.credential:token=CAFEcafe-S3cret";
    let folder =
        recording(&table(&[secret, b"io.systemd.credential:odd=abc", b"io.systemd.credential:ok=6f6b"]));
    for (mode, name, reason) in [
        ("unhex", "token", "byte 8 of its text is not a hexadecimal digit"),
        ("unhex", "odd", "it has an odd number of hexadecimal digits"),
        ("unbase64", "token", "its padding is missing or wrong"),
    ] {
        let output = run_on(folder.path(), &["cat", name, "ok", "--newline=yes", "--transcode", mode]);
        let said = stderr(&output);
        let printed = output.stdout.split(|&byte| byte == b'\n').count() - 1;
        assert_eq!((code(&output), printed), (3, 1), "the other one is printed: {output:?}");
        let expected = format!("credential {name}: not printed, because it cannot be decoded: {reason}\n");
        assert!(said.ends_with(&expected) && !said.contains("cafe"), "{said}");
    }
}

#[test]
fn one_edit_of_each_kind_and_two_of_them_are_near() {
    for typed in [
        "db-passwor",
        "db-passwordd",
        "db-passw0rd",
        "db-passwrod",
        "DB-PASSWORD",
        "db_passwrd",
        "bd-pasword",
    ] {
        assert_eq!(nearest(typed, ["tls-key", "db-password"]), Some("db-password"), "{typed}");
    }
}

#[test]
fn names_three_edits_away_or_short_are_not_near() {
    for (typed, name) in [
        ("db-pass", "db-password"),
        ("tls-key", "ssh-key2"),
        ("ab", "ac"),
        ("a", ""),
        ("key", "kit2"),
        ("key", "ky12"),
    ] {
        assert_eq!(nearest(typed, [name]), None, "{typed}");
    }
}

#[test]
fn nearest_name_wins_and_of_equals_the_first() {
    assert_eq!(nearest("token-a", ["token-bc", "token-b", "token-c"]), Some("token-b"));
}
