//! What people expect who know systemd-creds: its options, its words, and an answer to a mistyped name.

use testkit::{code, recording, run_on, stderr, stdout, table};

#[test]
fn mistyped_name_is_answered_with_the_one_that_arrived() {
    let strings: &[&[u8]] =
        &[b"io.systemd.credential:db-password=S3cret", b"io.systemd.credential:token-1=1"];
    let folder = recording(&table(strings));
    let advice = "did you mean db-password, which arrived? If not, check that the host passes it";
    let output = run_on(folder.path(), &["cat", "db-pasword"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (3, ""));
    assert!(
        stderr(&output)
            .contains(&format!("missing: required, and did not arrive\nsmbios-creds: help: {advice}\n")),
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

    // Another name, one that is required itself, and one that the table does not have.
    for names in [&["backup-key"][..], &["token-1", "token-2"]] {
        let output = run_on(folder.path(), &[&["check", "--require"], names].concat());
        let said = stdout(&output);
        assert!(code(&output) == 3 && !said.contains("did you mean"), "{said}");
        assert!(said.contains("check its name, and that the host passes it"), "{said}");
    }
}
