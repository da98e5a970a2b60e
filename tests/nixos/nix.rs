//! Evaluates and builds attributes of eval.nix by a Nix with its own store in a temporary directory.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use testkit::host::QEMU_WORD;

/// Directory that nix works in. This nix needs no daemon, no /nix, no sandbox and no network, and any user can run it.
pub(crate) struct Nix {
    folder: PathBuf,
}

pub(crate) static NIX: LazyLock<Nix> = LazyLock::new(|| {
    let nix = Nix { folder: tempfile::tempdir().unwrap().keep() };
    remove_at_the_end(&nix.folder);
    for folder in ["store", "home", "programs", "documented"] {
        std::fs::create_dir(nix.path(folder)).unwrap();
    }
    std::fs::copy(env!("CARGO_BIN_EXE_smbios-creds"), nix.path("programs/smbios-creds")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_smbios-creds-host"), nix.path("programs/smbios-creds-host")).unwrap();
    let stand_in = project("tests/launch/private_argv/stand_in.c");
    let built = Command::new("cc").arg("-o").arg(nix.path("stand-in")).arg(stand_in).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // The stand-in takes the place of every hypervisor. With this word, it is taken for QEMU too.
    let image = [std::fs::read(nix.path("stand-in")).unwrap(), QEMU_WORD.into()].concat();
    testkit::write_program(&nix.path("hypervisor"), image, 0o755);
    // If the store did not exist, two nix processes at the same time would both try to make its directories.
    let made = output(nix.command("nix-store").arg("--init"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    nix
});

impl Nix {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Returns a command that runs a program with the environment of this nix.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.path("home"));
        let folders = [
            ("NIX_STORE_DIR", "store"),
            ("NIX_STATE_DIR", "state"),
            ("NIX_LOG_DIR", "log"),
            ("NIX_LOCALSTATE_DIR", "var"),
            ("NIX_CONF_DIR", "etc"),
        ];
        for (variable, folder) in folders {
            command.env(variable, self.path(folder));
        }
        command.env("NIX_CONFIG", "sandbox = false\nbuild-users-group =\nsubstituters =\n");
        command.stdin(Stdio::null());
        command
    }
}

/// Removes a directory after this process has ended in any way. It first makes what nix has built writable.
#[expect(clippy::zombie_processes, reason = "it outlives this process")]
fn remove_at_the_end(folder: &Path) {
    let mut command = Command::new("sh");
    command.args(["-c", "read -r _; chmod -R u+w \"$0\"; rm -rf \"$0\""]).arg(folder);
    let mut child = command.process_group(0).stdin(Stdio::piped()).spawn().unwrap();
    // The shell waits until the kernel closes this end of the pipe, which it does when this process ends.
    std::mem::forget(child.stdin.take());
}

/// Returns the absolute path of a file of the project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a command until it ends.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("{}: {error} (tests/prepare installs nix)", command.get_program().display())
    })
}

/// Where nixpkgs' `lib` and microvm.nix come from.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) name: &'static str,
    lib: Option<String>,
    upstream: Option<(String, String)>,
}

/// Returns the ways in which the modules are evaluated: always with stand-ins for nixpkgs and microvm.nix and, if
/// environment variables give their paths, also with the real ones.
pub(crate) fn routes() -> Vec<Route> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut routes = vec![Route { name: "stand-ins", lib: None, upstream: None }];
    let lib = variable("NIXPKGS_LIB");
    if lib.is_some() {
        routes.push(Route { name: "lib", lib: lib.clone(), upstream: None });
    }
    if let Some(microvm) = variable("MICROVM_NIX") {
        let nixos =
            variable("NIXPKGS_NIXOS").expect("MICROVM_NIX needs NIXPKGS_NIXOS, nixpkgs' folder nixos/");
        assert!(lib.is_some(), "MICROVM_NIX needs NIXPKGS_LIB, nixpkgs' folder lib/");
        routes.push(Route { name: "microvm.nix", lib, upstream: Some((microvm, nixos)) });
    }
    routes
}

impl Route {
    pub(crate) fn is_upstream(&self) -> bool {
        self.upstream.is_some()
    }

    fn command(&self, program: &str, attribute: &str) -> Command {
        let mut command = NIX.command(program);
        command.arg(project("tests/nixos/eval.nix")).args(["-A", attribute]);
        for name in ["programs", "hypervisor", "documented"] {
            command.args(["--argstr", name]).arg(NIX.path(name));
        }
        if let Some(lib) = &self.lib {
            command.args(["--arg", "lib"]).arg(format!("import {lib}"));
        }
        if let Some((microvm, nixos)) = &self.upstream {
            command.args(["--argstr", "upstream", microvm, "--argstr", "nixos", nixos]);
        }
        command
    }

    fn evaluation(&self, attribute: &str) -> Output {
        output(self.command("nix-instantiate", attribute).args(["--eval", "--strict", "--json"]))
    }

    /// The value of an attribute of eval.nix.
    pub(crate) fn value(&self, attribute: &str) -> Value {
        let output = self.evaluation(attribute);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}, {attribute}: {errors}", self.name);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The message of an evaluation that fails.
    pub(crate) fn refusal(&self, attribute: &str) -> String {
        let output = self.evaluation(attribute);
        assert!(!output.status.success(), "{}: {attribute} is evaluated", self.name);
        String::from_utf8(output.stderr).unwrap()
    }

    /// Builds an attribute of eval.nix.
    pub(crate) fn build(&self, attribute: &str) -> PathBuf {
        let output = output(self.command("nix-build", attribute).arg("--no-out-link"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}, {attribute}: {errors}", self.name);
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    }
}

/// A stand-in hypervisor that has reported what it was started with, and waits.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Vec<(String, String)>,
}

impl Running {
    /// Starts a runner. If it ends before the hypervisor has reported, returns its stderr and exit code as the error.
    pub(crate) fn start(command: &mut Command) -> Result<Self, (String, Option<i32>)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while !bytes.ends_with(b"\0end=\0") {
            match child.stdout.as_mut().unwrap().read(&mut buffer).unwrap() {
                0 => {
                    let output = child.wait_with_output().unwrap();
                    return Err((String::from_utf8(output.stderr).unwrap(), output.status.code()));
                }
                size => bytes.extend_from_slice(&buffer[..size]),
            }
        }
        // The report includes the content of a file of structures, which may not be UTF-8.
        let text = String::from_utf8_lossy(&bytes);
        let pairs = text.split_terminator('\0').map(|line| line.split_once('=').unwrap());
        let lines = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { child, lines })
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.lines.iter().filter(|(found, _)| found == name).map(|(_, value)| value.clone()).collect()
    }

    /// Returns the argument that follows `name`.
    pub(crate) fn option(&self, name: &str) -> String {
        let arguments = self.all("argument");
        let at = arguments.iter().position(|argument| argument == name);
        arguments[at.unwrap_or_else(|| panic!("no {name} in {arguments:?}")) + 1].clone()
    }

    /// Ends the stand-in. Returns its command line and environment, which other processes can see, and its stderr.
    pub(crate) fn end(mut self) -> (String, String) {
        let proc = |name| std::fs::read(format!("/proc/{}/{name}", self.child.id())).unwrap();
        let seen = String::from_utf8([proc("cmdline"), proc("environ")].concat()).unwrap();
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(42));
        (seen, String::from_utf8(output.stderr).unwrap())
    }
}
