//! `integration/proxmox/smbios-creds`: what the hookscript does in each phase, with a stand-in for `systemd-creds`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::host::delivered;
use testkit::{code, run, stderr, stdout};

/// Stand-in for systemd-creds: decrypts a file only if its first line has the given name.
const SYSTEMD_CREDS: &str = r#"#!/bin/sh
[ "$1 $3" = 'decrypt --' ] && [ "$(head -n 1 "$4")" = "$2" ] || { echo 'Failed to decrypt' >&2; exit 1; }
tail -n +2 "$4" >"$5"
"#;

/// A node of a cluster: the hookscript's absolute paths are changed to paths in a directory in memory.
struct Node(tempfile::TempDir);

impl Node {
    /// Makes a node with the virtual machine 100, whose `args` are `arguments`.
    fn new(arguments: &str) -> Self {
        let node = Self(tempfile::tempdir_in("/dev/shm").unwrap());
        for folder in ["etc/smbios-creds/vms/100", "etc/pve/qemu-server", "run", "bin"] {
            fs::create_dir_all(node.path(folder)).unwrap();
        }
        let program = |name: &str, text: &str| {
            fs::write(node.path(name), text).unwrap();
            fs::set_permissions(node.path(name), PermissionsExt::from_mode(0o755)).unwrap();
        };
        program("bin/systemd-creds", SYSTEMD_CREDS);
        symlink(env!("CARGO_BIN_EXE_smbios-creds-host"), node.path("bin/smbios-creds-host")).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/proxmox/smbios-creds");
        let text = ["/etc/smbios-creds", "/run/smbios-creds", "/etc/pve"].into_iter().fold(
            fs::read_to_string(source).unwrap(),
            |text, path| {
                assert!(text.contains(path), "{path}");
                text.replace(path, node.path(path.trim_start_matches('/')).to_str().unwrap())
            },
        );
        program("bin/hookscript", &text);
        let below = format!("file={}/", node.path("run").display());
        let config = format!(
            "args: {}\nboot: order=scsi0\n\n[before]\nargs: {}\n",
            arguments.replace("file=/run/", &below),
            named(9).replace("file=/run/", &below)
        );
        fs::write(node.path("etc/pve/qemu-server/100.conf"), config).unwrap();
        node
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn slots(&self) -> PathBuf {
        self.path("run/smbios-creds/vms/100")
    }

    /// Adds a credential that is encrypted under its own name.
    fn credential(self, name: &str, value: &str) -> Self {
        self.file(name, &format!("--name={name}\n{value}"))
    }

    fn file(self, name: &str, content: &str) -> Self {
        fs::write(self.path("etc/smbios-creds/vms/100").join(name), content).unwrap();
        self
    }

    fn call(&self, phase: &str) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        run(Command::new(self.path("bin/hookscript")).args(["100", phase]).env("PATH", path))
    }

    /// Calls the hookscript in the phase `pre-start`. Asserts that it fails with this message and leaves no files.
    fn refuses(&self, words: &str) {
        let output = self.call("pre-start");
        assert_eq!((code(&output), stdout(&output)), (1, String::new()), "{words}");
        assert!(stderr(&output).contains(words), "{words}: {}", stderr(&output));
        assert!(!stderr(&output).contains("hunter"), "{}", stderr(&output));
        assert_eq!(names(&self.path("run/smbios-creds/vms")), Vec::<String>::new(), "{words}");
    }
}

fn named(files: usize) -> String {
    let file = |number| format!("-smbios file=/run/smbios-creds/vms/100/{number}");
    (0..files).map(file).collect::<Vec<_>>().join(" ")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn hookscript_writes_structures_for_a_start_and_removes_them() {
    let node = Node::new(&format!("-device x {} -cpu y", named(4)));
    let node = node.credential("db", "hunter2").credential("tls key", &"hunter3".repeat(600));
    for round in 0..2 {
        let output = node.call("pre-start");
        assert_eq!((code(&output), stdout(&output)), (0, String::new()), "{}", stderr(&output));
        assert_eq!(names(&node.path("run/smbios-creds/vms")), ["100"], "no plain value is left");
        assert_eq!(names(&node.slots()), ["0", "1", "2", "3"]);
        let folder = fs::metadata(node.slots()).unwrap();
        assert_eq!(folder.mode() & 0o7777, 0o700);
        let structures: Vec<Vec<u8>> =
            (0..4).map(|number| fs::read(node.slots().join(number.to_string())).unwrap()).collect();
        let delivery = delivered(&structures);
        assert!(delivery.passed() && delivery.proof.is_proven());
        let large = "hunter3".repeat(600);
        assert_eq!(testkit::intact(&delivery), [("db", &b"hunter2"[..]), ("tls key", large.as_bytes())]);
        for phase in ["pre-stop", if round == 0 { "post-start" } else { "post-stop" }] {
            assert!(node.slots().exists(), "{phase}");
            let output = node.call(phase);
            assert_eq!((code(&output), output.stdout.len(), output.stderr.len()), (0, 0, 0), "{phase}");
        }
        assert_eq!(names(&node.path("run/smbios-creds/vms")), Vec::<String>::new());
    }
    // The hookscript succeeds if it is called again after the end, or in a phase that it does not know.
    for phase in ["post-stop", "post-start", "later"] {
        assert_eq!(code(&node.call(phase)), 0);
    }
}

#[test]
fn hookscript_fails_the_start_without_every_credential() {
    let node = || Node::new(&named(2));
    node().refuses("VM 100 has no credentials: ");
    node().credential("empty", "").credential("db", "hunter2").refuses("credential empty: ");
    node().file("db", "--name=other\nhunter2").refuses("credential db of VM 100 cannot be decrypted: ");
    node().file("db", "").refuses("credential db of VM 100 cannot be decrypted: ");
    node()
        .credential("large", &"hunter3".repeat(3000))
        .credential("more", &"hunter4".repeat(500))
        .refuses("the OEM strings need 3 structures, but only 2 are available; nothing is written");
    let missing = node();
    fs::remove_dir(missing.path("etc/smbios-creds/vms/100")).unwrap();
    missing.refuses("VM 100 has no credentials: ");
    let linked = node().credential("db", "hunter2");
    symlink("missing", linked.path("etc/smbios-creds/vms/100/link")).unwrap();
    linked.refuses("is not a file");
}

#[test]
fn hookscript_fails_the_start_if_no_file_is_named() {
    for arguments in
        ["", "-smbios type=11,value=x", "-smbios file=/run/smbios-creds/vms/1000/0", "-smbios file=/x/0"]
    {
        let node = Node::new(arguments).credential("db", "hunter2");
        node.refuses("the args of VM 100 name no file: add '-smbios file=");
    }
    let node = Node::new(&named(1)).credential("db", "hunter2");
    fs::remove_file(node.path("etc/pve/qemu-server/100.conf")).unwrap();
    node.refuses("cannot read ");
    let output = run(Command::new(node.path("bin/hookscript")).args(["../x", "pre-start"]));
    assert_eq!((code(&output), stderr(&output).contains("VMID PHASE")), (1, true));
}

#[test]
fn hookscript_leaves_no_old_structures_after_a_failed_start() {
    let node = Node::new(&named(2)).credential("db", "hunter2");
    assert_eq!(code(&node.call("pre-start")), 0);
    assert_eq!(names(&node.slots()), ["0", "1"]);
    // Plain values that a start left because the hookscript was killed.
    fs::create_dir(node.path("run/smbios-creds/vms/plain-100")).unwrap();
    fs::write(node.path("run/smbios-creds/vms/plain-100/db"), "hunter2").unwrap();
    node.file("db", "damaged").refuses("credential db of VM 100 cannot be decrypted: ");
}

#[test]
fn hookscript_writes_to_no_disk() {
    let node = Node::new(&named(1)).credential("db", "hunter2");
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::remove_dir(node.path("run")).unwrap();
    symlink(disk.path(), node.path("run")).unwrap();
    node.refuses("is not in memory only: mount a tmpfs at /run");
}
