//! What the seccomp filter of an import refuses under every init. A program that sets the same filter tries the
//! calls, without a virtual machine.

use std::process::{Command, Stdio};

use smbios_creds::cli::agent::filter;
use testkit::syscalls::{filter_file, tried, trying};
use testkit::{agent, code, program, recording, run, stderr, stdout, table};

/// Returns what the program of `refused.c` prints for these calls, with the filter and without it.
fn said(which: &str) -> [String; 2] {
    let (program, filter) =
        (trying(), filter_file(filter::PROGRAM.iter().map(|at| (at.code, at.jt, at.jf, at.k))));
    [Some(&filter), None].map(|filter| {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(&program);
        command.arg(which).current_dir(directory.path()).env_remove("FILTER");
        command.envs(filter.map(|path| ("FILTER", path)));
        let output = run(&mut command);
        assert_eq!(stderr(&output), "");
        stdout(&output)
    })
}

/// Returns whether a call ends with the error with which the filter refuses it.
fn is_refused(call: &str, with: &str) -> bool {
    let expected = match call {
        "inet" | "inet6" | "unix" | "netlink" => "EAFNOSUPPORT",
        "openat2" | "io_uring_setup" => "ENOSYS",
        _ => "EPERM",
    };
    with == expected
}

/// Calls that the filter allows: calls without set-user-ID or set-group-ID bits, calls that create nothing, and a
/// vsock socket.
const ALLOWED: [&str; 6] =
    ["fchmod_600", "mkdirat_700", "openat_existing", "openat_directory", "open_existing", "vsock"];

#[test]
fn import_cannot_make_a_set_id_file_nor_reach_a_network() {
    let [with, without] = said("own");
    let (with, without) = (tried(&with), tried(&without));
    assert!(with.len() == without.len() && with.len() > 20, "{with:?}");
    for (&(call, with), &(_, without)) in with.iter().zip(&without) {
        if ALLOWED.contains(&call) {
            assert_eq!(with, without, "{call}");
        } else {
            assert!(is_refused(call, with), "{call} ends with {with}");
            // A call that fails without the filter too would show nothing. A kernel may lack some of the calls.
            let is_there = without == "done" || ["fchmodat2", "io_uring_setup", "openat2"].contains(&call);
            assert!(is_there, "without the filter, {call} ends with {without}");
        }
    }
}

/// Each call has a second number in another architecture's table.
#[test]
fn import_cannot_call_by_numbers_of_another_architecture() {
    assert_ne!(said("i386")[0], "i386 done\n");
    assert_eq!(said("x32")[0], "x32 EPERM\n");
}

/// Returns strace's log of the agent with this verb, which has the agent's system calls in their order.
fn log_of(verb: &[&str]) -> String {
    let source = recording(&table(&[b"io.systemd.credential:a=value"]));
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o"])
        .arg(&log)
        .arg(program("smbios-creds"))
        .arg(verb[0])
        .arg("--from")
        .arg(source.path());
    strace.arg("--into").arg(directory.path().join("into")).args(&verb[1..]);
    let output = strace.stdin(Stdio::null()).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    std::fs::read_to_string(log).unwrap()
}

#[test]
fn import_sets_its_filter_before_it_reads_the_table() {
    let log = log_of(&["import"]);
    let filter = log.find("seccomp(SECCOMP_SET_MODE_FILTER, 0, ").unwrap_or_else(|| panic!("{log}"));
    let line = log[filter..].lines().next().unwrap();
    assert!(line.ends_with("= 0"), "{line}");
    let read = log.find("/DMI\"").unwrap_or_else(|| panic!("{log}"));
    assert!(filter < read, "{log}");
}

/// A program that inherited the filter would keep it until the program ends.
#[test]
fn program_of_exec_inherits_no_filter() {
    let log = log_of(&["exec", "--", "/bin/true"]);
    assert!(log.contains("execve(\"/bin/true\"") && !log.contains("SECCOMP_SET_MODE_FILTER"), "{log}");
    let source = recording(&table(&[b"io.systemd.credential:a=value"]));
    let directory = tempfile::tempdir().unwrap();
    let mut exec = agent(&["exec", "--from"]);
    exec.arg(source.path()).arg("--into").arg(directory.path().join("into"));
    let status = stdout(&run(exec.args(["--", "grep", "-E", "^(NoNewPrivs|Seccomp):", "/proc/self/status"])));
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own: Vec<&str> =
        own.lines().filter(|line| line.starts_with("NoNewPrivs:") || line.starts_with("Seccomp:")).collect();
    assert_eq!(status.lines().collect::<Vec<_>>(), own);
}

/// An older kernel, or a kernel without seccomp, answers seccomp(2) with `EINVAL`.
#[test]
fn import_goes_on_if_the_kernel_has_no_filters() {
    let source = recording(&table(&[b"io.systemd.credential:a=value"]));
    let directory = tempfile::tempdir().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o", "/dev/null", "-e", "inject=seccomp:error=EINVAL"]).arg(program("smbios-creds"));
    strace.args(["import", "--log-level=debug", "--from"]).arg(source.path()).arg("--into");
    let output = run(strace.arg(directory.path().join("into")).stdin(Stdio::null()));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("cannot set the system call filter: Invalid argument"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read(directory.path().join("into/a")).unwrap(), b"value");
}
