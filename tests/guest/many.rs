//! Tables that try to fill the log, the report and the memory. The agent prints a bounded number of findings, and
//! counts all of them exactly.

use std::path::Path;

use serde_json::Value;
use smbios_creds::guest::imported::{Closing, Imported, NotPlaced};
use smbios_creds::guest::report::last::{self, Report};
use smbios_creds::guest::verify::findings::KEPT_MAX;
use testkit::{END, agent, code, entry_point_3, oem, run, run_on, stderr, stdout};

/// The largest table that Linux exports.
const TABLE_MAX: usize = 262_144;

/// Returns a table with as many structures as fit, and their number.
fn filled(structure: impl Fn(usize) -> Vec<u8>) -> (Vec<u8>, usize) {
    let (mut data, mut count) = (Vec::new(), 0);
    loop {
        let next = structure(count);
        if data.len() + next.len() + END.len() > TABLE_MAX {
            data.extend_from_slice(END);
            return (data, count);
        }
        data.extend(next);
        count += 1;
    }
}

fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    oem(&[text.as_ref()])
}

/// Makes a root directory with this table.
fn system(data: &[u8]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let tables = root.path().join("sys/firmware/dmi/tables");
    for folder in [&tables, &root.path().join("run")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(tables.join("smbios_entry_point"), entry_point_3(data.len())).unwrap();
    std::fs::write(tables.join("DMI"), data).unwrap();
    root
}

fn tables(root: &Path) -> std::path::PathBuf {
    root.join("sys/firmware/dmi/tables")
}

/// Imports into the credstore of a system. Returns the exit code, the log, and the report with its size.
fn import(root: &Path) -> (i32, String, Value, usize) {
    let output = run(agent(&["import", "--confidential=allow", "--into=credstore", "--root"]).arg(root));
    let report = std::fs::read(root.join("run/smbios-creds/report.json")).unwrap();
    (code(&output), stderr(&output), serde_json::from_slice(&report).unwrap(), report.len())
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap_or_default().try_into().unwrap()
}

/// How many findings with this code there are, those included that are only counted, and how many are listed.
fn counted(judged: &Value, code: &str) -> (usize, usize) {
    let of_code = judged["findings"].as_array().unwrap().iter().filter(|finding| finding["code"] == code);
    let more = |finding: &Value| number(&finding["more"]);
    of_code.fold((0, 0), |(all, listed), finding| (all + 1 + more(finding), listed + 1))
}

#[test]
fn full_table_of_findings_is_counted_and_said_in_a_few_lines() {
    let first_empty = |_| vec![11, 5, 0, 0, 2, 0, b'x', 0, 0];
    let hostile: [(&str, (Vec<u8>, usize)); 8] = [
        ("strings-missing", filled(|_| vec![11, 5, 0, 0, 1, 0, 0])),
        ("empty-string", filled(first_empty)),
        ("string-split", filled(|_| vec![11, 5, 0, 0, 1, b'x', 0, b'y', 0, 0])),
        ("not-a-credential", filled(|_| text("io.systemd.credential:"))),
        ("near-miss", filled(|_| text("io.systemd.credentials:"))),
        ("empty", filled(|n| text(format!("io.systemd.credential:{n}=")))),
        ("duplicate", filled(|n| text(format!("io.systemd.credential:a={n}")))),
        ("manifest-invalid", filled(|_| text("io.smbios-creds.manifest:?"))),
    ];
    for (kind, (data, count)) in hostile {
        let expected = if kind == "duplicate" { count - 1 } else { count };
        assert!(expected > 6000, "{kind}");
        let root = system(&data);
        let tables = tables(root.path());
        let fails = if kind == "empty-string" { 0 } else { 3 };

        let check = run_on(&tables, &["check", "--json=short"]);
        let judged: Value = serde_json::from_slice(&check.stdout).unwrap();
        assert_eq!(counted(&judged, kind), (expected, KEPT_MAX), "{kind}");
        assert_eq!(code(&check), fails, "{kind}");
        let check = run_on(&tables, &["check"]);
        assert!(check.stdout.len() < 16_384, "{kind}: {}", check.stdout.len());
        let more = format!(", and {} more like it\n", expected - KEPT_MAX);
        assert_eq!(stdout(&check).matches(&more).count(), 1, "{kind}: {}", stdout(&check));

        let (exit, log, report, size) = import(root.path());
        assert_eq!(exit, fails, "{kind}");
        assert!(log.len() < 16_384 && log.contains(&more[..more.len() - 1]), "{kind}: {}", log.len());
        assert!(size <= last::SIZE_MAX, "{kind}: {size}");
        assert_eq!(counted(&report["delivery"], kind), (expected, KEPT_MAX), "{kind}");
        let listed = report["delivery"]["credentials"].as_array().unwrap().len();
        let omitted = number(&report["omitted"]["credentials"]);
        assert_eq!(listed + omitted, judged["credentials"].as_array().unwrap().len(), "{kind}");
        assert_eq!(
            stdout(&run_on(&tables, &["check"])),
            stdout(&check),
            "{kind} is said in the same words again"
        );
    }
}

#[test]
fn full_table_of_findings_takes_little_memory() {
    let (data, _) = filled(|_| vec![11, 5, 0, 0, 1, 0, 0]);
    let folder = testkit::recording(&data);
    // The limit is 48 MiB of address space. The table and its structures need 14 MiB. If a finding for each structure
    // were kept, the findings and their JSON would need 88 MiB.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", r#"ulimit -v 49152; exec "$@""#, "sh", env!("CARGO_BIN_EXE_smbios-creds")]);
    let output = run(command.args(["check", "--json", "--from"]).arg(folder.path()));
    assert_eq!(code(&output), 3, "{}", stderr(&output));
}

#[test]
fn every_kind_and_severity_is_kept_however_many_of_another_come_first() {
    let (mut data, count) = filled(|_| text("io.systemd.credential:no-equals"));
    data.truncate(data.len() - END.len());
    let last: &[&[u8]] = &[
        b"io.systemd.credential:a/b=1",
        b"io.systemd.credential:a=1",
        b"io.systemd.credential:a=1",
        b"io.systemd.credential:a=2",
    ];
    data.extend(oem(last));
    data.extend_from_slice(END);
    let delivery = testkit::verdict(&data);
    assert_eq!(delivery.findings.total(), count + 3);
    let said: Vec<_> = delivery.findings.iter().map(ToString::to_string).collect();
    for text in ["has a name that is not allowed", "with the same value", "with another value"] {
        assert!(said.iter().any(|said| said.contains(text)), "{text}: {said:?}");
    }
}

#[test]
fn what_is_asked_for_is_named_however_many_of_its_kind_come_first() {
    let (data, count) = filled(|n| text(format!("io.systemd.credential:c{n}=")));
    let root = system(&data);
    let name = format!("c{}", count - 1);
    let wanted = format!("credential {name}: required, but empty (0 bytes)");
    let check = run_on(&tables(root.path()), &["check", "--require", &name, "other"]);
    assert_eq!(code(&check), 3);
    assert_eq!(stdout(&check).matches(&wanted).count(), 1, "{}", stdout(&check));
    assert!(stdout(&check).contains("credential other: missing"), "{}", stdout(&check));
    let cat = run_on(&tables(root.path()), &["cat", &name]);
    assert!(code(&cat) == 3 && stderr(&cat).contains(&wanted), "{}", stderr(&cat));
    // The advice covers all of these findings.
    let text = stdout(&check);
    let advice = text.split("What to do\n").nth(1).unwrap();
    assert!(advice.contains(&format!(" and {} more: correct the variable", count - 4)), "{advice}");
}

#[test]
fn report_of_thousands_of_credentials_is_bounded_and_says_what_it_omits() {
    for (count, name) in [(5000, ""), (900, &"n".repeat(240)[..])] {
        let strings: Vec<Vec<u8>> =
            (0..count).map(|n| format!("io.systemd.credential:{name}{n}=1").into_bytes()).collect();
        let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
        let data: Vec<u8> = strings.chunks(200).flat_map(oem).chain(END.iter().copied()).collect();
        let imported = Ok(Imported {
            delivery: testkit::verdict(&data),
            placed: Err(NotPlaced::Strict),
            closing: Closing::NotAsked,
        });
        let json = Report::new(&imported).into_json().unwrap();
        assert!(json.len() <= last::SIZE_MAX, "{}", json.len());
        let report: Value = serde_json::from_slice(&json).unwrap();
        let listed = report["delivery"]["credentials"].as_array().unwrap().len();
        assert!(listed > 300, "{listed}");
        assert_eq!(report["omitted"]["credentials"], count - listed);
        assert_eq!(report["delivery"]["verdict"], "passed");
        let list = run_on(testkit::recording(&data).path(), &["list", "--no-legend"]);
        assert_eq!(stdout(&list).lines().count(), count, "the list has all of them");
    }
    // A report that is small enough omits nothing.
    let root = system(&testkit::table(&[b"io.systemd.credential:a=1"]));
    let (_, _, report, _) = import(root.path());
    assert!(report.get("omitted").is_none() && report["delivery"]["credentials"][0]["name"] == "a");
}
