//! `import --close`: which files it closes and when, and what the verbs say of a closed table.
//!
//! In sysfs, even root cannot open a file of mode 0000. In the file system of a test, root can. So if root runs these
//! tests, they run the agent as another user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use smbios_creds::format::credential::Credential;
use smbios_creds::format::manifest::Manifest;
use tempfile::TempDir;
use testkit::fw_cfg::{item, write_credential, write_item};
use testkit::{agent, code, credential, entry_point_3, is_root, run, stderr, stdout, table, testdata};

/// The owner of everything in a made-up machine, if root runs the tests.
const NOBODY: u32 = 65_534;

/// A made-up machine after switch-root, where systemd is PID 1 and has imported nothing.
struct Machine(TempDir);

impl Machine {
    fn new(strings: &[&[u8]]) -> Self {
        let machine = Self(testkit::systemd_root(&[]));
        let data = table(strings);
        machine.write("sys/firmware/dmi/tables/smbios_entry_point", &entry_point_3(data.len()));
        machine.write("sys/firmware/dmi/tables/DMI", &data);
        for entry in ["0-0", "1-0", "11-0", "11-1", "110-0"] {
            machine.write(&format!("sys/firmware/dmi/entries/{entry}/raw"), b"structure");
        }
        machine.write("sys/class/dmi/id/product_name", b"machine\n");
        machine
    }

    /// Makes a machine that gets two credentials and their manifest.
    fn proven() -> Self {
        let set: [Credential; 2] = [credential("db", b"hunter2"), credential("tls", b"hunter22")];
        let manifest = Manifest::new(&set, [3; 16]).unwrap().encode();
        Self::new(&[
            b"io.systemd.credential:db=hunter2",
            b"io.systemd.credential:tls=hunter22",
            manifest.as_bytes(),
        ])
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn firmware(&self) -> PathBuf {
        self.path("sys/firmware")
    }

    fn write(&self, below: &str, content: &[u8]) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o400)).unwrap();
    }

    fn mode(&self, below: &str) -> u32 {
        fs::symlink_metadata(self.path(below)).unwrap().mode() & 0o7777
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = agent(&["--root"]);
        command.arg(self.0.path()).args(arguments);
        if is_root() {
            own(self.0.path());
            command.uid(NOBODY).gid(NOBODY);
        }
        run(&mut command)
    }

    /// Runs the agent, and returns its exit code and its log.
    fn said(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        (code(&output), stderr(&output))
    }

    /// Returns every file that has mode 0000.
    fn closed(&self) -> Vec<String> {
        let mut closed = Vec::new();
        walk(self.0.path(), &mut |path| {
            if fs::symlink_metadata(path).unwrap().permissions().mode().trailing_zeros() >= 9 {
                closed.push(path.strip_prefix(self.firmware()).unwrap().to_str().unwrap().to_owned());
            }
        });
        closed.sort();
        closed
    }
}

fn walk(path: &Path, each: &mut impl FnMut(&Path)) {
    each(path);
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), each);
        }
    }
}

fn own(path: &Path) {
    walk(path, &mut |path| lchown(path, Some(NOBODY), Some(NOBODY)).unwrap());
}

const CLOSED: [&str; 3] = ["dmi/entries/11-0/raw", "dmi/entries/11-1/raw", "dmi/tables/DMI"];

#[test]
fn verified_import_closes_table_and_type_11_and_nothing_else() {
    let machine = Machine::proven();
    let (exit, log) = machine.said(&["import", "--close"]);
    assert_eq!(exit, 0, "{log}");
    assert!(log.contains("closed 3 files below /sys/firmware (mode 0000)"), "{log}");
    assert_eq!(machine.closed(), CLOSED);
    assert_eq!(fs::read(machine.path("run/credstore/db")).unwrap(), b"hunter2");
    let report = fs::read(machine.path("run/smbios-creds/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!((&report["closed"], &report["exit"]), (&true.into(), &0.into()));
}

#[test]
fn import_without_close_closes_nothing() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import"]).0, 0);
    assert_eq!(machine.closed(), [""; 0]);
    assert_eq!(machine.said(&["check", "--manifest=require"]).0, 0);
    assert_eq!(machine.said(&["import", "--dry-run", "--close"]).0, 0);
    assert_eq!(machine.closed(), [""; 0], "a dry run");
}

#[test]
fn entry_point_is_never_closed_so_dmidecode_does_not_scan_memory() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import", "--close"]).0, 0);
    assert_eq!(machine.mode("sys/firmware/dmi/tables/smbios_entry_point"), 0o400);
    assert_eq!(machine.said(&["import", "--close"]).0, 0, "nor by a second one");
    assert_eq!(machine.mode("sys/firmware/dmi/tables/smbios_entry_point"), 0o400);
}

#[test]
fn fw_cfg_items_with_secrets_are_closed_and_the_firmwares_own_are_not() {
    let machine = Machine::new(&[b"io.systemd.credential:db=hunter2"]);
    let at = machine.firmware();
    write_credential(&at, 40, "tls", b"hunter22");
    write_item(&at, 41, b"opt/io.smbios-creds/receipt", b"vsock-stream:2:1");
    // QEMU's own copy of the table, from which the firmware makes the table in memory.
    write_item(&at, 42, b"etc/smbios/smbios-tables", b"io.systemd.credential:db=hunter2");
    write_item(&at, 43, b"etc/smbios/smbios-anchor", b"_SM3_");
    write_item(&at, 44, b"opt/org.example/other", b"not ours");
    let (exit, log) = machine.said(&["import", "--close"]);
    assert_eq!(exit, 0, "{log}");
    let items = [40, 41, 42].map(|key| format!("qemu_fw_cfg/by_key/{key}/raw"));
    assert_eq!(machine.closed(), [&CLOSED.map(str::to_owned)[..], &items].concat());
    // Only the files with the bytes are closed, so the agent still finds every item.
    assert_eq!(machine.said(&["list"]).0, 0);
    let opened = item(&at, 40).join("raw");
    fs::set_permissions(&opened, Permissions::from_mode(0o400)).unwrap();
    let (exit, log) = machine.said(&["cat", "tls"]);
    assert!(exit == 1 && log.contains("by_key/41/raw: it is closed (mode 0000)"), "{log}");
}

#[test]
fn failed_import_does_not_close() {
    // The manifest lists a credential that did not arrive.
    let set = [credential("db", b"hunter2"), credential("lost", b"hunter22")];
    let manifest = Manifest::new(&set, [3; 16]).unwrap().encode();
    let machine = Machine::new(&[b"io.systemd.credential:db=hunter2", manifest.as_bytes()]);
    let (exit, log) = machine.said(&["import", "--close"]);
    assert_eq!(exit, 3, "{log}");
    assert!(log.contains("the table stays readable: verification failed"), "{log}");
    assert_eq!(machine.closed(), [""; 0]);
    let (exit, log) = machine.said(&["import", "--close", "--strict"]);
    assert!(exit == 3 && log.contains("the table stays readable: verification failed"), "{log}");
    assert_eq!(machine.closed(), [""; 0]);
    let report = fs::read_to_string(machine.path("run/smbios-creds/report.json")).unwrap();
    assert!(!report.contains("\"closed\""), "{report}");
}

#[test]
fn set_that_cannot_be_placed_does_not_close() {
    let machine = Machine::proven();
    machine.write("run/credstore", b"a file in the place of the directory");
    let (exit, log) = machine.said(&["import", "--close"]);
    assert_eq!(exit, 1, "{log}");
    assert_eq!(machine.closed(), [""; 0]);
}

#[test]
fn unmet_requirement_does_not_close() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import", "--close", "--require", "absent"]).0, 3);
    assert_eq!(machine.closed(), [""; 0]);
}

#[test]
fn nothing_sent_does_not_close() {
    let machine = Machine::new(&[]);
    machine.write("sys/firmware/dmi/tables/DMI", testkit::END);
    machine.write("sys/firmware/dmi/tables/smbios_entry_point", &entry_point_3(testkit::END.len()));
    let (exit, log) = machine.said(&["import", "--close", "--allow-none"]);
    assert!(exit == 0 && log.contains("the table stays readable: it contains no credentials"), "{log}");
    assert_eq!(machine.closed(), [""; 0]);
}

#[test]
fn import_in_the_initrd_does_not_close_what_the_host_stage_reads_again() {
    let machine = Machine::proven();
    machine.write("etc/initrd-release", b"ID=debian\n");
    let (exit, log) = machine.said(&["import", "--close"]);
    assert_eq!(exit, 0, "{log}");
    assert!(log.contains("the table stays readable in the initrd"), "{log}");
    assert_eq!(machine.closed(), [""; 0]);
    // An initramfs without /etc/initrd-release, whose script names the destination.
    fs::remove_file(machine.path("etc/initrd-release")).unwrap();
    let (exit, log) = machine.said(&["import", "--close", "--into", "initrd"]);
    assert!(exit == 0 && log.contains("the table stays readable in the initrd"), "{log}");
    assert_eq!(machine.closed(), [""; 0]);
    // The stage after switch-root finds the initrd's report. That report does not describe a closed table, so the stage
    // after switch-root imports and closes.
    assert_eq!(machine.said(&["import", "--close"]).0, 0);
    assert_eq!(machine.closed(), CLOSED);
    assert_eq!(machine.said(&["import"]).0, 0);
}

#[test]
fn recording_and_close_together_are_refused() {
    let machine = Machine::proven();
    let from = testdata("qemu-7.2-pc");
    let output = machine.run(&["import", "--close", "--from", from.to_str().unwrap()]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert_eq!(machine.closed(), [""; 0]);
}

#[test]
fn without_a_report_nothing_is_closed_since_nothing_would_know_the_set() {
    let machine = Machine::proven();
    fs::create_dir_all(machine.path("run")).unwrap();
    machine.write("run/smbios-creds", b"a file in the place of the directory");
    let (exit, log) = machine.said(&["import", "--close"]);
    assert!(exit == 1 && log.contains("the table stays readable: no report"), "{log}");
    assert_eq!(machine.closed(), [""; 0]);
    assert!(machine.path("run/credstore/db").exists(), "it is imported all the same");
}

#[test]
fn link_in_the_place_of_a_file_is_not_followed() {
    let machine = Machine::proven();
    machine.write("victim", b"another file");
    let raw = machine.path("sys/firmware/dmi/entries/11-0/raw");
    fs::remove_file(&raw).unwrap();
    symlink(machine.path("victim"), &raw).unwrap();
    let (exit, log) = machine.said(&["import", "--close"]);
    assert!(exit == 1 && log.contains("11-0/raw: it is not a regular file"), "{log}");
    assert_eq!(machine.mode("victim"), 0o400);
    assert_eq!(machine.closed(), CLOSED[1..], "every other file is closed all the same");
}

#[test]
fn second_import_ends_well_if_everything_is_still_in_place() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import", "--close"]).0, 0);
    let report = fs::read(machine.path("run/smbios-creds/report.json")).unwrap();
    for arguments in [
        &["import"][..],
        &["import", "--close"],
        &["import", "--dry-run"],
        &["import", "--require", "db", "--manifest=require", "--strict"],
        &["import", "--allow-none"],
    ] {
        let output = machine.run(arguments);
        let log = stderr(&output);
        assert_eq!(code(&output), 0, "{arguments:?}: {log}");
        assert!(log.contains("the table is closed (mode 0000) by smbios-creds; the last import"), "{log}");
        assert!(
            log.contains("Values were not compared, and the credentials that the host sends now"),
            "{log}"
        );
        assert_eq!(stdout(&output).matches(" closed ").count(), 2, "{output:?}");
        assert!(!log.contains("run this as root"), "{log}");
    }
    assert_eq!(fs::read(machine.path("run/smbios-creds/report.json")).unwrap(), report);
}

/// A case of a damaged import: its name, how it is damaged, the options of the second import, and the message of the
/// second import.
type Spoilt = (&'static str, fn(&Machine), &'static [&'static str], &'static str);

#[test]
fn second_import_finds_ciphertexts_in_their_own_place() {
    let encrypted = [b"io.smbios-creds.encrypted:sealed=".as_slice(), &testkit::sealed("tpm2-254")].concat();
    let machine = Machine::new(&[b"io.systemd.credential:db=hunter2", &encrypted]);
    let import = ["import", "--close", "--require", "sealed"];
    assert_eq!(machine.said(&import).0, 0, "{:?}", machine.said(&import));
    assert_eq!(machine.closed(), CLOSED);
    let (code, log) = machine.said(&import);
    assert_eq!(code, 0, "{log}");
    fs::remove_file(machine.path("run/credstore.encrypted/sealed")).unwrap();
    let (code, log) = machine.said(&import);
    assert!(code == 1 && log.contains("credential sealed: it was imported, but it is missing in"), "{log}");
    assert!(log.contains("/run/credstore.encrypted"), "{log}");
}

#[test]
fn ciphertext_that_a_directory_does_not_take_keeps_the_table_open() {
    let encrypted = [b"io.smbios-creds.encrypted:sealed=".as_slice(), &testkit::sealed("tpm2-254")].concat();
    let machine = Machine::new(&[b"io.systemd.credential:db=hunter2", &encrypted]);
    let into = format!("--into={}", machine.path("own").display());
    _ = machine.said(&["import", "--close", &into]);
    assert_eq!(machine.closed(), [""; 0]);
}

#[test]
fn second_import_fails_if_a_credential_is_lost_changed_or_was_never_there() {
    let spoilt: [Spoilt; 7] = [
        (
            "lost",
            |m| fs::remove_file(m.path("run/credstore/db")).unwrap(),
            &[],
            "db: it was imported, but it is missing",
        ),
        (
            "cut",
            |m| {
                fs::remove_file(m.path("run/credstore/db")).unwrap();
                m.write("run/credstore/db", b"hunter");
            },
            &[],
            "db: the size or mode of its file in",
        ),
        (
            "readable",
            |m| fs::set_permissions(m.path("run/credstore/db"), Permissions::from_mode(0o444)).unwrap(),
            &[],
            "db: the size or mode of its file in",
        ),
        (
            "report",
            |m| fs::remove_file(m.path("run/smbios-creds/report.json")).unwrap(),
            &[],
            "the report of the last import is missing in",
        ),
        ("required", |_| (), &["--require", "absent"], "absent: it is required, but it was missing"),
        ("elsewhere", |_| (), &["--into", "initrd"], "the last import wrote the credentials to"),
        (
            "failed",
            |m| {
                let path = m.path("run/smbios-creds/report.json");
                let report = fs::read_to_string(&path).unwrap().replace("\"exit\":0", "\"exit\":3");
                fs::write(path, report).unwrap();
            },
            &[],
            "the last import failed",
        ),
    ];
    for (what, spoil, options, message) in spoilt {
        let machine = Machine::proven();
        assert_eq!(machine.said(&["import", "--close"]).0, 0);
        spoil(&machine);
        let (exit, log) = machine.said(&[&["import"], options].concat());
        assert_eq!(exit, 1, "{what}: {log}");
        assert!(log.contains(message), "{what}: {log}");
    }
}

#[test]
fn manifest_that_is_required_must_have_proven_the_closed_set() {
    let machine = Machine::new(&[b"io.systemd.credential:db=hunter2"]);
    assert_eq!(machine.said(&["import", "--close"]).0, 0);
    assert_eq!(machine.said(&["import"]).0, 0);
    let (exit, log) = machine.said(&["import", "--manifest=require"]);
    assert!(exit == 1 && log.contains("a manifest is required"), "{log}");
}

#[test]
fn manifest_that_must_be_signed_must_have_been_when_the_table_was_closed() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import", "--close"]).0, 0);
    assert_eq!(machine.said(&["import", "--manifest=require"]).0, 0);
    let (exit, log) = machine.said(&["import", "--manifest=signed"]);
    assert!(exit == 1 && log.contains("a signed manifest is required"), "{log}");
}

/// After the import, the system gets a trusted key, or the command line asks for another name or serial.
#[test]
fn closed_set_that_a_trusted_key_has_not_signed_is_not_said_to_be_well() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import", "--close"]).0, 0);
    let key = crate::signed::key("owner");
    let verbs: [&[&str]; 4] = [&["import"], &["import", "--dry-run"], &["check"], &["list"]];
    let fails = |machine: &Machine, options: &[&str], message: &str| {
        for verb in verbs {
            let output = machine.run(&[verb, options].concat());
            let said = stderr(&output) + &stdout(&output);
            assert!(code(&output) == 1 && said.contains(message), "{verb:?} {options:?}: {said}");
        }
    };
    fails(
        &machine,
        &["--trust", &key],
        "a signed manifest is required, but the set of the last import was not signed",
    );
    let pub_file = fs::read(testdata("signed/owner.pub")).unwrap();
    machine.write("etc/smbios-creds/trusted/owner.pub", &pub_file);
    fails(&machine, &[], "a signed manifest is required, but the set of the last import was not signed");
    // Add to the report what an import of a signed set writes there.
    let report = machine.path("run/smbios-creds/report.json");
    let text = fs::read_to_string(&report).unwrap();
    let id =
        String::from_utf8(pub_file).unwrap().lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let sign = |key: &str| {
        let signature =
            format!(r#""proven":true,"signature":{{"key":"{key}","audience":"web01","serial":7}}"#);
        fs::write(&report, text.replacen(r#""proven":true"#, &signature, 1)).unwrap();
    };
    sign(&id);
    for verb in verbs {
        assert_eq!(
            machine.said(&[verb, &["--audience", "web01", "--min-serial", "7"]].concat()).0,
            0,
            "{verb:?}"
        );
    }
    let not_believed = format!("signed by {id} for web01, serial 7, which is not accepted now");
    fails(&machine, &["--audience", "db01"], &not_believed);
    fails(&machine, &["--min-serial", "8"], &not_believed);
    sign("1234");
    fails(&machine, &[], "signed by 1234 for web01");
}

#[test]
fn second_import_closes_what_the_first_was_killed_before() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import", "--close"]).0, 0);
    let entry = "sys/firmware/dmi/entries/11-0/raw";
    fs::set_permissions(machine.path(entry), Permissions::from_mode(0o400)).unwrap();
    assert_eq!(machine.said(&["import"]).0, 0);
    assert_eq!(machine.mode(entry), 0o400, "only if it is asked to");
    let (exit, log) = machine.said(&["import", "--close"]);
    assert!(exit == 0 && log.contains("closed 1 file below"), "{log}");
    assert_eq!(machine.closed(), CLOSED);
}

#[test]
fn list_and_check_say_closed_and_what_the_report_knows() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import", "--close"]).0, 0);
    let list = machine.run(&["list"]);
    let lines = "NAME SIZE ENCODING STATE  SOURCE\n\
                 db     7B text     closed 11-0:1\n\
                 tls    8B text     closed 11-0:2\n";
    assert_eq!((code(&list), stdout(&list).as_str()), (0, lines));
    assert!(stderr(&list).contains("chmod 400 /sys/firmware/dmi/tables/DMI"), "{}", stderr(&list));
    let check = machine.run(&["check"]);
    assert!(code(&check) == 0 && stdout(&check).starts_with("closed: "), "{check:?}");
    let check: serde_json::Value = serde_json::from_slice(&machine.run(&["check", "--json"]).stdout).unwrap();
    assert_eq!((&check["verdict"], &check["proven"]), (&"closed".into(), &true.into()));
    assert_eq!(check["credentials"][1]["state"], "closed");
    assert_eq!(check["credentials"][1]["source"]["structure"], 0);

    fs::remove_file(machine.path("run/credstore/db")).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&machine.run(&["list", "--json"]).stdout).unwrap();
    assert_eq!((&list[0]["state"], &list[1]["state"]), (&"missing".into(), &"closed".into()));
    let check = machine.run(&["check", "--json"]);
    assert_eq!(code(&check), 1);
    let check: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert!(check["problems"][0].as_str().unwrap().contains("db: it was imported"), "{check}");
}

#[test]
fn closed_by_another_program_is_not_said_to_be_ours() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import"]).0, 0);
    let table = machine.path("sys/firmware/dmi/tables/DMI");
    fs::set_permissions(table, Permissions::from_mode(0o000)).unwrap();
    let (exit, log) = machine.said(&["import"]);
    assert_eq!(exit, 0, "{log}");
    assert!(
        log.contains("(mode 0000), but the last report does not say that smbios-creds closed it"),
        "{log}"
    );
}

#[test]
fn values_of_a_closed_table_are_neither_printed_nor_recorded() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import", "--close"]).0, 0);
    let into = machine.path("recorded");
    for arguments in
        [&["cat", "db"][..], &["record", into.to_str().unwrap()], &["exec", "--", "echo", "started"]]
    {
        let output = machine.run(arguments);
        assert_eq!((code(&output), stdout(&output).as_str()), (1, ""), "{arguments:?}");
        assert!(stderr(&output).contains("it is closed (mode 0000)"), "{}", stderr(&output));
        assert!(!stderr(&output).contains("hunter2"));
    }
}

#[test]
fn opened_table_is_read_again() {
    let machine = Machine::proven();
    assert_eq!(machine.said(&["import", "--close"]).0, 0);
    let table = machine.path("sys/firmware/dmi/tables/DMI");
    fs::set_permissions(table, Permissions::from_mode(0o400)).unwrap();
    let output = machine.run(&["list"]);
    assert_eq!(stdout(&output).matches(" imported ").count(), 2, "{output:?}");
    assert_eq!(stdout(&machine.run(&["cat", "db", "--newline=no"])), "hunter2");
}

#[test]
fn file_without_permission_for_this_user_is_not_said_to_be_closed() {
    let machine = Machine::proven();
    let table = machine.path("sys/firmware/dmi/tables/DMI");
    fs::set_permissions(table, Permissions::from_mode(0o040)).unwrap();
    let (exit, log) = machine.said(&["list"]);
    assert!(exit == 1 && log.contains("permission denied") && !log.contains("closed"), "{log}");
}
