//! The stand-in hypervisor, and the one way in which these tests start it.

use std::fs::{File, Permissions, set_permissions};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// User ID and group ID of `nobody`.
pub(crate) const NOBODY: u32 = 65534;

/// Text that other processes see in place of a private argument.
pub(crate) const PLACEHOLDER: &str = "@private";

/// Programs that were built for the tests, in a directory that every user can read.
pub(crate) struct Tools {
    pub(crate) folder: tempfile::TempDir,
}

/// Child processes write the programs, for the reason that [`testkit::write_program`] gives.
pub(crate) static TOOLS: LazyLock<Tools> = LazyLock::new(|| {
    // This process becomes the parent of orphans, because an init process may reap them late.
    set_child_subreaper(true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/launch/private_argv");
    let stand_in = source.join("stand_in.c");
    for (name, source, options) in [
        ("dynamic", &stand_in, &["-O1", "-pie", "-fPIE"][..]),
        ("fixed", &stand_in, &["-O1", "-no-pie"]),
        ("static", &stand_in, &["-O1", "-static"]),
        ("static-pie", &stand_in, &["-O1", "-static-pie"]),
        ("fault.so", &source.join("fault.c"), &["-shared", "-fPIC", "-ldl"]),
    ] {
        let built = Command::new("cc")
            .arg("-o")
            .arg(folder.path().join(name))
            .arg(source)
            .args(options)
            .output()
            .unwrap_or_else(|error| panic!("cc: {error}"));
        assert!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stderr));
    }
    let launcher = folder.path().join("launcher");
    testkit::write_program(&launcher, std::fs::read(testkit::example("private_argv")).unwrap(), 0o755);
    Tools { folder }
});

impl Tools {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new path, for a file.
    pub(crate) fn new_path(&self, what: &str) -> PathBuf {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        self.path(&format!("{what}-{}", MADE.fetch_add(1, Ordering::Relaxed)))
    }
}

/// How a program is started in these tests. `values` are the values of the private arguments, which are [`PLACEHOLDER`]
/// in `arguments`. `through` is a command that executes the launcher.
pub(crate) struct Start<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [&'a str],
    pub(crate) values: &'a [&'a [u8]],
    pub(crate) through: &'a [&'a str],
}

impl<'a> Start<'a> {
    /// Returns a start with these values as private arguments among other arguments.
    pub(crate) fn new(program: &'a Path, values: &'a [&'a [u8]]) -> Self {
        let arguments = match values.len() {
            0 => &["microvm@name", "--one"][..],
            1 => &["microvm@name", "--one", PLACEHOLDER, "--last"],
            2 => &["microvm@name", PLACEHOLDER, PLACEHOLDER],
            _ => panic!("more values than arguments"),
        };
        Self { program, arguments, values, through: &[] }
    }

    /// The arguments that the program finds.
    pub(crate) fn found(&self) -> Vec<Vec<u8>> {
        let mut values = self.values.iter();
        let found = |&argument: &&str| {
            if argument == PLACEHOLDER { values.next().unwrap().to_vec() } else { argument.into() }
        };
        self.arguments.iter().map(found).collect()
    }

    /// The launcher, ready to be started in a process group of its own.
    pub(crate) fn command(&self) -> Command {
        let mut words: Vec<PathBuf> = self.through.iter().map(PathBuf::from).collect();
        words.push(TOOLS.path("launcher"));
        words.push(self.program.into());
        for value in self.values {
            let file = TOOLS.new_path("value");
            std::fs::write(&file, value).unwrap();
            words.push(file);
        }
        words.push("--".into());
        words.extend(
            self.arguments
                .iter()
                .map(|&argument| PathBuf::from(if argument == PLACEHOLDER { "@" } else { argument })),
        );
        prepared(&words)
    }

    /// Returns a command that executes the program without the launcher, for comparison: the placeholders are
    /// arguments.
    pub(crate) fn plain(&self) -> Command {
        let mut words: Vec<PathBuf> = self.through.iter().map(PathBuf::from).collect();
        words.push(self.program.into());
        words.extend(self.arguments.iter().skip(1).map(PathBuf::from));
        prepared(&words)
    }
}

fn prepared(words: &[PathBuf]) -> Command {
    let mut command = Command::new(&words[0]);
    // Cargo sets LD_LIBRARY_PATH for tests. The tracer stops a program with this variable at all of its system calls.
    command.args(&words[1..]).process_group(0).env_remove("LD_LIBRARY_PATH");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Makes the command run as `nobody` if the tests run as root.
pub(crate) fn as_nobody(command: &mut Command) -> &mut Command {
    if testkit::is_root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

/// Names and values that the stand-in reports, in the order of the report.
pub(crate) struct Report(Vec<(String, Vec<u8>)>);

impl Report {
    pub(crate) fn all(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.iter().filter(|(found, _)| found == name).map(|(_, value)| value.clone()).collect()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.all(name).concat()).unwrap()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap()
    }

    /// Lines of /proc/self/status with one of these names.
    pub(crate) fn status(&self, names: &[&str]) -> Vec<String> {
        let text = self.text("status");
        let wanted = |line: &&str| names.iter().any(|name| line.starts_with(&format!("{name}:")));
        text.lines().filter(wanted).map(str::to_owned).collect()
    }
}

/// A stand-in that has reported and waits to be told to end.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) report: Report,
    input: Option<ChildStdin>,
}

impl Running {
    /// Starts a stand-in and reads its report. If there is no report, returns stderr and the exit status as the error.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 1 << 20];
        let output = child.stdout.as_mut().unwrap();
        while !bytes.ends_with(b"\0end=\0") {
            match output.read(&mut buffer).unwrap() {
                0 => {
                    let mut text = String::new();
                    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
                    return Err(format!("{text}{}", child.wait().unwrap()));
                }
                size => bytes.extend_from_slice(&buffer[..size]),
            }
        }
        let split = |line: &[u8]| {
            let at = line.iter().position(|&b| b == b'=').unwrap();
            (String::from_utf8(line[..at].to_vec()).unwrap(), line[at + 1..].to_vec())
        };
        let lines = bytes[..bytes.len() - 1].split(|&b| b == 0).map(split).collect();
        Ok(Self { child, report: Report(lines), input })
    }

    /// Lets the stand-in end. Asserts that its exit code is 42, that stderr is empty, and that no process is left.
    pub(crate) fn end(self) {
        self.end_of(42);
    }

    /// Like [`Self::end`], with the exit code of a wrapper script.
    pub(crate) fn end_of(mut self, code: i32) {
        drop(self.input.take());
        let group = self.child.id().into();
        let output = self.child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        assert_eq!(output.status.code(), Some(code));
        assert_nobody_is_left(group);
    }
}

/// PID of a process, and its state and process group in /proc/PID/stat.
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) state: String,
    pub(crate) group: u64,
}

pub(crate) fn processes() -> Vec<Process> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // A process that is being reaped has the group -1.
        let Ok(group) = fields[2].parse() else { continue };
        found.push(Process { pid, state: fields[0].into(), group });
    }
    found
}

/// Waits until no process of the group is left, and panics if one stays. The caller has waited for the group leader.
pub(crate) fn assert_nobody_is_left(group: u64) {
    let left = || processes().into_iter().filter(|process| process.group == group).collect::<Vec<_>>();
    for _ in 0..2000 {
        let left = left();
        if left.is_empty() {
            return;
        }
        for orphan in left.iter().filter(|process| process.state == "Z") {
            _ = waitpid(Pid::from_raw(orphan.pid.cast_signed()), Some(WaitPidFlag::WNOHANG));
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let left: Vec<_> = left().iter().map(|process| format!("{} {}", process.pid, process.state)).collect();
    panic!("left behind: {left:?}");
}

/// Reads a file of a process in /proc. Returns no bytes if the process is gone or belongs to another user.
pub(crate) fn proc(pid: impl std::fmt::Display, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(format!("/proc/{pid}/{name}")) {
        _ = file.read_to_end(&mut bytes);
    }
    bytes
}
