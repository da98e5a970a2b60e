//! A host with libvirt for one test: real daemons in namespaces of their own, where they disturb no other libvirt.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use testkit::machine::{Machine, Results, results_of};
use testkit::{code, deadline, holds, program, run, stderr, stdout};

/// Path of `smbios-creds-host` on the host, with a name by which the program acts as the emulator of a domain.
pub(super) const EMULATOR: &str = "/usr/local/bin/qemu-with-credentials";

/// The guest's script. It sends the result `boot` when the guest starts, and then repeatedly the results of a check,
/// an import and digests.
const GUEST: &str = "result boot true
    while :; do
        result check smbios-creds check --manifest=require
        result import smbios-creds import --manifest=require
        result sums sh -c 'sha256sum /run/credentials/@system/*'
        sleep 1
    done";

/// The user who calls libvirt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum User {
    /// Root asks the machine's libvirtd, which runs QEMU as `libvirt-qemu`.
    System,
    /// An ordinary user asks a libvirtd of their own.
    Session,
}

impl User {
    /// Returns the directory in which domains write what their guests send.
    fn directory(self) -> &'static str {
        match self {
            Self::System => "/var/lib/libvirt/qemu",
            Self::Session => "/run/user/4711",
        }
    }
}

/// The daemons and everything that they start. All of these processes end when this value is dropped.
pub(super) struct Host {
    unshare: Child,
    /// PID of the host's PID 1, in the test's own PID namespace.
    init: i32,
}

/// Returns why the tests of libvirt cannot run here, if they cannot.
fn obstacle() -> Option<String> {
    if !testkit::is_root() {
        return Some("they need root".to_owned());
    }
    let needed = ["/usr/sbin/libvirtd", "/usr/sbin/virtlogd", "/usr/bin/virsh", "/usr/sbin/apparmor_parser"];
    let missing = needed.into_iter().find(|program| !Path::new(program).exists())?;
    Some(format!("{missing} is missing, ./tests/prepare installs it"))
}

impl Host {
    /// Starts the daemons. Returns `None` if they cannot run here, and prints why.
    pub(super) fn start() -> Option<Self> {
        if let Some(obstacle) = obstacle() {
            // This writes directly to standard error, since libtest hides captured output of tests that pass.
            _ = writeln!(std::io::stderr(), "SKIPPED: tests of libvirt: {obstacle}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (kernel, initrd) = Machine::new("libvirt").kernel_and_initrd(folder.path(), GUEST);
        let mut unshare = Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-euc", include_str!("host.sh"), "host", env!("CARGO_MANIFEST_DIR")])
            .arg(program("smbios-creds-host"))
            .args([kernel, initrd])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(unshare.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", unshare.id())).unwrap();
        assert_eq!(ready, "ready\n", "libvirtd does not start: {:?}", unshare.wait());
        Some(Self { unshare, init: children.trim().parse().unwrap() })
    }

    /// Returns the path by which the test reaches a path of the host.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.init.to_string()).join("root").join(path.trim_start_matches('/'))
    }

    /// Starts libvirtd again.
    pub(super) fn restart_libvirtd(&self) {
        let script = "kill $(cat /run/libvirtd.pid); while [ -e /run/libvirtd.pid ]; do sleep 0.1; done; \
                      libvirtd --daemon; until virsh -c qemu:///system list; do sleep 0.1; done";
        let output = run(&mut self.command(User::System, &["sh", "-c", script]));
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }

    /// Returns a command that runs a program on the host as this user.
    pub(super) fn command(&self, user: User, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--pid", "--net", "--ipc", "--target", &self.init.to_string(), "--"]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        if user == User::Session {
            command.args(["setpriv", "--reuid=4711", "--regid=4711", "--clear-groups"]);
            command.env("HOME", "/run/user/4711/home").env("XDG_RUNTIME_DIR", "/run/user/4711");
        }
        command.args(words);
        command
    }

    pub(super) fn virsh(&self, user: User, words: &[&str]) -> Output {
        let uri = if user == User::System { "qemu:///system" } else { "qemu:///session" };
        run(&mut self.command(user, &[&["virsh", "-q", "-c", uri], words].concat()))
    }

    /// Runs virsh, which must succeed, and returns what it prints.
    pub(super) fn asked(&self, user: User, words: &[&str]) -> String {
        let output = self.virsh(user, words);
        assert_eq!(code(&output), 0, "{words:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// Encrypts a credential for a domain.
    pub(super) fn encrypt(&self, domain: &str, name: &str, value: &[u8]) {
        let directory = format!("/etc/smbios-creds/domains/{domain}");
        fs::create_dir_all(self.path(&directory)).unwrap();
        let file = format!("{directory}/{name}");
        let name = format!("--name={name}");
        let words = ["systemd-creds", "encrypt", "--with-key=host", &name, "-", &file];
        let mut command = self.command(User::System, &words);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(value).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "systemd-creds is needed: {}", stderr(&output));
    }

    /// Defines a domain. `label` names the files to which the domain's guest writes.
    pub(super) fn define(&self, user: User, name: &str, label: &str, emulator: &str) {
        let folder = user.directory();
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>256</memory>
             <os><type arch='x86_64' machine='q35'>hvm</type><kernel>/mnt/kernel</kernel><initrd>/mnt/initrd</initrd>
             <cmdline>console=ttyS0 quiet panic=-1 no_timer_check</cmdline></os><features><acpi/></features>
             <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>Nehalem</model></cpu>
             <devices><emulator>{emulator}</emulator>
             <serial type='file'><source path='{folder}/{label}.console'/><target port='0'/></serial>
             <serial type='file'><source path='{folder}/{label}.results'/><target port='1'/></serial>
             <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"
        );
        fs::write(self.path(folder).join("definition"), xml).unwrap();
        self.asked(user, &["define", &format!("{folder}/definition")]);
    }

    fn sent(&self, user: User, label: &str) -> String {
        let bytes = fs::read(self.path(user.directory()).join(format!("{label}.results")));
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// Returns how often a guest has started since its file of results began, and how many rounds of checks it has
    /// made since its last start.
    pub(super) fn progress(&self, user: User, label: &str) -> (usize, usize) {
        let sent = self.sent(user, label);
        let boots = sent.matches("@result boot ").count();
        let last = sent.rsplit("@result boot ").next().unwrap_or_default();
        let whole = |line: &str| line.starts_with("@result sums ") && line.ends_with('\n');
        (boots, last.split_inclusive('\n').filter(|line| whole(line)).count())
    }

    /// Waits until a guest's progress is beyond `before`, and returns the last results.
    pub(super) fn results_after(&self, user: User, label: &str, before: (usize, usize)) -> Results {
        let start = Instant::now();
        while self.progress(user, label) <= before {
            assert!(
                start.elapsed() < deadline::ANSWER,
                "{label} sends nothing: {}",
                self.console(user, label)
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        results_of(&self.sent(user, label))
    }

    fn console(&self, user: User, label: &str) -> String {
        let console = fs::read(self.path(user.directory()).join(format!("{label}.console")));
        String::from_utf8_lossy(&console.unwrap_or_default()).into_owned()
    }

    /// Returns the directories that domains have for their credentials in memory (below `/run`) now.
    pub(super) fn in_memory(&self, user: User) -> Vec<PathBuf> {
        let directory = match user {
            User::System => "/run/smbios-creds/domains".to_owned(),
            User::Session => format!("{}/smbios-creds/domains", user.directory()),
        };
        fs::read_dir(self.path(&directory)).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits until [`Self::in_memory`] is empty. A libvirtd that has been restarted answers while its hook still runs
    /// for the domains that it found.
    pub(super) fn wait_for_nothing_in_memory(&self, user: User) {
        let start = Instant::now();
        while !self.in_memory(user).is_empty() {
            assert!(start.elapsed() < deadline::ANSWER, "{:?}", self.in_memory(user));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns the files of the host, and the arguments and environments of processes, that contain the canary.
    pub(super) fn search(&self, canary: &[u8]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let files = ["cmdline", "environ"].map(|file| process.path().join(file));
            found.extend(files.into_iter().filter(|file| file_holds(file, canary)));
        }
        for folder in ["/etc", "/run", "/var/log", "/var/lib/libvirt", "/var/cache/libvirt", "/dev/shm"] {
            search_files(&self.path(folder), canary, &mut found);
        }
        found
    }
}

fn file_holds(path: &Path, canary: &[u8]) -> bool {
    fs::read(path).is_ok_and(|bytes| holds(&bytes, canary))
}

fn search_files(folder: &Path, canary: &[u8], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            search_files(&entry.path(), canary, found);
        } else if kind.is_file() && file_holds(&entry.path(), canary) {
            found.push(entry.path());
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        _ = self.unshare.kill();
        _ = self.unshare.wait();
    }
}
