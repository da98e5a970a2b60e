//! Starts that are refused, and the messages about them.

use std::path::Path;

use smbios_creds::host::hypervisor::Argument;
use smbios_creds::host::launch::private_argv::PrivateArgvError;
use smbios_creds::host::launch::{Files, LaunchError, Private, execute};

use super::launch::{Running, Start, TOOLS, as_nobody, assert_nobody_is_left};
use testkit::is_root;

/// Returns stderr and the exit status of a start that must fail.
fn refused(start: &Start, nobody: bool) -> String {
    let mut command = start.command();
    let mark = TOOLS.new_path("mark");
    command.env("STAND_IN_MARK", &mark);
    if nobody {
        as_nobody(&mut command);
    }
    let mut child = command.spawn().unwrap();
    drop(child.stdin.take());
    let group = child.id().into();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!mark.exists(), "it ran: {text}");
    assert_ne!(output.status.code(), Some(42), "it ran: {text}");
    assert_eq!(output.stdout, b"", "{text}");
    assert!(!text.contains("CanaryCanary"), "{text}");
    assert_nobody_is_left(group);
    text + &output.status.to_string()
}

const VALUES: [&[u8]; 1] = [b"CanaryCanary"];

fn file(content: &[u8], mode: u32) -> std::path::PathBuf {
    let path = TOOLS.new_path("program");
    testkit::write_program(&path, content, mode);
    path
}

fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
    assert!(text.lines().count() <= 3, "what happened, what to do, and how it ended: {text}");
}

#[test]
fn what_is_no_program_of_this_machine_is_refused_by_name() {
    let mut other = std::fs::read(TOOLS.path("static")).unwrap();
    // EI_CLASS: 32 bits.
    other[4] = 1;
    for content in [&other[..], b"text", b""] {
        let program = file(content, 0o755);
        let text = refused(&Start::new(&program, &VALUES), false);
        assert_says(&text, &[program.to_str().unwrap(), "64-bit ELF program", "exit status: 1"]);
    }
}

#[test]
fn a_missing_program_is_named() {
    for program in ["/nonexistent/hypervisor", "nonexistent-hypervisor", "./nonexistent"] {
        for values in [&VALUES[..], &[]] {
            let text = refused(&Start::new(Path::new(program), values), false);
            assert_says(&text, &["cannot execute", program, "No such file", "exit status: 1"]);
        }
    }
    let text = refused(&Start::new(Path::new("/tmp"), &VALUES), false);
    assert_says(&text, &["cannot read /tmp", "directory", "exit status: 1"]);
}

#[test]
fn a_program_is_found_in_the_path() {
    let start = Start::new(Path::new("static"), &VALUES);
    let path = format!("/nonexistent:{}:/usr/bin", TOOLS.folder.path().display());
    let running = Running::start(start.command().env("PATH", path)).unwrap();
    assert_eq!(running.report.all("argument"), start.found());
    running.end();
}

#[test]
fn a_launcher_whose_execve_fails_is_let_go_and_says_so() {
    let program = file(&std::fs::read(TOOLS.path("static")).unwrap(), 0o644);
    for nobody in [false, true] {
        let text = refused(&Start::new(&program, &VALUES), nobody);
        assert_says(
            &text,
            &["cannot execute", program.to_str().unwrap(), "Permission denied", "exit status: 1"],
        );
    }
}

#[test]
fn a_program_that_gains_privileges_is_killed_before_it_runs_without_them() {
    if !is_root() {
        return;
    }
    let content = std::fs::read(TOOLS.path("dynamic")).unwrap();
    for mode in [0o4755, 0o2755] {
        let text = refused(&Start::new(&file(&content, mode), &VALUES), true);
        assert_says(
            &text,
            &["killed the program before its first instruction", "AmbientCapabilities=", "signal: 9"],
        );
    }
    let capable = file(&content, 0o755);
    // VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, CAP_NET_ADMIN permitted (linux/capability.h).
    let capability: Vec<u8> =
        [0x0200_0001_u32, 1 << 12, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&capable, "security.capability", &capability, flags).unwrap();
    let text = refused(&Start::new(&capable, &VALUES), true);
    assert_says(
        &text,
        &["killed the program before its first instruction", "file capabilities", "signal: 9"],
    );
    // With no_new_privs, and if root starts it, the program gains no privileges, so both starts succeed.
    let start = Start { through: &["setpriv", "--no-new-privs"], ..Start::new(&capable, &VALUES) };
    Running::start(as_nobody(&mut start.command())).unwrap().end();
    Running::start(&mut Start::new(&capable, &VALUES).command()).unwrap().end();
}

#[test]
fn a_program_that_cannot_be_read_is_refused_by_name() {
    let program = file(&std::fs::read(TOOLS.path("static")).unwrap(), 0o711);
    if is_root() {
        let text = refused(&Start::new(&program, &VALUES), true);
        assert_says(
            &text,
            &["cannot read", program.to_str().unwrap(), "Permission denied", "exit status: 1"],
        );
        Running::start(&mut Start::new(&program, &VALUES).command()).unwrap().end();
    }
}

#[test]
fn more_than_the_stack_takes_is_refused_with_both_sizes() {
    let program = TOOLS.path("static");
    let through = ["sh", "-c", r#"ulimit -s 1024; exec "$@""#, "sh"];
    let [fits, above] = [vec![b'x'; 262_143], vec![b'x'; 262_144]];
    let values = [fits.as_slice()];
    let start = Start { through: &through, ..Start::new(&program, &values) };
    Running::start(&mut start.command()).unwrap().end();
    let values = [above.as_slice()];
    let text = refused(&Start { through: &through, ..Start::new(&program, &values) }, false);
    assert_says(&text, &["262145 bytes", "at most 262144", "LimitSTACK=", "exit status: 1"]);
}

#[test]
fn a_nul_in_a_value_is_refused() {
    let values = [b"CanaryCanary\0more".as_slice()];
    let program = TOOLS.path("static");
    let text = refused(&Start::new(&program, &values), false);
    assert_says(&text, &["a private argument contains a NUL byte", "exit status: 1"]);
}

/// execve(2) on another thread ends the first thread, which is the traced one.
#[test]
fn another_thread_than_the_first_starts_nothing() {
    let program = TOOLS.path("static");
    let value = b"CanaryCanary".to_vec().into();
    let arguments = vec![Argument::Private(value)];
    // The test harness runs each test in its own thread, so this is not the first thread.
    let Err(error) = execute(
        &program,
        "static".into(),
        arguments,
        Private { placeholder: "@private", word: "oem_strings", files: Files::Inherited },
        None,
    );
    assert!(matches!(error, LaunchError::PrivateArgv(PrivateArgvError::NotMainThread)), "{error}");
}

#[test]
fn whoever_traces_the_start_already_is_named() {
    let program = TOOLS.path("static");
    let through = ["strace", "-f", "-qq", "-e", "trace=none", "-e", "signal=none"];
    let text = refused(&Start { through: &through, ..Start::new(&program, &VALUES) }, false);
    assert_says(
        &text,
        &["cannot trace the hypervisor", "already traces this command", "strace", "exit status: 1"],
    );
}

#[test]
fn the_tracer_is_not_for_people() {
    for arguments in
        [&["private-argv-tracer"][..], &["private-argv-tracer", "detached"], &["private-argv-tracer", "x"]]
    {
        let output = std::process::Command::new(TOOLS.path("launcher")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("only this program itself"), "{text}");
    }
}

/// This test cannot set `ptrace_scope`: a kernel may lack Yama, and the value applies to the whole machine.
/// `tests/machine` sets it.
#[test]
fn yama_as_it_is_on_this_machine_allows_a_start() {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_else(|_| "0".into());
    let program = TOOLS.path("dynamic");
    let start = Start::new(&program, &VALUES);
    match scope.trim() {
        "0" | "1" => Running::start(as_nobody(&mut start.command())).unwrap().end(),
        "2" => assert_says(&refused(&start, true), &["ptrace_scope is 2", "CAP_SYS_PTRACE"]),
        _ => assert_says(&refused(&start, true), &["ptrace_scope is 3", "next boot"]),
    }
}

#[test]
fn error_of_the_kernel_is_said_once() {
    let kernel = || std::io::Error::from_raw_os_error(2);
    let program = Path::new("/a/program").into();
    for error in
        [PrivateArgvError::Start(kernel()), PrivateArgvError::Unreadable { program, error: kernel() }]
    {
        // smbios-creds-host prints the message like this: first what is not started, then the errors that caused it.
        let error = anyhow::Error::new(LaunchError::from(error)).context("crosvm is not started");
        let text = format!("{error:#}");
        assert_eq!(text.matches("No such file or directory").count(), 1, "{text}");
    }
}
