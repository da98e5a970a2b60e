//! `pack`, minisign, and `run --set`: what is signed is what is sent.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use smbios_creds::trust::signature::TrustedKey;
use testkit::host::QEMU_WORD;
use testkit::host::{directory, host, host_with, shell_with};
use testkit::{code, run, stderr, stdout};

const CANARY: &str = "CanaryCanary";

/// A directory in memory with a packed set and the key that signs it, and the directory of the set's credentials.
struct Packed {
    place: tempfile::TempDir,
    credentials: tempfile::TempDir,
}

impl Packed {
    fn new(options: &[&str]) -> Self {
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let credentials = directory(&[("db", CANARY.as_bytes()), ("tls", &[0, 10, 255])]);
        let packed = Self { place, credentials };
        let output = packed.pack("set", options);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        packed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn pack(&self, name: &str, options: &[&str]) -> Output {
        let output = self.text(name);
        let arguments = [&["pack", "--all", "--output", &output], options].concat();
        run(&mut host_with(self.credentials.path(), &arguments))
    }

    /// Makes a key of this name without a password, if there is none, and signs the set's manifest with the key.
    fn sign(&self, key: &str) {
        self.sign_to(key, &self.text("set.manifest.minisig"));
    }

    fn sign_to(&self, key: &str, signature: &str) {
        let (public, secret) = (self.text(&format!("{key}.pub")), self.text(&format!("{key}.key")));
        if !Path::new(&secret).exists() {
            minisign(&["-G", "-W", "-p", &public, "-s", &secret]);
        }
        minisign(&["-S", "-s", &secret, "-x", signature, "-m", &self.text("set.manifest")]);
    }

    /// Runs `plan` for QEMU with the set.
    fn plan(&self, options: &[&str], arguments: &[&str]) -> Output {
        let set = self.text("set");
        let plan = ["plan", "--json", "--hypervisor=qemu", "--set", &set];
        run(&mut host(&[&plan, options, &["--", "/bin/true"], arguments].concat()))
    }

    fn emitted(&self, options: &[&str]) -> Output {
        let set = self.text("set");
        run(&mut host(&[&["emit", "--format=strings", "--set", &set], options].concat()))
    }
}

fn minisign(arguments: &[&str]) {
    let output = Command::new("minisign").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Asserts that a command has refused something, and returns its output.
fn refused(output: &Output) -> String {
    assert_eq!(code(output), 3, "{}{}", stdout(output), stderr(output));
    format!("{}{}", stdout(output), stderr(output))
}

#[test]
fn packed_set_is_sent_with_the_bytes_that_minisign_signed() {
    let packed = Packed::new(&["--audience", "web01", "db01", "--serial=7", "--not-after=2090-01-01"]);
    for file in ["set", "set.manifest"] {
        assert_eq!(mode(&packed.path(file)), 0o600, "{file}");
    }
    let manifest = fs::read(packed.path("set.manifest")).unwrap();
    assert!(!testkit::holds(&manifest, CANARY.as_bytes()));
    packed.sign("owner");
    let sent = packed.emitted(&["--trust", &packed.text("owner.pub")]);
    assert_eq!(code(&sent), 0, "{}", stderr(&sent));
    let strings: Vec<&[u8]> =
        sent.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(strings.len(), 4);
    assert_eq!(strings[2], manifest, "the manifest is sent as it was signed");
    // minisign accepts the manifest and the signature that are sent.
    let signature = strings[3].strip_prefix(b"io.smbios-creds.signature:").unwrap();
    fs::write(packed.path("sent"), strings[2]).unwrap();
    fs::write(packed.path("sent.minisig"), &*smbios_creds::format::base64::decode(signature).unwrap())
        .unwrap();
    minisign(&["-V", "-p", &packed.text("owner.pub"), "-m", &packed.text("sent")]);
    // The emitted strings are again a packed set, which contains its signature.
    fs::write(packed.path("again"), &sent.stdout).unwrap();
    let (again, key) = (packed.text("again"), packed.text("owner.pub"));
    let repeated = run(&mut host(&["emit", "--format=strings", "--set", &again, "--trust", &key]));
    assert_eq!(repeated.stdout, sent.stdout);
}

/// Only systemd can open a ciphertext. Without systemd, the machine could use only a part of the signed set, so the
/// agent places nothing.
#[test]
fn signed_set_with_a_ciphertext_is_whole_or_nothing_without_systemd() {
    let packed = Packed::new(&[]);
    fs::remove_file(packed.path("set")).unwrap();
    fs::remove_file(packed.path("set.manifest")).unwrap();
    fs::write(packed.credentials.path().join("sealed"), testkit::sealed("tpm2-254")).unwrap();
    let output = packed.pack("set", &["--encrypted", "sealed"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    packed.sign("owner");
    let sent = packed.emitted(&[]).stdout;
    let strings: Vec<&[u8]> = sent.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let from = testkit::recording(&testkit::table(&strings));
    let key = fs::read_to_string(packed.path("owner.pub")).unwrap().lines().last().unwrap().to_owned();
    let import = |systemd: bool, options: &[&str]| {
        let root = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::create_dir_all(root.path().join(if systemd { "run/systemd/system" } else { "run" })).unwrap();
        let mut agent = testkit::agent(&["import", "--into=credstore", "--root"]);
        let output = run(agent.arg(root.path()).arg("--from").arg(from.path()).args(options));
        let is_there = |name: &str| root.path().join("run").join(name).exists();
        (output, is_there("credstore/db"), is_there("credstore.encrypted/sealed"))
    };
    let (output, plain, encrypted) = import(false, &["--trust", &key]);
    assert_eq!((code(&output), plain, encrypted), (3, false, false), "{}", stderr(&output));
    assert!(stderr(&output).contains("this machine cannot use a part of it"), "{}", stderr(&output));
    // If no signature is required, the agent places every credential that the machine can use.
    let (output, plain, encrypted) = import(false, &[]);
    assert_eq!((code(&output), plain, encrypted), (3, true, false), "{}", stderr(&output));
    let (output, plain, encrypted) = import(true, &["--trust", &key]);
    assert_eq!((code(&output), plain, encrypted), (0, true, true), "{}", stderr(&output));
}

/// Runs the agent's `check` on the strings that were emitted.
fn checked(strings: &[u8], options: &[&str]) -> Output {
    let strings: Vec<&[u8]> = strings.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let from = testkit::recording(&testkit::table(&strings));
    let from = from.path().to_str().unwrap();
    run(&mut testkit::agent(&[&["check", "--from", from], options].concat()))
}

#[test]
fn set_that_was_packed_and_signed_is_proven_in_the_guest() {
    let packed = Packed::new(&["--audience", "web01", "--serial=7", "--not-after=+1d"]);
    let unsigned = packed.emitted(&[]).stdout;
    packed.sign("owner");
    packed.sign_to("other", &packed.text("of-other"));
    let signed = packed.emitted(&[]).stdout;
    let (owner, other) = (packed.text("owner.pub"), packed.text("other.pub"));
    let key = |path: &str| fs::read_to_string(path).unwrap().lines().last().unwrap().to_owned();
    let (owner, other) = (key(&owner), key(&other));
    let check =
        |strings: &[u8], options: &[&str]| code(&checked(strings, &[&["--trust", &owner], options].concat()));
    assert_eq!(check(&signed, &["--audience", "web01"]), 0);
    assert_eq!(check(&signed, &["--audience", "web01", "--min-serial=7", "--manifest=signed"]), 0);
    // The set has the signatures of two keys, as while its owner changes keys.
    let both = packed
        .emitted(&["--signature", &packed.text("set.manifest.minisig"), &packed.text("of-other")])
        .stdout;
    assert_eq!(check(&both, &["--audience", "web01"]), 0);
    assert_eq!(code(&checked(&both, &["--trust", &other, "--audience", "web01"])), 0);
    for (strings, options, what) in [
        (&unsigned, ["--audience", "web01"], "without a signature"),
        (&signed, ["--audience", "web02"], "for another machine"),
        (&signed, ["--min-serial", "8"], "of a lower number"),
    ] {
        assert_eq!(check(strings, &options), 3, "{what}");
    }
    assert_eq!(code(&checked(&signed, &["--trust", &other, "--audience", "web01"])), 3, "by another key");
    // Without a trusted key, the guest treats a signed set like any other set.
    for strings in [&unsigned, &signed] {
        assert_eq!(code(&checked(strings, &["--manifest=require"])), 0);
    }
}

#[test]
fn ciphertext_that_was_changed_after_signing_is_refused_in_the_guest() {
    let (sealed, other) = (testkit::sealed("tpm2-254"), testkit::sealed("host"));
    let credentials = directory(&[("db", CANARY.as_bytes()), ("tls", &sealed)]);
    let packed = Packed { place: tempfile::tempdir_in("/dev/shm").unwrap(), credentials };
    let output = packed.pack("set", &["--encrypted", "tls"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    packed.sign("owner");
    let signed = stdout(&packed.emitted(&[]));
    let line = signed.lines().find(|line| line.starts_with("io.smbios-creds.encrypted:tls=")).unwrap();
    let key = fs::read_to_string(packed.path("owner.pub")).unwrap().lines().last().unwrap().to_owned();
    let check = |strings: &str| checked(strings.as_bytes(), &["--trust", &key, "--manifest=signed"]);
    assert_eq!(code(&check(&signed)), 0, "{}", stdout(&check(&signed)));
    let other = format!("io.smbios-creds.encrypted:tls={}", String::from_utf8(other).unwrap().trim());
    let flipped = line.replacen(&line[200..201], if &line[200..201] == "A" { "B" } else { "A" }, 1);
    assert_ne!(flipped, line);
    for (changed, what) in [
        (signed.replace(line, &flipped), "one character"),
        (signed.replace(line, &other), "another ciphertext"),
        (signed.replace(&format!("{line}\n"), ""), "none"),
        (format!("{}\n{signed}", other.replace(":tls=", ":more=")), "one more"),
        (signed.replace(line, &line.replace(":tls=", ":lts=")), "another name"),
    ] {
        let refused = check(&changed);
        assert_eq!(code(&refused), 3, "{what}: {}", stdout(&refused));
    }
}

#[test]
fn audience_serial_and_end_are_in_the_manifest() {
    let packed =
        Packed::new(&["--audience", "web01", "db01", "--serial=7", "--not-after=2030-01-01T00:00:00Z"]);
    let manifest = fs::read(packed.path("set.manifest")).unwrap();
    let text = manifest.strip_prefix(b"io.smbios-creds.manifest:").unwrap();
    let manifest = smbios_creds::Manifest::decode(text).unwrap();
    let terms = manifest.terms();
    assert_eq!(terms.audience, ["web01", "db01"]);
    assert_eq!((terms.serial, terms.not_after), (Some(7), Some(1_893_456_000)));
}

#[test]
fn values_never_go_to_a_disk_unless_forced() {
    let packed = Packed::new(&[]);
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = disk.path().join("set");
    let path = path.to_str().unwrap();
    let options = |force: &'static [&'static str]| {
        let arguments = [&["pack", "--all", "--output", path], force].concat();
        run(&mut host_with(packed.credentials.path(), &arguments))
    };
    let message = refused(&options(&[]));
    assert!(message.contains("would be on a disk") && message.contains("--force"), "{message}");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0, "nothing is left");
    let output = options(&["--force"]);
    assert_eq!(code(&output), 0);
    assert!(stderr(&output).contains("is on a disk"));
}

#[test]
fn pack_overwrites_nothing_and_leaves_no_half() {
    let packed = Packed::new(&[]);
    let before = fs::read(packed.path("set")).unwrap();
    assert_eq!(code(&packed.pack("set", &[])), 1);
    assert_eq!(fs::read(packed.path("set")).unwrap(), before);
    // The manifest's file is already there, and the set's file is not.
    fs::write(packed.path("other.manifest"), "kept").unwrap();
    assert_eq!(code(&packed.pack("other", &[])), 1);
    assert!(!packed.path("other").exists(), "a set without its manifest is left");
    assert_eq!(fs::read(packed.path("other.manifest")).unwrap(), b"kept");
    // An old signature would be taken for a signature of the new set.
    fs::write(packed.path("third.manifest.minisig"), "").unwrap();
    assert!(
        refused(&packed.pack("third", &[]))
            .contains("a signature of another set; nothing is written\nsmbios-creds-host: help: remove it\n")
    );
    assert!(!packed.path("third").exists() && !packed.path("third.manifest").exists());
}

#[test]
fn terms_that_no_guest_would_take_are_refused() {
    let packed = Packed::new(&[]);
    for (options, expected) in [
        (&["--audience", ""][..], 2),
        (&["--audience", "web\n01"], 2),
        (&["--audience", "@machine-id"], 2),
        (&["--not-after", "2020-01-01"], 2),
        (&["--not-after", "tomorrow"], 2),
        (&["--serial", "-1"], 2),
        (&["--serial", "x"], 2),
        (&["--expect", "missing"], 3),
    ] {
        let output = packed.pack("other", options);
        assert_eq!(code(&output), expected, "{options:?}: {}", stderr(&output));
        assert!(!packed.path("other").exists() && !packed.path("other.manifest").exists(), "{options:?}");
    }
}

#[test]
fn signature_of_another_set_starts_nothing() {
    let packed = Packed::new(&["--serial=7"]);
    packed.sign("owner");
    let key = packed.text("owner.pub");
    let planned = packed.plan(&["--trust", &key], &[]);
    assert_eq!(code(&planned), 0);
    let id = TrustedKey::read(&fs::read(&key).unwrap()).unwrap().id().to_string();
    let set = packed.text("set");
    let people = run(&mut host(&["plan", "--set", &set, "--hypervisor=qemu", "--", "/bin/true"]));
    assert!(stdout(&people).contains(&format!("signed by key {id}\nserial    7\n")), "{}", stdout(&people));
    assert!(stdout(&planned).contains(r#""signatures": ["#) && stdout(&planned).contains(&id));
    // The same credentials, packed again, have another salt, so the old signature does not fit the new manifest.
    fs::remove_file(packed.path("set")).unwrap();
    fs::rename(packed.path("set.manifest"), packed.path("old.manifest")).unwrap();
    fs::rename(packed.path("set.manifest.minisig"), packed.path("old.manifest.minisig")).unwrap();
    assert_eq!(code(&packed.pack("set", &["--serial=8"])), 0);
    fs::rename(packed.path("old.manifest.minisig"), packed.path("set.manifest.minisig")).unwrap();
    let message = refused(&packed.plan(&["--trust", &key], &[]));
    assert!(message.contains("is not of this set's manifest"), "{message}");
    // Without the key, `plan` refuses the set because the file that was signed is not the set's manifest.
    fs::rename(packed.path("old.manifest"), packed.path("set.manifest")).unwrap();
    let message = refused(&packed.plan(&[], &[]));
    assert!(message.contains("is not the manifest of the set"), "{message}");
}

#[test]
fn unsigned_set_and_unknown_key_start_nothing_with_trust() {
    let packed = Packed::new(&[]);
    assert_eq!(code(&packed.plan(&[], &[])), 0, "a set may go without a signature");
    let elsewhere = packed.text("signature");
    packed.sign_to("owner", &elsewhere);
    packed.sign_to("other", &packed.text("of-other"));
    let (owner, other) = (packed.text("owner.pub"), packed.text("of-other"));
    let message = refused(&packed.plan(&["--trust", &owner], &[]));
    assert!(message.contains("it is not signed, but --trust requires a signature"), "{message}");
    let message = refused(&packed.plan(&["--trust", &owner, "--signature", &other], &[]));
    assert!(message.contains("which --trust does not name"), "{message}");
    assert_eq!(code(&packed.plan(&["--trust", &owner, "--signature", &other, &elsewhere], &[])), 0);
    // `--trust` takes the line of a key as well as the key's file.
    let text = fs::read_to_string(packed.path("owner.pub")).unwrap();
    let line = text.lines().last().unwrap();
    assert_eq!(code(&packed.plan(&["--trust", line, "--signature", &elsewhere], &[])), 0);
    // The message does not repeat a secret key that is given instead of a public key.
    let secret = fs::read_to_string(packed.path("owner.key")).unwrap();
    for given in [&packed.text("owner.key"), secret.lines().last().unwrap()] {
        let message = refused(&packed.plan(&["--trust", given, "--signature", &elsewhere], &[]));
        assert!(message.contains("SECRET") && !message.contains(secret.lines().last().unwrap()), "{message}");
    }
}

#[test]
fn damaged_signature_file_is_refused_and_never_left_out() {
    let packed = Packed::new(&[]);
    for text in ["", "untrusted comment: x\n", "RWQ\nx\ny\nz\n"] {
        fs::write(packed.path("set.manifest.minisig"), text).unwrap();
        let message = refused(&packed.plan(&[], &[]));
        assert!(
            message.contains("set.manifest.minisig") && message.contains("not a minisign signature"),
            "{message}"
        );
    }
    fs::remove_file(packed.path("set.manifest.minisig")).unwrap();
    fs::create_dir(packed.path("set.manifest.minisig")).unwrap();
    refused(&packed.plan(&[], &[]));
    fs::remove_dir(packed.path("set.manifest.minisig")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", packed.path("set.manifest.minisig")).unwrap();
    refused(&packed.plan(&[], &[]));
}

#[test]
fn credential_beside_a_set_starts_nothing() {
    let packed = Packed::new(&[]);
    let smbios = "type=11,value=io.systemd.credential:evil=1";
    let message = refused(&packed.plan(&[], &["-smbios", smbios]));
    assert!(message.contains("credential evil: it is given in addition to the set"), "{message}");
    let item = "name=opt/io.systemd.credentials/evil,string=1";
    let message = refused(&packed.plan(&[], &["-fw_cfg", item]));
    assert!(message.contains("credential evil: it is given in addition to the set"), "{message}");
    assert_eq!(code(&packed.plan(&[], &["-smbios", "type=11,value=vendor"])), 0);
}

#[test]
fn expected_name_that_a_set_lacks_starts_nothing() {
    let packed = Packed::new(&[]);
    assert_eq!(code(&packed.plan(&["--expect", "db", "tls"], &[])), 0);
    assert!(refused(&packed.plan(&["--expect", "db", "x"], &[])).contains("credential x: it is expected"));
}

#[test]
fn set_goes_with_no_option_that_selects_credentials() {
    let packed = Packed::new(&[]);
    for options in
        [&["--all"][..], &["--credential", "db"], &["--credentials", "/"], &["--allow-empty", "db"]]
    {
        assert_eq!(code(&packed.plan(options, &[])), 2, "{options:?}");
    }
    let set = packed.text("set");
    for options in [&["--signature", &set][..], &["--trust", &set]] {
        let plan = [&["plan", "--hypervisor=qemu", "--all"], options, &["--", "/bin/true"]].concat();
        assert_eq!(code(&run(&mut host_with(packed.credentials.path(), &plan))), 2, "{options:?}");
    }
}

#[test]
fn run_gives_cloud_hypervisor_the_set_in_an_argument_that_nobody_sees() {
    let packed = Packed::new(&[]);
    packed.sign("owner");
    let (_directory, shell) = shell_with("oem_strings");
    let (set, key) = (packed.text("set"), packed.text("owner.pub"));
    let script = r#"tr '\0' '\n' </proc/$$/cmdline; env; echo "GOT $4""#;
    let run_set =
        ["run", "--set", &set, "--trust", &key, "--hypervisor=cloud-hypervisor", "--log-level=trace"];
    let program = ["--", shell.to_str().unwrap(), "-c", script, "x", "--kernel", "k"];
    let output = run(&mut host(&[&run_set[..], &program].concat()));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    let (seen, got) = text.rsplit_once("GOT ").unwrap();
    for needle in testkit::needles(CANARY.as_bytes()) {
        assert!(!testkit::holds(seen.as_bytes(), &needle) && !testkit::holds(&output.stderr, &needle));
    }
    assert!(seen.contains("4-OEM-strings-that-only-the-hypervisor-sees"), "{seen}");
    assert!(got.contains(&fs::read_to_string(packed.path("set.manifest")).unwrap()));
    assert!(got.contains(",io.smbios-creds.signature:"));
}

/// A change that damages the file of a set.
type Damage = fn(&mut Vec<u8>);

#[test]
fn damaged_set_is_refused_without_a_value_in_any_message() {
    let packed = Packed::new(&[]);
    let intact = fs::read(packed.path("set")).unwrap();
    let damages: [Damage; 5] = [
        |set| set.truncate(set.len() / 3),
        |set| set.insert(0, b' '),
        |set| set[40] ^= 1,
        |set| set.extend(b"io.systemd.credential.binary:CanaryCanary\n"),
        |set| set.retain(|&byte| byte != b'='),
    ];
    for (case, damage) in damages.iter().enumerate() {
        let mut set = intact.clone();
        damage(&mut set);
        fs::write(packed.path("set"), set).unwrap();
        for output in [packed.plan(&["--log-level=trace"], &[]), packed.emitted(&["--log-level=trace"])] {
            let message = refused(&output);
            for needle in testkit::needles(CANARY.as_bytes()) {
                assert!(!testkit::holds(message.as_bytes(), &needle), "damage {case}: {message}");
            }
        }
    }
}

#[test]
fn run_starts_qemu_with_the_set_and_shows_no_value() {
    let packed = Packed::new(&[]);
    packed.sign("owner");
    let (_directory, shell) = shell_with(QEMU_WORD);
    let set = packed.text("set");
    // The stand-in for QEMU prints its arguments, its environment and the files that it is given.
    let script = r#"tr '\0' '\n' </proc/$$/cmdline; env; echo FILES; for a; do case $a in file=*) cat "${a#file=}";; esac; done"#;
    let output = run(&mut host(&[
        "run",
        "--hypervisor=qemu",
        "--set",
        &set,
        "--log-level=trace",
        "--",
        shell.to_str().unwrap(),
        "-c",
        script,
        "sh",
    ]));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let at = output.stdout.windows(6).position(|window| window == b"FILES\n").unwrap();
    let (seen, files) = output.stdout.split_at(at);
    for needle in testkit::needles(CANARY.as_bytes()) {
        assert!(!testkit::holds(seen, &needle) && !testkit::holds(&output.stderr, &needle));
    }
    let manifest = fs::read(packed.path("set.manifest")).unwrap();
    assert!(testkit::holds(files, &manifest), "the manifest arrives as it was signed");
    assert!(testkit::holds(files, b"io.smbios-creds.signature:"));
}
