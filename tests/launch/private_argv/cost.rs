//! The cost of a start with private arguments: the tests count stops, register reads and locked memory, not time.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::host::directory;
use testkit::{is_root, static_agent_is_small, static_host};

use super::launch::{PLACEHOLDER, Running, Start, TOOLS, as_nobody, proc, processes};

/// How often the tracer of a start lets a thread go on to its next system call, and how often it reads registers.
fn counted(program: &Path, arguments: &[&str]) -> (usize, usize) {
    let into = TOOLS.new_path("counted");
    let values = [b"a value".as_slice()];
    let start = Start { arguments, ..Start::new(program, &values) };
    let mut command = start.command();
    command.env("LD_PRELOAD", TOOLS.path("fault.so")).env("COUNT_INTO", &into);
    Running::start(&mut command).unwrap().end();
    let text = std::fs::read_to_string(into).unwrap();
    let (resumed, looked) = text.split_once(' ').unwrap();
    (resumed.parse().unwrap(), looked.parse().unwrap())
}

#[test]
fn tracer_reads_registers_before_system_calls_only() {
    let program = TOOLS.path("dynamic");
    let name = program.to_str().unwrap();
    // A traced thread stops before each of its system calls and after it.
    for (first, arguments) in [
        (program.as_path(), &["x", "--one", PLACEHOLDER][..]),
        (Path::new("/usr/bin/env"), &["env", "WRAPPED=yes", name, "--one", PLACEHOLDER]),
    ] {
        let (resumed, looked) = counted(first, arguments);
        assert!(resumed > 100, "it was traced: {resumed}");
        // Up to 4 reads are not for a system call, but for the delivery of the private argument.
        assert!(looked <= resumed / 2 + 4, "{looked} times at {resumed} stops");
    }
}

/// A wrapper with its full path. A search in $PATH would call execve(2) for each directory, and each call is a stop.
const ENV: &str = "/usr/bin/env";

#[test]
fn wrapper_stops_at_no_call_until_it_executes_the_next_program() {
    let program = TOOLS.path("dynamic");
    let name = program.to_str().unwrap();
    let script = TOOLS.new_path("script");
    testkit::write_program(&script, "#!/bin/sh\nexec \"$@\"\n", 0o755);
    let stops = |wrappers: &[&str]| {
        let arguments = [wrappers, &[name, "--one", PLACEHOLDER]].concat();
        counted(Path::new("/usr/bin/env"), &arguments).0
    };
    // With LD_PRELOAD, which the count needs, the tracer stops a wrapper twice at each system call.
    let preloaded = stops(&["env", "LC_ALL=C.UTF-8", ENV]) - stops(&["env", "LC_ALL=C.UTF-8"]);
    assert!(preloaded > 100, "{preloaded}");
    let none = stops(&["env", "-u", "LD_PRELOAD", "LC_ALL=C.UTF-8"]);
    for wrapper in [&[ENV][..], &["/usr/bin/nice"], &[script.to_str().unwrap()], &[ENV, "/usr/bin/nice", ENV]]
    {
        let some = stops(&[&["env", "-u", "LD_PRELOAD", "LC_ALL=C.UTF-8"], wrapper].concat());
        assert!(some.abs_diff(none) <= 2, "{wrapper:?}: {some} {none}");
    }
}

#[test]
fn hundred_starts_at_once_each_deliver_their_own_value() {
    let program = TOOLS.path("dynamic");
    let name = program.to_str().unwrap();
    // The limit of an ordinary user on locked memory is 8 MiB for each process.
    let limited = ["sh", "-c", "ulimit -l 8192 2>/dev/null; exec \"$@\"", "sh"];
    let start = |number: usize| {
        let value = format!("value {number} ").repeat(500);
        let values = [value.as_bytes()];
        let direct = ["x", "--one", PLACEHOLDER];
        let through = ["env", name, "--one", PLACEHOLDER];
        let (first, arguments) = match number % 2 {
            0 => (program.as_path(), &direct[..]),
            _ => (Path::new("/usr/bin/env"), &through[..]),
        };
        let start = Start { arguments, through: &limited, ..Start::new(first, &values) };
        let mut command = start.command();
        if number.is_multiple_of(3) {
            as_nobody(&mut command);
        }
        let running = Running::start(&mut command).unwrap_or_else(|error| panic!("{number}: {error}"));
        assert!(running.report.all("argument").contains(&value.into_bytes()), "{number}");
        running
    };
    std::thread::scope(|scope| {
        let starting: Vec<_> = (0..100).map(|number| scope.spawn(move || start(number))).collect();
        // All hundred programs run at the same time.
        let running: Vec<_> = starting.into_iter().map(|thread| thread.join().unwrap()).collect();
        running.into_iter().for_each(Running::end);
    });
}

#[test]
fn start_locks_at_most_two_mebibytes_in_each_process() {
    if !is_root() || !static_agent_is_small() {
        return;
    }
    let value = [b'x'; 256];
    let names: Vec<String> = (0..16).map(|number| format!("credential-{number}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), value.as_slice())).collect();
    let credentials = directory(&files);
    // `ulimit -v` limits all memory of each process of the start to 2048 KiB, so no process can lock more.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 2048; exec \"$@\"", "sh"]).arg(static_host());
    command.args(["run", "--log-level=error", "--all", "--hypervisor=cloud-hypervisor", "--credentials"]);
    command.arg(credentials.path()).arg("--").arg(TOOLS.path("static")).arg("--kernel=k").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = Running::start(&mut command).unwrap();
    let group = u64::from(running.child.id());
    let tracer = processes()
        .into_iter()
        .find(|process| process.group == group && proc(process.pid, "cmdline").ends_with(b"detached\0"));
    let status = String::from_utf8(proc(tracer.unwrap().pid, "status")).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let locked: usize = locked.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!((1..=2048).contains(&locked), "{status}");
    running.end();
}

#[test]
fn tracer_starts_before_credentials_are_read() {
    let credentials = directory(&[("secret", b"CanaryCanary")]);
    let log = TOOLS.new_path("log");
    let mut command = Command::new("strace");
    command.args(["-qq", "-o"]).arg(&log).arg(testkit::program("smbios-creds-host"));
    command.args(["run", "--all", "--hypervisor=cloud-hypervisor", "--credentials"]).arg(credentials.path());
    // strace traces the launcher, so the start is refused, but only after the launcher has read the credentials.
    let output = command.arg("--").arg(TOOLS.path("static")).arg("--kernel=k").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("already traces this command"), "{text}");
    assert!(text.contains("smbios-creds-host: help: start the command without strace"), "{text}");
    let log = std::fs::read_to_string(log).unwrap();
    let at = |what: &dyn Fn(&str) -> bool| log.lines().position(what).unwrap();
    let starts = at(&|line| ["clone", "vfork"].iter().any(|call| line.starts_with(call)));
    let reads = at(&|line| line.starts_with("openat") && line.contains("\"secret\""));
    assert!(starts < reads, "{log}");
}
