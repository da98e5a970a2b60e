//! A virtual TPM, which swtpm emulates with its state in a directory, and a release's `systemd-creds` that seals to
//! the TPM.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Machine, Release, prepared};

/// A TPM that is switched off: its state in a directory of its own.
pub struct Tpm(tempfile::TempDir);

/// A TPM that runs. It is switched off when this value is dropped.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Release {
    /// Returns the path of an image with the libraries that the release's systemd loads for a TPM.
    fn tpm(self) -> std::path::PathBuf {
        prepared("tpm").join(self.folder()).join("image")
    }
}

impl Machine {
    /// Gives the machine a TPM, and the libraries that the release's systemd needs for a TPM. The TPM must run for as
    /// long as the machine.
    pub fn tpm(mut self, tpm: &Tpm) -> (Self, Running) {
        let socket = tpm.0.path().join("socket");
        let running = tpm.start(&["--ctrl", &format!("type=unixio,path={}", socket.display())]);
        wait_until(|| socket.exists());
        let chardev = format!("socket,id=tpm,path={}", socket.display());
        let options = ["-chardev", &chardev, "-tpmdev", "emulator,id=tpm,chardev=tpm"];
        let options = [&options[..], &["-device", "tpm-tis,tpmdev=tpm"]].concat();
        self.arguments.extend(options.into_iter().map(str::to_owned));
        self.parts.push(self.release.tpm());
        (self, running)
    }
}

impl Tpm {
    /// Makes a new TPM, which has keys of its own.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let state = format!("dir={}", self.0.path().display());
        let swtpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", &state])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("swtpm is needed, ./tests/prepare installs it: {error}"));
        Running(swtpm)
    }

    /// Returns the ciphertext that a release's `systemd-creds encrypt` writes for this TPM while the TPM's machine is
    /// off, with the commands of docs/trust/sealed.md.
    pub fn seal(&self, release: Release, name: &str, value: &[u8], options: &[&str]) -> Vec<u8> {
        let port = free_ports();
        let at = |port: u16| format!("type=tcp,bindaddr=127.0.0.1,port={port}");
        let (server, control) = (at(port), at(port + 1));
        let flags = ["--flags", "not-need-init,startup-clear"];
        let _running = self.start(&[&["--server", &server, "--ctrl", &control], &flags[..]].concat());
        // This connects to the control port, since the command port takes only one connection.
        wait_until(|| TcpStream::connect(("127.0.0.1", port + 1)).is_ok());
        let root = unpacked(release);
        let libraries = root.path().join("usr/lib/x86_64-linux-gnu");
        // The release's loader runs `systemd-creds` with the release's libraries, which needs no chroot(2) and so no
        // root.
        let mut creds = Command::new(root.path().join("usr/lib64/ld-linux-x86-64.so.2"))
            .arg("--library-path")
            .arg(format!("{0}:{0}/systemd", libraries.display()))
            .arg(root.path().join("usr/bin/systemd-creds"))
            .args(["encrypt", "--with-key=tpm2", "--name", name])
            .arg(format!("--tpm2-device=swtpm:host=127.0.0.1,port={port}"))
            .args(options)
            .args(["-", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        creds.stdin.take().unwrap().write_all(value).unwrap();
        let output = creds.wait_with_output().unwrap();
        assert!(output.status.success(), "systemd-creds cannot seal to a TPM of swtpm's");
        output.stdout
    }
}

/// Unpacks the release's `systemd-creds` and libraries.
fn unpacked(release: Release) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for image in [prepared(release.folder()).join("image"), release.tpm()] {
        let cpio = Command::new("cpio")
            .args(["--quiet", "-i", "-d", "-u", "--no-absolute-filenames"])
            .args(["usr/lib64*", "usr/lib/x86_64-linux-gnu/*", "usr/bin/systemd-creds"])
            .current_dir(&root)
            .stdin(fs::File::open(image).unwrap())
            .status();
        assert!(cpio.unwrap().success());
    }
    assert!(Path::new(root.path()).join("usr/bin/systemd-creds").exists());
    root
}

/// Returns the first of two adjacent ports on which nobody listens.
fn free_ports() -> u16 {
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

fn wait_until(is_ready: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_ready() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("swtpm does not answer");
}
