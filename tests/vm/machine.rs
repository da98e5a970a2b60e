//! A virtual machine for one test: a Debian kernel, busybox and the static agent, under QEMU without KVM.
//!
//! The guest's script calls `result NAME COMMAND…`, which sends exit code, stdout and stderr of the command over the
//! serial line, as base64; [`Machine::boot`] hands them back by name.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time a machine may take. A boot needs 3 to 10 seconds.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// Where Debian has systemd.
const SYSTEMD: &str = "/lib/systemd/systemd";

const INIT: &str = r#"#!/bin/sh
export PATH=/bin
[ -d /proc/self ] || mount -t proc proc /proc
[ -d /sys/kernel ] || mount -t sysfs sysfs /sys
[ -c /dev/ttyS0 ] || mount -t devtmpfs devtmpfs /dev
argument=$1
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -opost
result() {
    name=$1; shift
    "$@" >/tmp/out 2>/tmp/err; code=$?
    echo "@result $name $code :$(base64 -w0 /tmp/out) :$(base64 -w0 /tmp/err)"
}
. /test
echo "@end"
poweroff -f
"#;

/// What a command in the guest did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

pub(crate) struct Machine {
    name: &'static str,
    kind: &'static str,
    arguments: Vec<String>,
    kernel_arguments: String,
    programs: Vec<PathBuf>,
    files: Vec<(&'static str, String)>,
}

/// Where `./tests/run` has put what the machines need.
fn prepared(file: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vm").join(file);
    assert!(path.exists(), "{} is missing: ./tests/run prepares it", path.display());
    path
}

impl Machine {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            kind: "pc",
            arguments: vec![],
            kernel_arguments: String::new(),
            programs: vec![],
            files: vec![],
        }
    }

    /// Passes an OEM string.
    pub(crate) fn oem_string(mut self, string: &str) -> Self {
        self.arguments.extend(["-smbios".to_owned(), format!("type=11,value={}", string.replace(',', ",,"))]);
        self
    }

    /// Another machine than QEMU's `pc`.
    pub(crate) fn kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    /// Passes an OEM string that is too long for a command line.
    pub(crate) fn oem_string_file(mut self, path: &Path) -> Self {
        self.arguments.extend(["-smbios".to_owned(), format!("type=11,path={}", path.display())]);
        self
    }

    /// Adds to the kernel's command line.
    pub(crate) fn kernel_arguments(mut self, arguments: &str) -> Self {
        self.kernel_arguments = format!(" {arguments}{}", self.kernel_arguments);
        self
    }

    /// Brings a dynamic program of this machine into the guest, with its libraries.
    pub(crate) fn program(mut self, path: &str) -> Self {
        self.programs.push(path.into());
        self
    }

    /// Makes this machine's systemd PID 1, executed by `init` if that is something else. The script runs in a service
    /// with these settings, after one that imports, if that has a command.
    pub(crate) fn systemd(mut self, init: &str, import: &str, service: &str) -> Self {
        let unit = |settings: &str, dependencies: &str| {
            format!("[Unit]\nDefaultDependencies=no\n{dependencies}\n[Service]\nType=oneshot\n{settings}\n")
        };
        let after = if import.is_empty() { "" } else { "Requires=import.service\nAfter=import.service" };
        self.files.extend([
            ("etc/systemd/system/import.service", unit(&format!("ExecStart={import}"), "")),
            (
                "etc/systemd/system/probe.service",
                unit(&format!("ExecStart=/init\nStandardOutput=null\n{service}"), after),
            ),
            (
                "etc/systemd/system/probe.target",
                "[Unit]\nDefaultDependencies=no\nWants=probe.service\nAfter=probe.service\n".to_owned(),
            ),
            ("etc/machine-id", String::new()),
            ("etc/os-release", "ID=test\n".to_owned()),
        ]);
        let init = if init.is_empty() { SYSTEMD.to_owned() } else { format!("{init} {SYSTEMD}") };
        self.programs.push(SYSTEMD.into());
        // From version 255 on, another program of its own starts services.
        self.programs.extend(Some(PathBuf::from(format!("{SYSTEMD}-executor"))).filter(|path| path.exists()));
        self.kernel_arguments(&format!("systemd.unit=probe.target rdinit={init}"))
    }

    /// Boots, runs a shell script, and hands back its results.
    pub(crate) fn boot(self, script: &str) -> HashMap<String, Outcome> {
        let name = self.name;
        let console = self.boot_to_console(script);
        assert!(console.contains("@end"), "{name}: the guest did not come to its end: {console}");
        console.lines().filter_map(parse).collect()
    }

    /// Boots, and hands back what was written to the console until the machine stopped.
    pub(crate) fn boot_to_console(self, script: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let initrd = self.initrd(folder.path(), script);
        let log = prepared("logs").join(format!("{}.log", self.name));
        let start = Instant::now();
        let mut qemu = Command::new("qemu-system-x86_64")
            .args([
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-machine",
                self.kind,
                "-m",
                "512",
                "-nodefaults",
                "-display",
                "none",
            ])
            .args(["-no-reboot", "-monitor", "none", "-append"])
            .arg(format!("console=ttyS0 quiet panic=-1{}", self.kernel_arguments))
            .arg("-serial")
            .arg(format!("file:{}", log.display()))
            .arg("-kernel")
            .arg(prepared("vmlinuz"))
            .arg("-initrd")
            .arg(initrd)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("QEMU is needed, ./tests/run installs it: {error}"));
        while qemu.try_wait().unwrap().is_none() {
            if start.elapsed() > TIME_LIMIT {
                qemu.kill().unwrap();
                qemu.wait().unwrap();
                panic!("{}: no end after {TIME_LIMIT:?}; its console is in {}", self.name, log.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let console = fs::read(&log).unwrap();
        fs::remove_file(log).unwrap();
        String::from_utf8_lossy(&console).into_owned()
    }

    fn initrd(&self, folder: &Path, script: &str) -> PathBuf {
        let root = folder.join("root");
        for path in ["bin", "dev", "proc", "sys", "tmp", "run", "etc"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        let busybox = busybox.unwrap_or_else(|| panic!("busybox is needed, ./tests/run installs it"));
        fs::copy(busybox, root.join("bin/busybox")).unwrap();
        let applets = Command::new(busybox).arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::copy(prepared("smbios-creds"), root.join("bin/smbios-creds")).unwrap();
        for program in &self.programs {
            // systemd looks for its own files beside itself.
            let to = if program.starts_with("/lib") {
                program.strip_prefix("/").unwrap()
            } else {
                Path::new("bin")
            };
            let to =
                if to.ends_with("bin") { to.join(program.file_name().unwrap()) } else { to.to_path_buf() };
            fs::create_dir_all(root.join(&to).parent().unwrap()).unwrap();
            fs::copy(program, root.join(to)).unwrap();
            let libraries = Command::new("ldd").arg(program).output().unwrap();
            for word in
                String::from_utf8(libraries.stdout).unwrap().split_whitespace().filter(|w| w.starts_with('/'))
            {
                let to = root.join(&word[1..]);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(word, to).unwrap();
            }
        }
        for (path, content) in &self.files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), content).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
            .unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n").unwrap();
        fs::write(root.join("init"), INIT).unwrap();
        fs::set_permissions(root.join("init"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(root.join("test"), script).unwrap();

        let image = folder.join("initrd");
        let mut cpio = Command::new("cpio")
            .args(["--quiet", "-o", "-H", "newc", "-R", "0:0"])
            .current_dir(&root)
            .stdin(Stdio::piped())
            .stdout(fs::File::create(&image).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("cpio is needed, ./tests/run installs it: {error}"));
        let files = Command::new("find").arg(".").current_dir(&root).output().unwrap();
        cpio.stdin.take().unwrap().write_all(&files.stdout).unwrap();
        assert!(cpio.wait().unwrap().success());
        image
    }
}

fn parse(line: &str) -> Option<(String, Outcome)> {
    // The kernel may have written to the same line before.
    let mut words = line.get(line.find("@result ")?..)?.split(' ').skip(1);
    let (name, code) = (words.next()?, words.next()?.parse().ok()?);
    let mut bytes =
        || smbios_creds::base64::decode(words.next()?.strip_prefix(':')?.trim_end().as_bytes()).ok();
    let (stdout, stderr) = (bytes()?.to_vec(), String::from_utf8_lossy(&bytes()?).into_owned());
    Some((name.to_owned(), Outcome { code, stdout, stderr }))
}
