//! A virtual machine for one test, under QEMU without KVM. The machine has a Debian kernel, busybox and the static
//! agent, and systemd or another init if the test asks for one.
//!
//! A script in the guest calls `result NAME COMMAND…`, which sends the command's exit code, and its stdout and stderr
//! as base64, over the second serial line. [`Machine::boot`] returns the results by name. The first serial line is
//! the console.

mod firmware;
mod hardware;
mod nested;
mod systemd;
mod tpm;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::deadline::Deadline;
pub use firmware::table_of;
use hardware::Hardware;
pub use nested::Guest;
pub use systemd::unit_on_page;
pub use tpm::Tpm;

/// Script `/init` of the guest. It runs `/scripts/$SCRIPT`, or, if `$SCRIPT` is empty, it runs `/scripts/last` and
/// then powers the machine off.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ -d /proc/self ] || mount -t proc proc /proc
[ -d /sys/kernel ] || mount -t sysfs sysfs /sys
[ -c /dev/ttyS1 ] || mount -t devtmpfs devtmpfs /dev
argument=$1
exec </dev/null >/dev/ttyS0 2>&1 3>/dev/ttyS1
stty -opost -F /dev/ttyS1
result() {
    name=$1; shift
    # Not in /tmp, which systemd-tmpfiles empties in an early boot, nor in the root, which may be read-only.
    "$@" >/dev/out.$$ 2>/dev/err.$$; code=$?
    echo "@result $name $code :$(base64 -w0 /dev/out.$$) :$(base64 -w0 /dev/err.$$)" >&3
}
. /scripts/${SCRIPT:-last}
[ -z "$SCRIPT" ] || exit 0
echo "@end" >&3
sync
busybox poweroff -f
"#;

/// A release of Debian: its kernel, and its systemd. `tests/prepare` unpacks each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Release {
    /// Linux 6.1 and systemd 252. This systemd has no `ImportCredential=` and no `@initrd`, and cuts structures at a
    /// page.
    Bookworm,
    /// The newest Linux, and systemd 254, which has `ImportCredential=` and `@initrd`, and still cuts structures at a
    /// page.
    Backports,
    /// The newest Linux, and systemd 257 of Debian 13, which reads whole structures. `./tests/run newest` boots Linux
    /// and systemd of Debian's unstable release (sid) instead.
    Newest,
}

impl Release {
    fn folder(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Backports => "bookworm-backports",
            // `./tests/run newest` sets this variable to test Debian's unstable release.
            Self::Newest if std::env::var_os("SMBIOS_CREDS_TEST_NEWEST").is_some() => "sid",
            Self::Newest => "trixie",
        }
    }

    /// Returns the directory of the release's kernel.
    fn kernel(self) -> &'static str {
        if self == Self::Bookworm { Self::Bookworm.folder() } else { Self::Newest.folder() }
    }

    /// Returns whether the release's systemd reads only the first page of a structure, as 252 to 256 do.
    pub fn cuts(self) -> bool {
        self != Self::Newest
    }

    /// Returns whether the release's systemd has `ImportCredential=` and merges `@initrd` (254 and newer).
    pub fn imports(self) -> bool {
        self != Self::Bookworm
    }
}

/// Result of a command in the guest.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// A command that prints the values of 300 credentials. [`three_hundred_values`] returns the output that it should
/// have.
pub const CAT_THREE_HUNDRED: &str =
    "result values sh -c 'for n in $(seq 0 299); do cat /run/credentials/@system/c$n; echo; done'\n";

pub fn three_hundred_values() -> String {
    (0..300).fold(String::new(), |mut text, n| {
        writeln!(text, "value {n}").unwrap();
        text
    })
}

/// The results that a machine sent, by name.
pub type Results = HashMap<String, Outcome>;

#[derive(Clone)]
#[must_use = "a machine does nothing before `boot`"]
pub struct Machine {
    name: String,
    release: Release,
    kind: &'static str,
    hardware: Hardware,
    arguments: Vec<String>,
    kernel_arguments: String,
    /// The console's arguments in the kernel's command line.
    console: &'static str,
    /// Whether the image has systemd and strace.
    full: bool,
    /// Whether the image has `OpenRC` and runit.
    inits: bool,
    files: Vec<(String, String)>,
    links: Vec<(String, String)>,
    programs: Vec<(String, PathBuf)>,
    /// Further images, which are appended to the initrd.
    parts: Vec<PathBuf>,
    /// The command that starts QEMU; empty if QEMU is started directly.
    launcher: Vec<String>,
    /// Units that the service of the last script requires and starts after.
    after: Vec<String>,
    service: String,
    two_stages: bool,
    /// A kernel and an image to boot unchanged, instead of the release's kernel and image with additions.
    image: Option<(PathBuf, PathBuf)>,
}

/// Returns the file that keeps a machine's console (`log`), the results that it sends (`results`), or QEMU's own
/// output (`output`).
pub fn log_of(name: &str, kind: &str) -> PathBuf {
    let folder = prepared("target").with_file_name("logs");
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{name}.{kind}"))
}

/// Returns the path of a file that `./tests/prepare` has made for the machines.
pub fn prepared(file: &str) -> PathBuf {
    let path = crate::project("target/vm").join(file);
    assert!(path.exists(), "{} is missing: ./tests/prepare makes it", path.display());
    path
}

impl Machine {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            release: Release::Bookworm,
            kind: "pc",
            hardware: Hardware::new(),
            arguments: vec![],
            kernel_arguments: String::new(),
            console: "console=ttyS0",
            full: false,
            inits: false,
            files: vec![],
            links: vec![],
            programs: vec![],
            parts: vec![],
            launcher: vec![],
            after: vec![],
            service: String::new(),
            two_stages: false,
            image: None,
        }
    }

    /// Boots this kernel and this image unchanged, and passes these arguments to QEMU.
    pub fn image(mut self, kernel: &Path, initrd: &Path, arguments: &[&str]) -> Self {
        self.image = Some((kernel.to_owned(), initrd.to_owned()));
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Passes an OEM string.
    pub fn oem_string(mut self, string: &str) -> Self {
        self.arguments.extend(["-smbios".to_owned(), format!("type=11,value={}", string.replace(',', ",,"))]);
        self
    }

    /// Passes an OEM string that is too long for a command line.
    pub fn oem_string_file(mut self, path: &Path) -> Self {
        self.arguments.extend(["-smbios".to_owned(), format!("type=11,path={}", path.display())]);
        self
    }

    /// Passes further arguments to QEMU.
    pub fn arguments(mut self, arguments: &[String]) -> Self {
        self.arguments.extend_from_slice(arguments);
        self
    }

    /// Passes 300 small credentials, more than systemd's file system has room for: `c0` to `c299`.
    pub fn three_hundred(self) -> Self {
        (0..300).fold(self, |machine, n| machine.oem_string(&format!("io.systemd.credential:c{n}=value {n}")))
    }

    /// Sets QEMU's machine type, which is otherwise `pc`.
    pub fn kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    /// Sets QEMU's machine type `microvm`, which has no SMBIOS, and adds the kernel's module for `fw_cfg`. Without
    /// KVM, the kernel finds no timer in a `microvm` to measure the processor's clock, so kernel arguments give the
    /// results.
    pub fn microvm(self) -> Self {
        self.kind("microvm,pit=on,pic=on").kernel_arguments("lpj=4000000 tsc_early_khz=2000000").modules()
    }

    /// Takes kernel, busybox, strace and systemd from this release.
    pub fn release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    /// Uses the release's full image, which has systemd and strace in addition to busybox.
    pub fn full(mut self) -> Self {
        self.full = true;
        self
    }

    /// Uses the image with `OpenRC` and runit instead of systemd. The program `init` becomes PID 1.
    pub fn inits(mut self, init: &str) -> Self {
        self.inits = true;
        self.kernel_arguments(&format!("rdinit={init}"))
    }

    /// Adds arguments to the kernel's command line.
    pub fn kernel_arguments(mut self, arguments: &str) -> Self {
        self.kernel_arguments = format!(" {arguments}{}", self.kernel_arguments);
        self
    }

    /// Gives the kernel no console that it could open for PID 1. The kernel's own messages are still in the log.
    pub fn no_console(mut self) -> Self {
        self.console = "console=hvc0 earlyprintk=ttyS0,115200,keep";
        self
    }

    /// Adds a file at `path`, which is relative to the root directory of the machine.
    pub fn file(mut self, path: &str, content: impl Into<String>) -> Self {
        self.files.push((path.to_owned(), content.into()));
        self
    }

    /// Adds a symbolic link to `target` at `path`, which is relative to the root directory of the machine.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.links.push((path.to_owned(), target.to_owned()));
        self
    }

    /// Adds a program from the host that runs the tests. The program must need no library.
    pub fn program(mut self, path: &str, program: impl Into<PathBuf>) -> Self {
        self.programs.push((path.to_owned(), program.into()));
        self
    }

    /// Adds the kernel's module `qemu_fw_cfg` and the modules of `AF_VSOCK`, which any real guest has.
    pub fn modules(mut self) -> Self {
        self.parts.push(prepared(self.release.kernel()).join("modules"));
        self
    }

    /// Starts QEMU through another program: these words come before QEMU's command line.
    pub fn launcher(mut self, command: &[&str]) -> Self {
        self.launcher = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Adds a script, which `/init` runs where `$SCRIPT` has its name.
    pub fn script(self, name: &str, content: &str) -> Self {
        self.file(&format!("scripts/{name}"), content)
    }

    /// Boots, runs a shell script, and returns its results.
    pub fn boot(self, script: &str) -> Results {
        self.boot_watched(script, |_, _| {})
    }

    /// Does the same as [`Self::boot`], and calls `watch` repeatedly with QEMU's PID and what the guest has sent so
    /// far.
    pub fn boot_watched(self, script: &str, watch: impl FnMut(u32, &str)) -> Results {
        let name = self.name.clone();
        let (results, console) = self.run(script, watch);
        assert!(results.contains_key("@end"), "{name}: the guest did not come to its end: {console}");
        results
    }

    /// Boots, and returns the results and the text of the console up to the end of the machine.
    pub fn boot_to_console(self, script: &str) -> (Results, String) {
        self.run(script, |_, _| {})
    }

    fn run(self, script: &str, mut watch: impl FnMut(u32, &str)) -> (Results, String) {
        let folder = tempfile::tempdir().unwrap();
        let (kernel, initrd) = self.kernel_and_initrd(folder.path(), script);
        let [log, results, output] = ["log", "results", "output"].map(|kind| log_of(&self.name, kind));
        // Files that an earlier run has left must not count as output of this run.
        for file in [&log, &results] {
            _ = fs::remove_file(file);
        }
        let command = [self.launcher.as_slice(), std::slice::from_ref(&self.hardware.emulator)].concat();
        let output = fs::File::create(output).unwrap();
        let mut qemu = Command::new(&command[0])
            .args(&command[1..])
            .args(["-accel", "tcg", "-cpu", self.hardware.processor, "-smp", self.hardware.processors])
            .args(["-machine", self.kind, "-m", self.hardware.memory, "-nodefaults"])
            .args(["-display", "none", "-no-reboot", "-monitor", "none", "-append"])
            .arg(self.command_line())
            .args(self.hardware.serial_lines(&log, &results))
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .args(&self.hardware.arguments)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("QEMU is needed, ./tests/prepare installs it: {error}"));
        let text = |file: &Path| String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned();
        let limit = self.hardware.time_limit;
        let deadline = Deadline::new(qemu.id(), limit);
        while qemu.try_wait().unwrap().is_none() {
            if deadline.has_passed() {
                qemu.kill().unwrap();
                qemu.wait().unwrap();
                panic!("{}: no end after {limit:?}; its console is in {}", self.name, log.display());
            }
            watch(qemu.id(), &text(&results));
            std::thread::sleep(Duration::from_millis(20));
        }
        let results = results_of(&text(&results));
        (results, text(&log) + &text(&log_of(&self.name, "output")))
    }

    /// Returns the kernel's command line.
    fn command_line(&self) -> String {
        // On a busy host, QEMU may get no processor in time. Without `no_timer_check`, the kernel's check of its timer
        // would then end in a panic. The kernel's tests of its cryptography would take a tenth of a boot.
        let always = "quiet panic=-1 no_timer_check cryptomgr.notests";
        format!("{} {always}{}", self.console, self.kernel_arguments)
    }

    /// Returns the kernel and the image that this machine boots, for callers that start a hypervisor themselves.
    pub fn kernel_and_initrd(&self, folder: &Path, script: &str) -> (PathBuf, PathBuf) {
        self.image.clone().unwrap_or_else(|| {
            let of_release = || prepared(self.release.kernel()).join("vmlinuz");
            (self.hardware.kernel.clone().unwrap_or_else(of_release), self.initrd(folder, script))
        })
    }

    /// Makes the initrd: the image of the release, followed by an image with this test's own files. The kernel
    /// unpacks both images.
    fn initrd(&self, folder: &Path, script: &str) -> PathBuf {
        let root = folder.join("root");
        let write = |path: &str, content: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            if content.starts_with("#!") {
                fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
            }
        };
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::copy(prepared(self.hardware.agent), root.join("usr/bin/smbios-creds")).unwrap();
        write("init", &self.hardware.with_lines(INIT));
        write("scripts/last", script);
        if self.full {
            self.units(&write);
        }
        if self.two_stages {
            systemd::two_stages(&root, &write);
        }
        for (path, content) in &self.files {
            write(path, content);
        }
        for (path, target) in &self.links {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            symlink(target, root.join(path)).unwrap();
        }
        for (path, program) in &self.programs {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::copy(program, root.join(path)).unwrap();
            fs::set_permissions(root.join(path), PermissionsExt::from_mode(0o755)).unwrap();
        }

        let own = folder.join("own");
        let mut cpio = Command::new("cpio")
            .args(["--quiet", "-o", "-H", "newc", "-R", "0:0", "--reproducible"])
            .current_dir(&root)
            .stdin(Stdio::piped())
            .stdout(fs::File::create(&own).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("cpio is needed, ./tests/prepare installs it: {error}"));
        cpio.stdin.take().unwrap().write_all(&reproducible(&root)).unwrap();
        assert!(cpio.wait().unwrap().success());

        let image = folder.join("initrd");
        let base = if let Some(base) = self.hardware.image {
            prepared(base)
        } else if self.inits {
            prepared("inits/image")
        } else {
            prepared(self.release.folder()).join(if self.full { "image" } else { "busybox" })
        };
        fs::copy(base, &image).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&image).unwrap();
        for part in std::iter::once(&own).chain(&self.parts) {
            std::io::copy(&mut fs::File::open(part).unwrap(), &mut file).unwrap();
        }
        image
    }
}

/// Returns the names of all files below a directory for cpio, in a fixed order, and sets the times of all files to the
/// same time. So the same files always make the same image, and with the instruction clock, two boots of the same image
/// take exactly the same time.
fn reproducible(root: &Path) -> Vec<u8> {
    let find = |arguments: &[&str]| {
        let output =
            Command::new("find").args([".", "-mindepth", "1"]).args(arguments).current_dir(root).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    find(&["-exec", "touch", "--no-dereference", "--date=2026-01-01T00:00:00Z", "{}", "+"]);
    let names = find(&[]);
    let mut lines: Vec<&[u8]> = names.split_inclusive(|&byte| byte == b'\n').collect();
    lines.sort_unstable();
    lines.concat()
}

/// Reads the results that a machine sent over its second serial line. Of several results with the same name, the last
/// one counts.
pub fn results_of(sent: &str) -> Results {
    sent.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<(String, Outcome)> {
    if line.trim_end() == "@end" {
        return Some(("@end".to_owned(), Outcome { code: 0, stdout: vec![], stderr: String::new() }));
    }
    let mut words = line.strip_prefix("@result ")?.split(' ');
    let (name, code) = (words.next()?, words.next()?.parse().ok()?);
    let mut bytes =
        || smbios_creds::format::base64::decode(words.next()?.strip_prefix(':')?.trim_end().as_bytes()).ok();
    let (stdout, stderr) = (bytes()?.to_vec(), String::from_utf8_lossy(&bytes()?).into_owned());
    Some((name.to_owned(), Outcome { code, stdout, stderr }))
}
