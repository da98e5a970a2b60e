//! `check NAME`, which follows one credential from the table to the units that ask for it.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use smbios_creds::format::manifest::Manifest;
use testkit::fw_cfg::write_credential;
use testkit::{
    agent, code, credential, entry_point_3, recording, run, run_on, stderr, stdout, table, write_program,
};

fn text(name: &str, value: &str) -> Vec<u8> {
    format!("io.systemd.credential:{name}={value}").into_bytes()
}

fn manifest(set: &[(&str, &str)]) -> Vec<u8> {
    let set: Vec<_> = set.iter().map(|(name, value)| credential(name, value.as_bytes())).collect();
    Manifest::new(&set, [9; 16]).unwrap().encode().into_bytes()
}

fn sent(strings: &[Vec<u8>]) -> tempfile::TempDir {
    recording(&table(&strings.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

/// Returns the exit code and the lines of `check NAME`.
fn way(source: &Path, name: &str) -> (i32, Vec<String>) {
    let output = run_on(source, &["check", name]);
    assert_eq!(stderr(&output), "");
    (code(&output), stdout(&output).lines().map(str::to_owned).collect())
}

fn json(source: &Path, name: &str) -> Value {
    let output = run_on(source, &["check", name, "--json=short"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn way_of_a_whole_credential_has_a_line_for_each_station() {
    let manifest = manifest(&[("db", "secret"), ("empty", "")]);
    let at = 5 + manifest.len() + 1;
    let source = sent(&[manifest, text("db", "secret"), text("empty", "")]);
    let (exit, lines) = way(source.path(), "db");
    let expected = [
        "whole: credential db arrived".to_owned(),
        "sent       6 bytes, as the manifest says".to_owned(),
        format!("arrived    6 bytes, text (structure 11-0, string 2, offset {at})"),
        "verified   yes: the manifest proves that the set is complete".to_owned(),
        "in place   not checked, because --from names a recording".to_owned(),
        "whole set  passed: 2 credentials, the manifest proves that the set is complete".to_owned(),
    ];
    assert_eq!((exit, lines), (0, expected.to_vec()));
    let expected = json!({
        "name": "db", "arrival": "whole", "manifest": true, "sent": 6, "proven": true, "verdict": "passed",
        "credentials": [{"name": "db", "size": 6, "encoding": "text", "state": "intact",
                         "source": {"structure": 0, "string": 2, "offset": at}}],
        "findings": [],
    });
    assert_eq!(json(source.path(), "db"), expected);
    // A credential that was sent empty is whole, as in the verdict on the set.
    let (exit, lines) = way(source.path(), "empty");
    assert_eq!(
        (exit, &*lines[0], &*lines[1]),
        (0, "whole: credential empty arrived", "sent       0 bytes, as the manifest says")
    );
}

#[test]
fn cut_credential_is_refused_with_both_sizes_and_what_to_do() {
    let source = sent(&[manifest(&[("db", "secret")]), text("db", "sec"), text("other", "1")]);
    let (exit, lines) = way(source.path(), "db");
    assert_eq!((exit, &*lines[0]), (3, "refused: credential db arrived, but is not imported"));
    assert_eq!(lines[1], "sent       6 bytes, as the manifest says");
    assert!(lines[2].starts_with("arrived    3 bytes, text (structure 11-0, string 2"), "{lines:#?}");
    assert_eq!(lines[3], "verified   no: its size differs from the size that was sent");
    assert!(
        lines.iter().any(|line| line.starts_with("error: credential db: 6 bytes were sent, 3 arrived ("))
    );
    assert!(lines.last().unwrap().starts_with("help: "), "{lines:#?}");
    let json = json(source.path(), "db");
    assert_eq!(
        (&json["findings"][0]["code"], &json["findings"][0]["found"]),
        (&json!("size-differs"), &json!(3))
    );
    // Another credential of the same set is whole; the exit code is still that of the set.
    let (exit, lines) = way(source.path(), "other");
    assert_eq!((exit, &*lines[0]), (3, "whole: credential other arrived"));
    assert_eq!(lines[1], "sent       the manifest does not list this credential");
    assert!(lines.iter().any(|line| line.starts_with("whole set  failed: ")), "{lines:#?}");
}

#[test]
fn missing_credential_exits_3_whether_it_was_sent_or_not() {
    let source = sent(&[manifest(&[("db", "secret")]), text("other", "1")]);
    for (name, line) in [
        ("db", "sent       6 bytes, as the manifest says"),
        ("no", "sent       the manifest does not list this credential"),
    ] {
        let (exit, lines) = way(source.path(), name);
        assert_eq!((exit, &*lines[0]), (3, &*format!("missing: credential {name} did not arrive")));
        assert_eq!(lines[1..3], [line, "arrived    no: neither in the SMBIOS table nor in fw_cfg"]);
        assert!(
            lines.contains(&"help: 'smbios-creds list' shows the names that arrived".to_owned()),
            "{lines:#?}"
        );
        let json = json(source.path(), name);
        assert_eq!((&json["arrival"], &json["credentials"]), (&json!("missing"), &json!([])));
    }
    // A set without an error that does not contain the credential, and a machine to which nothing was sent.
    let passes = sent(&[text("other", "1")]);
    let (exit, lines) = way(passes.path(), "db");
    assert_eq!((exit, &*lines[1]), (3, "sent       not known, because no valid manifest arrived"));
    assert_eq!(way(&testkit::testdata("qemu-7.2-none"), "db").0, 3);
    // A name that no credential can have is an error in the command line.
    let output = run_on(passes.path(), &["check", "a/b"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (2, ""));
}

#[test]
fn every_string_of_the_name_is_a_station_and_findings_of_the_name_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    write_credential(folder.path(), 40, "db", b"secret");
    let data = table(&[&text("db", "secret"), &text("db", "other")]);
    fs::write(folder.path().join("smbios_entry_point"), entry_point_3(data.len())).unwrap();
    fs::write(folder.path().join("DMI"), &data).unwrap();
    let (exit, lines) = way(folder.path(), "db");
    assert_eq!((exit, &*lines[0]), (3, "whole: credential db arrived"));
    let arrived: Vec<_> = lines.iter().filter(|line| line.starts_with("arrived ")).collect();
    assert_eq!(arrived.len(), 3, "{lines:#?}");
    assert_eq!(arrived[0], "arrived    6 bytes, raw (qemu_fw_cfg/by_key/40)");

    // Eight findings of each kind are kept. The finding about the credential that check was asked for is always one
    // of them.
    let strings: Vec<_> = (0..30).map(|number| text(&format!("c{number}"), "")).collect();
    let (exit, lines) = way(sent(&strings).path(), "c29");
    assert_eq!((exit, &*lines[0]), (3, "refused: credential c29 arrived, but is not imported"));
    assert!(
        lines.iter().any(|line| line.starts_with("error: credential c29: empty (0 bytes)")),
        "{lines:#?}"
    );
}

/// Makes a root directory with a table of these strings.
fn root(strings: &[Vec<u8>]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let tables = root.path().join("sys/firmware/dmi/tables");
    fs::create_dir_all(&tables).unwrap();
    let data = table(&strings.iter().map(Vec::as_slice).collect::<Vec<_>>());
    fs::write(tables.join("smbios_entry_point"), entry_point_3(data.len())).unwrap();
    fs::write(tables.join("DMI"), &data).unwrap();
    root
}

fn put(root: &Path, file: &str, value: &[u8], mode: u32) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, value).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// Runs `check NAME` below a root directory, with this script as `systemctl`.
fn check_below(root: &Path, arguments: &[&str], systemctl: Option<&str>) -> Output {
    let programs = root.join("programs");
    fs::create_dir_all(&programs).unwrap();
    if let Some(script) = systemctl {
        write_program(&programs.join("systemctl"), script, 0o755);
    }
    run(agent(&["check", "--confidential=allow", "--root"]).arg(root).args(arguments).env("PATH", &programs))
}

/// Returns two outputs of `check NAME --json`, which together have every field that it can print.
pub(super) fn outputs() -> [Value; 2] {
    let cut = sent(&[manifest(&[("db", "secret")]), text("db", "sec")]);
    let root = root(&[text("db", "secret")]);
    put(root.path(), "run/systemd/system/empty", b"", 0o644);
    put(root.path(), "run/credentials/@system/db", b"secret", 0o400);
    let systemctl = "#!/bin/sh\nprintf '# /etc/systemd/system/a.service\\nLoadCredential=db\\n'\n";
    let running = check_below(root.path(), &["db", "--json"], Some(systemctl));
    [json(cut.path(), "db"), serde_json::from_slice(&running.stdout).unwrap()]
}

#[test]
fn running_system_shows_files_of_the_name_and_units_that_ask_for_it() {
    let root = root(&[text("db", "secret"), text("gone", "1")]);
    let at = |file: &str| format!("{}/run/{file}", root.path().display());
    put(root.path(), "run/systemd/system/empty", b"", 0o644);
    put(root.path(), "run/credentials/@system/db", b"secret", 0o400);
    put(root.path(), "run/credentials/nginx.service/db", b"secret", 0o440);
    put(root.path(), "run/credentials/old.service/db", b"sec", 0o400);
    put(root.path(), "run/credentials/old.service/other", b"1", 0o400);
    let systemctl = "#!/bin/sh\n[ \"$*\" = 'cat --no-pager *.service *.socket *.mount *.swap' ] || exit 1\n\
                     printf '# /etc/systemd/system/nginx.service\\n[Service]\\nLoadCredential=db\\n\\n'\n\
                     printf '# /etc/systemd/system/all.service\\n[Service]\\nImportCredential=d*\\n'\n";
    let output = check_below(root.path(), &["db"], Some(systemctl));
    let lines = stdout(&output);
    assert_eq!(code(&output), 0, "{lines}{}", stderr(&output));
    for line in [
        format!("in place   {}: 6 bytes, mode 0400, the bytes that were sent", at("credentials/@system/db")),
        format!(
            "in place   {}: 6 bytes, mode 0440, not the bytes that were sent, or readable by other users",
            at("credentials/nginx.service/db")
        ),
        format!(
            "in place   {}: 3 bytes, mode 0400, not the bytes that were sent, or readable by other users",
            at("credentials/old.service/db")
        ),
        "asked by   nginx.service (LoadCredential=)".to_owned(),
        "asked by   all.service (ImportCredential=)".to_owned(),
    ] {
        assert!(lines.lines().any(|found| found == line), "{line}\n{lines}");
    }
    let output = check_below(root.path(), &["db", "--json"], Some(systemctl));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        json["files"][0],
        json!({"file": at("credentials/@system/db"), "size": 6, "mode": "0400", "state": "imported"})
    );
    assert_eq!(json["files"].as_array().unwrap().len(), 3);
    assert_eq!(json["units"][1], json!({"unit": "all.service", "directive": "ImportCredential"}));

    let output =
        check_below(root.path(), &["gone"], Some("#!/bin/sh\necho '# /etc/systemd/system/a.service'\n"));
    let lines = stdout(&output);
    assert!(lines.contains("in place   nowhere in /run/credentials and /run/credstore*\n"), "{lines}");
    assert!(lines.contains("asked by   no unit that systemd has loaded\n"), "{lines}");
}

#[test]
fn units_are_not_known_where_systemd_does_not_answer() {
    let root = root(&[text("db", "secret")]);
    let unknown =
        "asked by   not known: look for LoadCredential= and ImportCredential= in 'systemctl cat UNIT'\n";
    let lines = stdout(&check_below(root.path(), &["db"], None));
    assert!(lines.contains(unknown), "{lines}");
    put(root.path(), "run/systemd/system/empty", b"", 0o644);
    for systemctl in [None, Some("#!/bin/sh\nexit 1\n")] {
        let output = check_below(root.path(), &["db"], systemctl);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains(unknown), "{}", stdout(&output));
        let output = check_below(root.path(), &["db", "--json"], systemctl);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(json.get("units").is_none() && json["files"] == json!([]), "{json}");
    }
}

#[test]
fn encrypted_credential_is_found_in_the_credstore_of_ciphertexts() {
    let blob = testkit::sealed("host");
    let root = root(&[[b"io.smbios-creds.encrypted:vpn=".as_slice(), &blob].concat()]);
    put(root.path(), "run/systemd/system/empty", b"", 0o644);
    put(root.path(), "run/credstore.encrypted/vpn", &blob, 0o400);
    put(root.path(), "run/credentials/vpn.service/vpn", b"decrypted", 0o400);
    let lines = stdout(&check_below(root.path(), &["vpn"], None));
    assert!(lines.starts_with("whole: credential vpn arrived\n"), "{lines}");
    assert!(
        lines.contains(&format!("{} bytes, encrypted (structure 11-0, string 1, offset 5)\n", blob.len())),
        "{lines}"
    );
    assert!(
        lines.contains(&format!(
            "run/credstore.encrypted/vpn: {} bytes, mode 0400, the bytes that were sent\n",
            blob.len()
        )),
        "{lines}"
    );
    assert!(
        lines.contains("vpn.service/vpn: 9 bytes, mode 0400, not compared with what was sent\n"),
        "{lines}"
    );
}

#[test]
fn name_after_map_is_refused_by_the_command_line() {
    let output = run_on(&testkit::testdata("qemu-7.2-pc"), &["check", "--map", "foo"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (2, ""));
}
