//! A real QEMU that wrappers execute: QEMU gets the files with the secrets, and no other program ever gets one.

use std::fs::{read, read_dir, read_link, read_to_string};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use memchr::memmem;
use nix::unistd::Pid;
use rustix::fs::{SealFlags, fcntl_get_seals};
use testkit::host::{QEMU_WORD, directory, host_with, program_with};
use testkit::memory::Memory;
use testkit::{canary, code, holds, run, stderr, stdout, write_program};

const QEMU: &str = "qemu-system-x86_64";

/// Arguments with which QEMU makes its table and runs no instruction of a guest.
const MACHINE: [&str; 7] = ["-S", "-display", "none", "-nodefaults", "-qmp", "stdio", "-M"];

/// A directory for wrappers, in which they note the descriptors of every helper and of the wrapper itself.
struct Wrappers(tempfile::TempDir);

impl Wrappers {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a wrapper script whose helpers note the descriptors that they have: before the script starts QEMU, while
    /// QEMU runs, and afterwards.
    fn script(&self) -> String {
        let path = self.path("script");
        let (notes, during) = (self.path("notes"), self.path("during"));
        let (notes, during) = (notes.display(), during.display());
        let text = format!(
            "#!/bin/sh\nnote() {{ ls -l /proc/self/fd /proc/$$/fd >>{notes}; }}\nnote\n\
             while :; do ls -l /proc/self/fd >>{during}; sleep 0.01; done &\nhelper=$!\n\
             \"$@\"\ncode=$?\nkill $helper\nnote\nexit $code\n"
        );
        write_program(&path, text, 0o755);
        path.to_str().unwrap().to_owned()
    }

    /// Compiles a wrapper that executes its arguments, and leaves a helper that runs beside them.
    fn compiled(&self) -> String {
        let (source, path) = (self.path("wrapper.c"), self.path("wrapper"));
        let text = format!(
            "#include <stdlib.h>\n#include <unistd.h>\nint main(int c, char **v) {{ (void)c;\n\
             setenv(\"WRAPPED\", \"yes\", 1); if (!fork()) {{ for (int i = 0; i < 20; i++) {{\n\
             if (system(\"ls -l /proc/self/fd >>{}\")) return 9; usleep(20000); }} return 0; }}\n\
             return execvp(v[1], v + 1) ? 99 : 0; }}\n",
            self.path("during").display()
        );
        std::fs::write(&source, text).unwrap();
        assert!(Command::new("cc").arg("-o").arg(&path).arg(&source).status().unwrap().success());
        path.to_str().unwrap().to_owned()
    }

    /// Returns what the helpers have noted.
    fn noted(&self) -> String {
        ["notes", "during"].map(|name| read_to_string(self.path(name)).unwrap_or_default()).concat()
    }
}

/// A QEMU that has made its table and answers questions (QMP).
struct Running {
    child: Child,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Running {
    fn start(directory: &Path, wrapper: &[&str], arguments: &[&str]) -> Self {
        let program = [wrapper, &[QEMU], &MACHINE, &["q35"], arguments].concat();
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"exec 7</dev/null; exec "$@""#, "sh"])
            .arg(testkit::program("smbios-creds-host"));
        command.args(["run", "--all", "--log-level=error", "--hypervisor=qemu", "--"]).args(program);
        command.env("CREDENTIALS_DIRECTORY", directory);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, input, answers };
        assert!(running.answer().contains("\"QMP\""), "{wrapper:?}");
        running.ask("qmp_capabilities");
        running
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut text).unwrap();
            panic!("{text}");
        }
        line
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.input, r#"{{"execute":"{command}"}}"#).unwrap();
        self.answer()
    }

    /// Returns the PID of QEMU, which is among the processes that were started.
    fn qemu(&self) -> u32 {
        let mut pids = vec![self.child.id()];
        while let Some(pid) = pids.pop() {
            let executes = read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            if executes.ends_with(QEMU) {
                return pid;
            }
            let children = read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        panic!("QEMU is not there");
    }

    fn end(mut self) {
        self.ask("quit");
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

/// Returns the paths of the memfds that a process has open.
fn memfds(pid: u32) -> Vec<PathBuf> {
    let entries = read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(|entry| entry.path());
    let is_memfd =
        |path: &PathBuf| read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("/memfd:"));
    entries.filter(is_memfd).collect()
}

#[test]
fn qemu_behind_any_wrapper_has_every_byte_and_no_helper_a_descriptor() {
    let canary = canary();
    let folder = directory(&[("db", &canary), ("large", &canary.repeat(400))]);
    let wrappers = Wrappers::new();
    let (script, compiled) = (wrappers.script(), wrappers.compiled());
    for wrapper in [
        &[][..],
        &["env", "WRAPPED=yes"],
        &["nice", "-n", "1"],
        &["taskset", "1"],
        &[&script],
        &[&compiled],
        &["env", "A=b", &script, "nice", "-n", "1", &compiled],
    ] {
        // A descriptor that another program gives to QEMU stays unchanged.
        let mut running = Running::start(folder.path(), wrapper, &["-add-fd", "fd=7,set=1"]);
        assert!(running.ask("query-status").contains("prelaunch"), "{wrapper:?}");
        let pid = running.qemu();
        let files = memfds(pid);
        assert!(files.len() >= 4, "{wrapper:?}: three structures and a file of fw_cfg");
        let held = Memory::open(Pid::from_raw(pid.cast_signed())).writable();
        for path in &files {
            let file = std::fs::File::open(path).unwrap();
            let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
            assert_eq!(fcntl_get_seals(&file).unwrap(), seals);
            let descriptor: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            assert!(descriptor >= 64, "{wrapper:?}: {descriptor}");
            // The content of the file is in QEMU's memory: in the table, or among the `fw_cfg` files for the guest.
            let content = read(path).unwrap();
            assert!(content.len() > 40 && memmem::find(&held, &content).is_some());
            let flags = read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).unwrap();
            let flags = flags.lines().find_map(|line| line.strip_prefix("flags:\t")).unwrap();
            // Under a wrapper, the descriptor has O_CLOEXEC, so no helper of QEMU inherits it. A QEMU that is started
            // directly must inherit the descriptor itself, so this descriptor has no O_CLOEXEC.
            let closed = u32::from_str_radix(flags, 8).unwrap() & 0o2_000_000 != 0;
            assert_eq!(closed, !wrapper.is_empty(), "{wrapper:?}: {flags}");
        }
        let cmdline = read(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(!holds(&cmdline, &canary));
        let hidden = holds(&cmdline, b"file=/proc/self/fd/only-the-hypervisor-has-file-1\0");
        assert_eq!(hidden, !wrapper.is_empty(), "{wrapper:?}");
        let status = read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("\nTracerPid:\t0\n"), "{wrapper:?}: nobody traces it once it runs");
        running.end();
    }
    let noted = wrappers.noted();
    assert!(noted.lines().count() > 100, "{noted}");
    assert!(!noted.contains("memfd"), "{noted}");
}

#[test]
fn helper_of_a_wrapper_for_qemu_would_be_seen_with_a_descriptor() {
    // For comparison with the test above, a program that is taken for QEMU shows its descriptors.
    let folder = directory(&[("db", b"secret")]);
    let (_programs, ls) = program_with("/bin/sh", QEMU_WORD);
    let program =
        ["--hypervisor=qemu", "--", ls.to_str().unwrap(), "-c", "ls -l /proc/self/fd /proc/$$/fd; exit 0"];
    let output = run(&mut host_with(folder.path(), &[&["run", "--all"], &program[..]].concat()));
    assert!(stdout(&output).contains("/memfd:smbios-creds"), "{}", stdout(&output) + &stderr(&output));
}

#[test]
fn wrapper_that_never_executes_qemu_fails_and_has_no_file() {
    let folder = directory(&[("db", b"secret")]);
    let programs = tempfile::tempdir().unwrap();
    let script = programs.path().join("script");
    write_program(&script, "#!/bin/sh\nls -l /proc/self/fd /proc/$$/fd\nexit 0\n", 0o755);
    let script = script.to_str().unwrap();
    for (program, exit) in [(&[script][..], 1), (&["env", "true"], 1), (&["sh", "-c", "exit 7"], 7)] {
        let options = ["run", "--all", "--log-level=error", "--hypervisor=qemu", "--"];
        let output = run(&mut host_with(folder.path(), &[&options[..], program].concat()));
        let text = stderr(&output);
        assert_eq!(code(&output), exit, "{text}");
        assert!(text.contains("No program has received the secrets") && text.contains(QEMU_WORD), "{text}");
        assert!(!stdout(&output).contains("memfd"), "{}", stdout(&output));
    }
}

#[test]
fn program_that_is_taken_for_qemu_and_executes_another_is_killed() {
    let folder = directory(&[("db", b"secret")]);
    // A wrapper that has QEMU's help in its file would be taken for QEMU like this program.
    let (_programs, env) = program_with("/usr/bin/env", QEMU_WORD);
    let options = ["run", "--all", "--log-level=error", "--hypervisor=qemu", "--", "nice", "-n", "1"];
    let program = [env.to_str().unwrap(), "sh", "-c", "ls -l /proc/self/fd", "sh"];
    let output = run(&mut host_with(folder.path(), &[&options[..], &program].concat()));
    let text = stderr(&output);
    assert_eq!((output.status.signal(), stdout(&output).as_str()), (Some(9), ""), "{text}");
    assert!(text.contains("received the secrets, and was killed"), "{text}");
}

#[test]
fn wrapped_qemu_that_cannot_be_traced_is_not_started_and_a_direct_one_is() {
    let folder = directory(&[("db", b"secret")]);
    let (_programs, shell) = program_with("/bin/sh", QEMU_WORD);
    let shell = shell.to_str().unwrap();
    // strace traces the launcher's own process, so no other process can trace it.
    let start = |program: &[&str]| {
        let host = testkit::program("smbios-creds-host");
        let mut command = Command::new("strace");
        command.args(["-qq", "-e", "trace=none", "-e", "signal=none"]).arg(host).args(["run", "--all"]);
        command
            .args(["--log-level=error", "--hypervisor=qemu", "--"])
            .args(program)
            .args(["-c", "echo started"]);
        run(command.env("CREDENTIALS_DIRECTORY", folder.path()).env_remove("JOURNAL_STREAM"))
    };
    let output = start(&["env", shell]);
    let text = stderr(&output);
    assert_eq!((code(&output), stdout(&output).as_str()), (3, ""), "{text}");
    assert!(
        text.contains("already traces this command") && text.contains("start the hypervisor's own program"),
        "{text}"
    );
    assert!(!text.contains("--allow-argv"), "it puts nothing into files: {text}");
    let output = start(&[shell]);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "started\n"), "{}", stderr(&output));
}

#[test]
fn plan_names_the_program_that_receives_the_files() {
    let folder = directory(&[("db", b"secret")]);
    let plan = |json: &str, wrapper: &[&str]| {
        let options = ["plan", "--all", json, "--hypervisor=qemu", "--"];
        let program = [wrapper, &[QEMU, "-S"]].concat();
        let output = run(&mut host_with(folder.path(), &[&options[..], &program].concat()));
        assert_eq!(code(&output), 0, "{}", stdout(&output));
        stdout(&output)
    };
    let direct = plan("--json=off", &[]);
    assert!(direct.contains(&format!("\nreceiver: /usr/bin/{QEMU}\n")), "{direct}");
    assert!(direct.contains("  file=/proc/self/fd/N\n"), "{direct}");
    let wrapped = plan("--json=off", &["env"]);
    let receiver = format!(
        "\nreceiver: the first program that /usr/bin/env executes with all arguments, and whose file contains '{QEMU_WORD}'"
    );
    assert!(wrapped.contains(&receiver), "{wrapped}");
    assert!(wrapped.contains("  file=/proc/self/fd/only-the-hypervisor-has-file-1\n"), "{wrapped}");
    let json: serde_json::Value = serde_json::from_str(&plan("--json=short", &["env"])).unwrap();
    assert_eq!(json["receiver"], serde_json::json!({"program": "/usr/bin/env", "executes": QEMU_WORD}));
    assert_eq!(json["delivery"], "sealed-memfds");
}
