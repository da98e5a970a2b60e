//! The seventeen measured ways in which a secret that is sent by SMBIOS is lost without a message. For each, a test
//! here or in a virtual machine shows that the agent reports the loss: the credential's name, the sizes, the place,
//! and an exit code other than success. If the agent itself loses nothing, it reports what another program loses.
//!
//! | # | what is lost in silence | test | file |
//! |---|---|---|---|
//! | 1 | a value of 6,000 bytes, cut at a page | `a_value_that_was_cut_at_a_page` | `promises/silent_losses.rs` |
//! | 1 | by systemd 252 and 254 | `what_systemd_252_cut_and_lost_is_whole_in_the_services_that_come_after` | `machine/systemd.rs` |
//! | 1 | | `what_systemd_254_cut_and_lost_is_whole_in_the_services_that_come_after` | `machine/systemd.rs` |
//! | 1 | one that 256 NUL bytes have split | `text_split_by_256_nul_bytes_is_no_count_that_wrapped` | `format/damage.rs` |
//! | 2 | the credential behind it | `the_credential_behind_a_cut_one` | `promises/silent_losses.rs` |
//! | 2 | by systemd 252 and 254 | `what_systemd_252_cut_and_lost_is_whole_in_the_services_that_come_after` | `machine/systemd.rs` |
//! | 3 | most of 300 credentials | `three_hundred_credentials_in_one_structure` | `promises/silent_losses.rs` |
//! | 3 | by systemd 252 and 254 | `three_hundred_credentials_are_all_there_beside_systemd_252` | `machine/systemd.rs` |
//! | 3 | | `three_hundred_credentials_are_all_there_beside_systemd_254` | `machine/systemd.rs` |
//! | 4 | the 257th credential in systemd's tmpfs | `the_257th_credential` | `promises/silent_losses.rs` |
//! | 4 | by the newest systemd | `three_hundred_credentials_are_all_there_beside_the_newest_systemd` | `machine/systemd.rs` |
//! | 5 | all of a value that is empty | `an_empty_value` | `promises/silent_losses.rs` |
//! | 6 | the second of two values for a name | `a_duplicate` | `promises/silent_losses.rs` |
//! | 7 | a value that is not base64 | `base64_that_is_none` | `promises/silent_losses.rs` |
//! | 8 | a credential behind a mistyped prefix | `a_prefix_that_is_nearly_right` | `promises/silent_losses.rs` |
//! | 9 | what is above 64 KiB, cut by firmware | `a_table_cut_at_64_kib` | `promises/silent_losses.rs` |
//! | 9 | by SeaBIOS | `a_table_that_firmware_cut_is_reported_with_both_sizes_and_strict_leaves_nothing` | `machine/busybox.rs` |
//! | 9 | the only OEM strings, which lost their end | `only_oem_strings_that_lost_their_end_are_not_nothing` | `format/vendor.rs` |
//! | 10 | everything above 256 KiB | `a_table_above_256_kib` | `promises/silent_losses.rs` |
//! | 10 | by a real kernel | `a_table_that_the_kernel_refuses_exits_4` | `machine/busybox.rs` |
//! | 10 | beside a unit that requires nothing | `unit_that_requires_nothing_fails_where_the_kernel_refused_the_table` | `machine/units.rs` |
//! | 11 | everything, where `/sys/firmware/dmi` is empty | `an_empty_sys_firmware_dmi` | `promises/silent_losses.rs` |
//! | 12 | what is behind an empty element | `an_empty_element` | `promises/silent_losses.rs` |
//! | 13 | all strings, in QEMU 10 | `all_strings_in_qemu_10` | `promises/silent_losses.rs` |
//! | 13 | in the newest QEMU | `set_that_the_newest_qemu_drops_is_missed_in_the_guest` | `machine/host.rs` |
//! | 14 | everything, without the kernel's dmi-sysfs | `everything_without_dmi_sysfs` | `promises/silent_losses.rs` |
//! | 14 | by systemd 252 | `where_systemd_252_can_import_nothing_its_services_find_everything` | `machine/systemd.rs` |
//! | 14 | by the newest systemd | `where_the_newest_systemd_can_import_nothing_its_services_find_everything` | `machine/systemd.rs` |
//! | 14 | what only PID 1 and generators read | `what_has_no_effect_is_a_finding_by_name_in_check_and_report` | `guest/place/systemd.rs` |
//! | 15 | everything, in QEMU's machine `microvm` | `everything_in_a_microvm` | `promises/silent_losses.rs` |
//! | 15 | in a real one | `a_machine_without_smbios_exits_4_and_names_the_cause` | `machine/busybox.rs` |
//! | 16 | everything, where somebody mounts on `@system` | `everything_in_the_mount_trap` | `promises/silent_losses.rs` |
//! | 16 | by the newest systemd | `a_naive_mount_on_system_hides_everything_from_the_services_and_ours_does_not` | `machine/systemd.rs` |
//! | 17 | the right value, where QEMU adds bytes to `path=` | `stray_bytes_behind_a_path_string` | `promises/silent_losses.rs` |

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use smbios_creds::format::manifest::Manifest;
use testkit::host::{QEMU_WORD, directory, host_with, program_with};
use testkit::{END, agent, code, credential, entry_point_3, recording, recording_with, run, run_on, stderr};
use testkit::{stdout, table, testdata};

#[test]
fn every_loss_has_a_test_that_is_there() {
    let rows: Vec<Vec<&str>> = include_str!("silent_losses.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .map(|row| {
            row.trim_end_matches(" |").split(" | ").map(|cell| cell.trim_matches(['`', '|', ' '])).collect()
        })
        .filter(|row: &Vec<&str>| row[0] != "#")
        .collect();
    let losses: BTreeSet<u32> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    assert!(losses.into_iter().eq(1..=17), "a loss has no test");
    for row in &rows {
        let [.., test, file] = row[..] else { panic!("{row:?}") };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        let source = fs::read_to_string(&source).unwrap();
        assert!(source.contains(&format!("#[test]\nfn {test}() {{")), "{file} has no test {test}");
    }
    // The table must also have every test of this file.
    let tests: Vec<&str> = include_str!("silent_losses.rs")
        .split("#[test]\nfn ")
        .skip(1)
        .filter_map(|rest| rest.split("()").next())
        .filter(|name| !name.contains(' ') && *name != "every_loss_has_a_test_that_is_there")
        .collect();
    assert_eq!(tests.len(), 17);
    for test in tests {
        assert!(rows.iter().any(|row| row[row.len() - 2] == test), "{test} is not in the table");
    }
}

/// Runs `check` and `import`, and asserts that both end with this exit code and report these findings (severity and
/// message), in this order. `check` lists all findings. `import` logs each finding as one line, followed by its
/// advice.
fn assert_reported(source: &Path, policy: &[&str], exit: i32, expected: &[&str]) {
    let check = run_on(source, &[&["check", "--json=short"], policy].concat());
    let json: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    let finding = |finding: &serde_json::Value| {
        let word = |key: &str| finding[key].as_str().unwrap().to_owned();
        (word("severity"), word("message"), word("advice"))
    };
    let findings: Vec<_> = json["findings"].as_array().unwrap().iter().map(finding).collect();
    let said: Vec<String> =
        findings.iter().map(|(severity, message, _)| format!("{severity}: {message}")).collect();
    assert_eq!(said, expected);
    assert_eq!(code(&check), exit);

    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("credentials");
    let import = run(agent(&["import", "--into"]).arg(&into).args(policy).arg("--from").arg(source));
    assert_eq!(code(&import), exit, "{}", stderr(&import));
    for (severity, message, advice) in findings {
        let level = if severity == "note" { "info" } else { &severity };
        let lines = format!("\nsmbios-creds: {level}: {message}\nsmbios-creds: help: {advice}\n");
        let logged = format!("\n{}", stderr(&import));
        assert!(logged.contains(&lines), "{lines}\n{logged}");
    }
}

fn manifest(set: &[(&str, &[u8])]) -> Vec<u8> {
    let set: Vec<_> = set.iter().map(|(name, value)| credential(name, value)).collect();
    Manifest::new(&set, [9; 16]).unwrap().encode().into_bytes()
}

fn text(name: &str, value: &[u8]) -> Vec<u8> {
    [format!("io.systemd.credential:{name}=").as_bytes(), value].concat()
}

fn sent(strings: &[&[u8]]) -> tempfile::TempDir {
    recording(&table(strings))
}

/// What systemd 252 to 256 leave of 6,000 bytes: a page, less the header, the prefix and the name.
const LEFT_OF_A_PAGE: usize = 4063;

#[test]
fn a_value_that_was_cut_at_a_page() {
    let whole = [b'x'; 6000];
    let manifest = manifest(&[("large", &whole)]);
    // A program that reads one page of the structure has this much of the value. The manifest shows the loss.
    let cut = sent(&[&manifest, &text("large", &whole[..LEFT_OF_A_PAGE])]);
    let place = 5 + manifest.len() + 1;
    let message = format!(
        "error: credential large: 6000 bytes were sent, 4063 arrived (structure 11-0, string 2, offset {place})"
    );
    let size = format!(
        "note: an OEM strings structure of {} bytes is larger than a page (structure 11-0, offset 0)",
        place + 28 + LEFT_OF_A_PAGE + 2
    );
    assert_reported(cut.path(), &[], 3, &[&size, &message]);

    // The agent gets the whole value, and notes that other programs may not.
    let whole = sent(&[&text("large", &whole)]);
    let size =
        "note: an OEM strings structure of 6035 bytes is larger than a page (structure 11-0, offset 0)";
    assert_reported(whole.path(), &[], 0, &[size]);

    // Beside a systemd that has cut the value, the agent repairs it and reports both sizes.
    let root = testkit::systemd_root(&[("large", &[b'x'; LEFT_OF_A_PAGE])]);
    let output =
        import_beside(root.path(), whole.path(), "mount --bind $1 $1 && mount -o remount,bind,ro $1");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let mended = "warning: repaired credential large (it had 4063 bytes; now it has 6000 bytes)\n";
    assert!(stderr(&output).contains(mended), "{}", stderr(&output));
}

#[test]
fn the_credential_behind_a_cut_one() {
    let manifest = manifest(&[("first", b"1"), ("next", b"value")]);
    let lost = sent(&[&manifest, &text("first", b"1")]);
    let message = "error: credential next: missing: sent with 5 bytes, but did not arrive";
    assert_reported(lost.path(), &[], 3, &[message]);
    // Without a manifest, the agent notices the loss if the credential is required.
    let lost = sent(&[&text("first", b"1")]);
    let message = "error: credential next: missing: required, but did not arrive";
    assert_reported(lost.path(), &["--require", "next"], 3, &[message]);

    let whole = sent(&[&text("first", b"1"), &text("next", b"value")]);
    let root = testkit::systemd_root(&[("first", b"1")]);
    let output =
        import_beside(root.path(), whole.path(), "mount --bind $1 $1 && mount -o remount,bind,ro $1");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let mended = "warning: repaired credential next (it was missing; now it has 5 bytes)\n";
    assert!(stderr(&output).contains(mended), "{}", stderr(&output));
}

fn many(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| text(&format!("c{n}"), b"value")).collect()
}

#[test]
fn three_hundred_credentials_in_one_structure() {
    let strings = many(300);
    let three_hundred = sent(&strings.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_reported(
        three_hundred.path(),
        &[],
        0,
        &[
            "note: an OEM strings structure of 9796 bytes is larger than a page (structure 11-0, offset 0)",
            "warning: the count byte says 44, but 300 OEM strings arrived: it cannot count past 255 (structure 11-0, \
             offset 0)",
            "warning: 300 credentials of 1500 bytes are more than systemd imports",
        ],
    );
    // This structure announces 44 strings but has only 40, so the hypervisor has dropped strings.
    let mut dropped = testkit::oem(&strings[..40].iter().map(Vec::as_slice).collect::<Vec<_>>());
    dropped[4] = 44;
    let dropped = recording(&[&dropped, END].concat());
    let message = "error: 44 OEM strings are announced, but 40 arrived: the hypervisor dropped strings (structure \
                   11-0, offset 0)";
    assert_reported(dropped.path(), &[], 3, &[message]);
}

#[test]
fn the_257th_credential() {
    let structures = |count: usize| {
        let strings = many(count);
        let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
        recording(&[strings.chunks(100).flat_map(testkit::oem).collect::<Vec<_>>().as_slice(), END].concat())
    };
    assert_reported(structures(256).path(), &[], 0, &[]);
    let message = "warning: 257 credentials of 1285 bytes are more than systemd imports";
    assert_reported(structures(257).path(), &[], 0, &[message]);
}

#[test]
fn an_empty_value() {
    let empty = sent(&[&text("db-password", b""), &text("other", b"1")]);
    let place = "(structure 11-0, string 1, offset 5)";
    let message = format!("error: credential db-password: empty (0 bytes) {place}");
    assert_reported(empty.path(), &[], 3, &[&message]);
    let message = format!("error: credential db-password: required, but empty (0 bytes) {place}");
    assert_reported(empty.path(), &["--require", "db-password"], 3, &[&message]);
    // The host's program does not send an empty value.
    let folder = directory(&[("db-password", b"")]);
    let output = run(&mut host_with(folder.path(), &["run", "--all", "--hypervisor=qemu", "--", "true"]));
    assert_eq!(code(&output), 3);
    let message = format!(
        "smbios-creds-host: error: credential db-password: {}/db-password is empty; nothing is \
         started\nsmbios-creds-host: help: if it may be empty, use --allow-empty db-password\n",
        folder.path().display()
    );
    assert_eq!(stderr(&output), message);
}

#[test]
fn a_duplicate() {
    let twice = sent(&[&text("db", b"first"), &text("db", b"second")]);
    let message = "error: credential db: was sent again with another value; the first one counts (structure 11-0, \
                   string 2, offset 36)";
    assert_reported(twice.path(), &[], 3, &[message]);
    let same = sent(&[&text("db", b"first"), &text("db", b"first")]);
    let message =
        "warning: credential db: was sent again, with the same value (structure 11-0, string 2, offset 36)";
    assert_reported(same.path(), &[], 0, &[message]);
}

#[test]
fn base64_that_is_none() {
    for (value, reason) in [
        ("c2VjcmV0!", "byte 8 of its text is not a base64 character"),
        ("c2VjcmV0c", "its padding is missing or wrong"),
        ("c2VjcmV0cz==", "the unused bits of its last character are not zero"),
        ("c2Vjcg==cmV0", "text follows its padding"),
    ] {
        let string = format!("io.systemd.credential.binary:tls-key={value}");
        let (bad, size) = (sent(&[string.as_bytes()]), string.len());
        let message = format!(
            "error: the OEM string of {size} bytes has a value that is not base64: {reason} (structure 11-0, \
             string 1, offset 5)"
        );
        assert_reported(bad.path(), &[], 3, &[&message]);
    }
}

#[test]
fn a_prefix_that_is_nearly_right() {
    for prefix in [
        "io.systemd.credentials:",
        "io.systemd.credental:",
        "IO.systemd.credential:",
        " io.systemd.credential:",
    ] {
        let mistyped = sent(&[&text("other", b"1"), format!("{prefix}db=secret").as_bytes()]);
        let message = "error: an OEM string almost starts with 'io.systemd.credential:': its prefix is probably \
                       mistyped, so it was not read (structure 11-0, string 2, offset 35)";
        assert_reported(mistyped.path(), &[], 3, &[message]);
    }
}

#[test]
fn a_table_cut_at_64_kib() {
    // SeaBIOS 1.16 copies only the table's size modulo 64 KiB, and the kernel drops the zeroes at the end.
    let whole = table(&[&text("small", b"value"), &text("large", &vec![b'x'; 70_000])]);
    let left = whole.len() % 65_536;
    let mut cut = whole[..left].to_vec();
    cut.extend_from_slice(&[0, 0]);
    let source = recording_with(&entry_point_3(whole.len()), &cut);
    let table =
        format!("error: the SMBIOS table is cut: {} bytes announced, {} found", whole.len(), cut.len());
    let size = format!(
        "note: an OEM strings structure of {} bytes is larger than a page (structure 11-0, offset 0)",
        cut.len()
    );
    let value = format!(
        "error: credential large: the table is damaged after it, so its {} bytes may be incomplete; it was refused \
         (structure 11-0, string 2, offset 39)",
        left - 39 - 28
    );
    assert_reported(source.path(), &[], 3, &[&table, &size, &value]);
    // The host's program refuses to send so large a set.
    let folder = directory(&[("large", &vec![b'x'; 50_000])]);
    let output = run(&mut host_with(folder.path(), &["run", "--all", "--hypervisor=qemu", "--", "true"]));
    assert_eq!(code(&output), 3);
    let limit = "smbios-creds-host: error: QEMU: size of the structure table: 66922 bytes, 5483 more than the limit of 61439: \
                 QEMU refuses to start, or its firmware cuts the table\nsmbios-creds-host: help: send fewer or \
                 smaller credentials\nsmbios-creds-host: error: qemu is not started\n";
    assert!(stderr(&output).ends_with(limit), "{}", stderr(&output));
}

/// Asserts that every verb that needs the table prints this message, in a root directory with a `/sys/firmware` as
/// the kernel leaves it.
fn assert_no_source(folders: &str, message: &str) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(folders)).unwrap();
    assert_no_source_below(&root, message);
}

fn assert_no_source_below(root: &tempfile::TempDir, message: &str) {
    let into = root.path().join("credentials");
    let into = into.to_str().unwrap();
    for verb in
        [&["check"][..], &["list"], &["import", "--into", into], &["exec", "--into", into, "--", "true"]]
    {
        let output = run(agent(&["--root"]).arg(root.path()).args(verb));
        assert_eq!((code(&output), stdout(&output).as_str()), (4, ""), "{verb:?}: {}", stderr(&output));
        let message = message.replace("ROOT", root.path().to_str().unwrap());
        let started = if verb[0] == "exec" { "the program is not started: " } else { "" };
        assert_eq!(stderr(&output), format!("smbios-creds: error: {started}{message}\n"));
    }
}

const NO_SMBIOS: &str = "no SMBIOS: ROOT/sys/firmware/dmi does not exist. Either the hypervisor gives this machine none \
                         (QEMU's '-M microvm', Firecracker and kvmtool have none), or its table is larger than 256 KiB \
                         and the kernel refused it\nsmbios-creds: help: look for 'DMI' in the kernel's log";

#[test]
fn a_table_above_256_kib() {
    assert_no_source("sys/firmware", NO_SMBIOS);
    // If the firmware still shows that it had a table, no unit takes the machine for one that was sent nothing.
    let refused = "no SMBIOS table: the firmware has one, but ROOT/sys/firmware/dmi does not exist, so the kernel \
                   refused the table, most likely because it is larger than 256 KiB\nsmbios-creds: help: send fewer \
                   or smaller credentials, and look for 'DMI' in the kernel's log";
    let mut bios = [vec![0; 0xf_3450], entry_point_3(300_000)].concat();
    bios.resize(0x10_0000, 0);
    let efi = b"ACPI20=0x7f77e014\nSMBIOS3=0x7f5b2000\n".to_vec();
    for (file, content) in [("dev/mem", bios), ("sys/firmware/efi/systab", efi)] {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("sys/firmware")).unwrap();
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &content).unwrap();
        assert_no_source_below(&root, refused);
        let into = root.path().join("credentials");
        let mut import = agent(&["import", "--allow-none", "--root"]);
        let output = run(import.arg(root.path()).arg("--into").arg(&into));
        assert_eq!(code(&output), 4, "{}", stderr(&output));
        // Without the firmware's entry point, the agent reports a machine without SMBIOS.
        fs::write(&path, vec![0; content.len()]).unwrap();
        assert_no_source_below(&root, NO_SMBIOS);
    }
}

#[test]
fn an_empty_sys_firmware_dmi() {
    let message = "no SMBIOS table: ROOT/sys/firmware/dmi exists but is empty: the kernel found an entry point, but \
                   could not map the table (cloud-hypervisor: the table must end below 1 MiB, at most 65512 \
                   bytes)\nsmbios-creds: help: send fewer or smaller credentials";
    assert_no_source("sys/firmware/dmi", message);
}

#[test]
fn an_empty_element() {
    // QEMU counts an empty string, and leaves it out.
    assert_reported(
        &testdata("qemu-7.2-empty-value"),
        &[],
        3,
        &[
            "error: 3 OEM strings are announced, but 2 arrived: the hypervisor dropped strings (structure 11-0, offset \
           258)",
        ],
    );
    // cloud-hypervisor writes an empty string, which ends the set of strings.
    let first = [b"\x0b\x05\x00\x00\x03".as_slice(), &text("a", b"1"), b"\0\0"].concat();
    let behind = [&text("b", b"2"), b"\0\0".as_slice()].concat();
    let ended = recording(&[first.as_slice(), &behind, END].concat());
    let mut findings = vec![
        "error: 3 OEM strings are announced, but 1 arrived: the hypervisor dropped strings (structure 11-0, offset \
         0)",
        "error: text follows the OEM strings: an empty string has ended the list early, and the strings after it are \
         lost (structure 11-0, offset 32)",
    ];
    let damage = format!(
        "error: the SMBIOS table is damaged: its last {} bytes are not a structure: its formatted area runs past the \
         end of the table (offset 32)",
        behind.len() + END.len()
    );
    let refused = "error: credential a: the table is damaged after it, so its 1 bytes may be incomplete; it was \
                   refused (structure 11-0, string 1, offset 5)";
    findings.insert(0, &damage);
    findings.push(refused);
    assert_reported(ended.path(), &[], 3, &findings);
    // The host's program does not start a command line with an empty string.
    let folder = directory(&[("db", b"secret")]);
    let platform =
        ["--hypervisor=cloud-hypervisor", "--", "true", "--kernel=k", "--platform", "oem_strings=[a,,b]"];
    let output = run(&mut host_with(folder.path(), &[&["run", "--all"], &platform[..]].concat()));
    assert_eq!(code(&output), 3);
    let message = "smbios-creds-host: error: cannot merge OEM strings with --platform: an empty OEM string cuts off \
                   all strings after it in the guest's table; nothing is started\n";
    assert_eq!(stderr(&output), message);
}

#[test]
fn all_strings_in_qemu_10() {
    assert_reported(
        &testdata("qemu-10-silent-loss"),
        &[],
        3,
        &[
            "error: 2 OEM strings are announced, but none arrived: the hypervisor dropped the strings (structure 11-0, \
           offset 267)",
        ],
    );
}

/// Runs an import beside systemd, in a mount namespace in which the script `mounts` has mounted systemd's directory,
/// `$1`.
fn import_beside(root: &Path, source: &Path, mounts: &str) -> Output {
    let mut command = Command::new("unshare");
    command.arg(if testkit::is_root() { "-m" } else { "-rm" });
    command.args(["sh", "-c", &format!("{mounts} && shift && exec \"$@\""), "sh"]);
    command.arg(root.join("run/credentials/@system")).arg(env!("CARGO_BIN_EXE_smbios-creds"));
    command.args(["import", "--root"]).arg(root).arg("--from").arg(source);
    run(command.env_remove("JOURNAL_STREAM"))
}

#[test]
fn everything_without_dmi_sysfs() {
    // systemd reads entries/11-N/raw, which the module dmi-sysfs makes. The agent reads the table.
    let root = testkit::systemd_root(&[]);
    let source = sent(&[&text("db", b"secret")]);
    let output = import_beside(root.path(), source.path(), ":");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let folder = root.path().join("run/credstore");
    let said = format!(
        "smbios-creds: info: credentials go to {}: PID 1 is systemd, and has imported no credentials\n",
        folder.display()
    );
    assert!(stderr(&output).starts_with(&said), "{}", stderr(&output));
    assert_eq!(fs::read(folder.join("db")).unwrap(), b"secret");
}

#[test]
fn everything_in_a_microvm() {
    let folder = directory(&[("db", b"secret")]);
    // QEMU's machine type microvm ignores -smbios without a message, so the set and its manifest go by fw_cfg.
    let (_programs, qemu) = program_with("/bin/echo", QEMU_WORD);
    let program = ["run", "--all", "--hypervisor=qemu", "--", qemu.to_str().unwrap(), "-M", "microvm"];
    let output = run(&mut host_with(folder.path(), &program));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let arguments = stdout(&output);
    let items = ["opt/io.systemd.credentials/db", "opt/io.smbios-creds/manifest"];
    let has = |item: &&str| arguments.contains(&format!("-fw_cfg name={item},file=/proc/self/fd/"));
    assert!(items.iter().all(has) && !arguments.contains("-smbios"), "{arguments}");
    // If a microvm is started without the host's program, its agent prints the same message as for a table that is
    // too large.
    assert_no_source("sys/firmware", NO_SMBIOS);
}

#[test]
fn everything_in_the_mount_trap() {
    // Another program has mounted a complete set before systemd started, so systemd passes on nothing. The mount is
    // writable.
    let root = testkit::systemd_root(&[("db", b"secret")]);
    let source = sent(&[&text("db", b"secret")]);
    let output = import_beside(root.path(), source.path(), "mount --bind $1 $1");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let folder = root.path().join("run/credstore");
    let said = format!(
        "smbios-creds: info: credentials go to {}: PID 1 is systemd, but passes on no credentials, because another \
         program filled @system\n",
        folder.display()
    );
    assert!(stderr(&output).starts_with(&said), "{}", stderr(&output));
    assert_eq!(fs::read(folder.join("db")).unwrap(), b"secret");
}

#[test]
fn stray_bytes_behind_a_path_string() {
    // QEMU before 7.2.18 did not end the content of a file with a NUL byte, so the string goes on with the bytes that
    // follow it in memory.
    const STRAY: &[u8] = b"\x90\xd2\x1b[31m\x7f";
    let manifest = manifest(&[("db", b"secret"), ("tls", b"key")]);
    let stray = |string: &[u8]| [string, STRAY].concat();
    let tls = text("tls", b"key");
    let source = sent(&[&manifest, &stray(&text("db", b"secret")), &tls]);
    let at = 5 + manifest.len() + 1;
    let place = format!("(structure 11-0, string 2, offset {at})");
    let size = format!("error: credential db: 6 bytes were sent, {} arrived {place}", 6 + STRAY.len());
    assert_reported(source.path(), &[], 3, &[&size]);

    // In the binary form, which the host's program sends, the text with the stray bytes is no longer base64.
    let source = sent(&[&manifest, &stray(b"io.systemd.credential.binary:db=c2VjcmV0"), &tls]);
    let reason = "byte 8 of its text is not a base64 character";
    let refused =
        format!("error: the OEM string of 48 bytes has a value that is not base64: {reason} {place}");
    let missing = "error: credential db: missing: sent with 6 bytes, but did not arrive";
    assert_reported(source.path(), &[], 3, &[&refused, missing]);

    // The manifest is no longer base64 either, if the stray bytes follow the manifest.
    let source = sent(&[&stray(&manifest), &text("db", b"secret"), &tls]);
    let reason =
        format!("byte {} of its text", manifest.len() - smbios_creds::format::manifest::PREFIX.len());
    let unreadable = format!(
        "error: the manifest cannot be read: it is not base64: {reason} is not a base64 character (structure 11-0, \
         string 1, offset 5)"
    );
    assert_reported(source.path(), &[], 3, &[&unreadable]);
}
