//! What keeps values inside a process that fails: no core dump, no swap, and no value in the message of a panic.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use smbios_creds::cli::{hygiene, log};
use testkit::{canary, holds, is_root, recording, stderr, table};
use tracing::level_filters::LevelFilter;

/// Command lines of both programs, with values for them to process.
struct Programs {
    _source: tempfile::TempDir,
    _credentials: tempfile::TempDir,
    /// The directory of the stand-in for QEMU.
    _stand_in: tempfile::TempDir,
    into: tempfile::TempDir,
    lines: Vec<Vec<PathBuf>>,
}

impl Programs {
    fn new(canary: &[u8]) -> Self {
        let source = recording(&table(&[&[b"io.systemd.credential:a=", canary].concat()]));
        let credentials = testkit::host::directory(&[("a", canary)]);
        let (stand_in, qemu) = testkit::host::program_with("/bin/true", testkit::host::QEMU_WORD);
        let into = tempfile::tempdir().unwrap();
        let agent = Path::new(env!("CARGO_BIN_EXE_smbios-creds"));
        let host = Path::new(env!("CARGO_BIN_EXE_smbios-creds-host"));
        let target = into.path().join("creds");
        let line = |words: &[&Path]| words.iter().map(|word| word.to_path_buf()).collect::<Vec<_>>();
        let path = Path::new;
        let exec = [agent, path("exec"), path("--from"), source.path(), path("--into"), &target];
        let run = [host, path("run"), path("--all"), path("--credentials"), credentials.path()];
        let run = [&run[..], &[path("--hypervisor=qemu"), path("--"), &qemu]].concat();
        let lines = vec![line(&[&exec[..], &[path("--"), path("/bin/true")]].concat()), line(&run)];
        Self { _source: source, _credentials: credentials, _stand_in: stand_in, into, lines }
    }
}

/// Runs a program that is sent a signal at a system call and at all later calls of this kind. Returns the core dump
/// that the program leaves.
fn core_of(line: &[PathBuf], signal: &str, (call, nth): &(String, usize)) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        r#"ulimit -c unlimited && exec "$@""#,
        "sh",
        "strace",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
    ]);
    command.arg(format!("inject={call}:signal={signal}:when={nth}+")).args(line).current_dir(folder.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), None, "{call} {nth}: it has to die: {output:?}");
    let core = std::fs::read_dir(folder.path()).unwrap().next()?;
    Some(std::fs::read(core.unwrap().path()).unwrap())
}

/// Returns the system calls that a program makes before it is protected, and those that it makes from then until it
/// executes another program. Each call has its number among the calls of its kind.
fn calls(line: &[PathBuf]) -> [Vec<(String, usize)>; 2] {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("strace");
    command.args(["-qq", "-o"]).arg(trace.path()).args(line).output().unwrap();
    let mut calls = [Vec::new(), Vec::new()];
    let (mut numbers, mut protected) = (BTreeMap::new(), false);
    for line in std::fs::read_to_string(trace.path()).unwrap().lines() {
        let Some((call, _)) = line.split_once('(').filter(|(call, _)| !call.contains([' ', '-', '+'])) else {
            continue;
        };
        let number = numbers.entry(call.to_owned()).or_insert(0);
        *number += 1;
        calls[usize::from(protected)].push((call.to_owned(), *number));
        protected |= line.starts_with("prctl(PR_SET_DUMPABLE, ");
        if (call, *number) == ("execve", 2) {
            break;
        }
    }
    calls
}

#[test]
fn no_core_is_dumped_wherever_a_signal_strikes() {
    let canary = canary();
    let programs = Programs::new(&canary);
    // Whether this machine writes core dumps into the current directory at all.
    let dumps = core_of(&["cat".into(), "/proc/version".into()], "ABRT", &("close".into(), 1)).is_some();
    for line in &programs.lines {
        let [before, after] = calls(line);
        assert!(after.len() > 30, "{}", after.len());
        // This loop leaves out the last call: the execve(2) before which the program restores its core limit. If this
        // execve(2) succeeded, the signal would hit the program that was started instead. So below, strace makes this
        // execve(2) fail.
        for at in after.iter().rev().skip(1).step_by(4) {
            assert_eq!(core_of(line, "ABRT", at).map(|core| core.len()), None, "{line:?}: {at:?}");
            _ = std::fs::remove_dir_all(programs.into.path().join("creds"));
        }
        assert_eq!(after.last(), Some(&("execve".to_owned(), 2)));
        // strace does not count the execve(2) by which it starts the program.
        let last = ("execve".to_owned(), 1);
        assert_eq!(core_of(line, "ABRT:error=EACCES", &last).map(|core| core.len()), None, "{line:?}");
        // Here, strace sends SIGSEGV at each call of one kind. The Rust runtime's own handler ignores the first SIGSEGV
        // that no memory fault has caused. So only a kind of which there are two calls is tried.
        for call in ["openat", "openat2", "read", "fstat", "statx"] {
            let mut made = after.iter().filter(|(made, _)| made == call);
            let (Some(at), Some(_)) = (made.next(), made.next()) else { continue };
            assert_eq!(core_of(line, "SEGV", at).map(|core| core.len()), None, "{line:?}: {call}");
            _ = std::fs::remove_dir_all(programs.into.path().join("creds"));
        }
        // Before the program is protected, it has no value to protect. Its core dump then shows that the test would
        // find one.
        let core = core_of(line, "ABRT", &before[before.len() - 2]);
        assert_eq!(core.is_some(), dumps, "{line:?}");
        assert!(!core.is_some_and(|core| holds(&core, &canary)));
    }
    if !dumps {
        // On this machine, core dumps go elsewhere. leaks.rs and host_leaks.rs test what the kernel asks before it
        // dumps a core.
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        assert!(pattern.starts_with(['|', '/', '@']) || pattern.trim().is_empty(), "{pattern}");
    }
}

/// The agent, linked as the tests' linker does it, and as a static program by the linker of its packages.
fn agents() -> [PathBuf; 2] {
    [env!("CARGO_BIN_EXE_smbios-creds").into(), testkit::static_agent()]
}

/// Starts the agent so that it waits while it holds a value of 200,000 bytes.
fn waiting(program: &Path, limit: Option<&str>, options: &[&str]) -> (Child, tempfile::TempDir) {
    let value = [b"io.systemd.credential:big=".as_slice(), &vec![b'x'; 200_000]].concat();
    let source = recording(&table(&[&value]));
    // The agent is copied to a directory in which the user `nobody` can execute it.
    let agent = source.path().join("agent");
    testkit::write_program(&agent, std::fs::read(program).unwrap(), 0o755);
    let script = limit.map_or_else(String::new, |limit| format!("ulimit -l {limit} && "));
    // Root sets the limit, and the agent runs as another user, for whom the limit holds.
    let change = if is_root() && limit.is_some() {
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups"
    } else {
        "exec"
    };
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{script}{change} \"$@\""), "sh"]).arg(agent).args(["cat", "big"]);
    command.args(options).arg("--from").arg(source.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    // A pipe that nobody reads holds 64 KiB, so the agent waits when it writes more.
    while !std::fs::read_to_string(&stat).unwrap().contains("(agent) S ") {
        assert!(child.try_wait().unwrap().is_none(), "{:?}", child.wait_with_output().map(|o| stderr(&o)));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    (child, source)
}

/// Returns whether this limit, in KiB, is not above the hard limit, which only `CAP_SYS_RESOURCE` can raise.
fn may_set(limit: &str) -> bool {
    let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
    limit.parse().map_or(hard == RLIM_INFINITY, |limit: u64| limit * 1024 <= hard)
}

/// Returns the mappings of a process that are locked, and those that are not.
fn mappings(pid: u32) -> [Vec<String>; 2] {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut mapping, mut found) = ("", [Vec::new(), Vec::new()]);
    for line in smaps.lines() {
        match line.strip_prefix("VmFlags:") {
            Some(flags) => {
                let locked = flags.split(' ').any(|flag| flag == "lo");
                found[usize::from(!locked)].push(mapping.to_owned());
            }
            None if line.split(' ').next().is_some_and(|range| range.contains('-')) => mapping = line,
            None => {}
        }
    }
    found
}

/// Returns the writable mappings that are locked, and those that may be swapped.
fn writable(pid: u32) -> [Vec<String>; 2] {
    mappings(pid).map(|found| found.into_iter().filter(|mapping| mapping.contains(" rw")).collect())
}

/// Reads the rest of the agent's output, and waits for its end.
fn end(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 200_000), "{}", stderr(&output));
    output
}

#[test]
fn every_page_that_can_be_written_to_is_locked_where_the_limit_allows() {
    if !is_root() {
        return;
    }
    // The agent may lock its memory by the capability, without a limit, or with the lowest limit that is high enough.
    for limit in [None, Some("unlimited"), Some("16384")] {
        if limit.is_some_and(|limit| !may_set(limit)) {
            continue;
        }
        for agent in agents() {
            let (child, _source) = waiting(&agent, limit, &[]);
            let [locked, swappable] = writable(child.id());
            assert!(locked.iter().any(|mapping| mapping.contains("[stack]")), "{limit:?}: {locked:?}");
            assert_eq!(swappable, [""; 0], "{agent:?} {limit:?}");
            assert_eq!(stderr(&end(child)), "", "{limit:?}");
        }
    }
}

/// To lock and to unlock the pages of the code would take a tenth of an import's time.
#[test]
fn code_of_the_agent_is_not_locked() {
    if !is_root() {
        return;
    }
    for agent in agents() {
        let (child, _source) = waiting(&agent, None, &[]);
        let [locked, not] = mappings(child.id());
        let code = |mapping: &&String| mapping.contains(" r-xp ") && mapping.ends_with("/agent");
        assert_eq!(locked.iter().find(code), None, "{agent:?}");
        assert_eq!(not.iter().filter(code).count(), 1, "{agent:?}: {not:?}");
        end(child);
    }
}

#[test]
fn under_a_small_limit_nothing_is_locked_and_everything_works_and_says_so() {
    for limit in ["0", "64", "8191", "16383"].into_iter().filter(|limit| may_set(limit)) {
        let agent = Path::new(env!("CARGO_BIN_EXE_smbios-creds"));
        let (child, _source) = waiting(agent, Some(limit), &["--log-level=debug"]);
        if is_root() {
            let [locked, swappable] = mappings(child.id());
            assert_eq!(locked, [""; 0], "{limit}");
            assert!(!swappable.is_empty(), "this is how they are found");
        }
        let message = stderr(&end(child));
        assert!(
            message.contains("debug: memory is not locked: locking needs CAP_IPC_LOCK"),
            "{limit}: {message}"
        );
    }
}

/// The environment variable that makes the test's own program the process that panics.
const PANICS: &str = "SMBIOS_CREDS_TEST_PANICS";

#[test]
fn a_panic_shows_its_place_and_not_its_message() {
    if let Ok(level) = std::env::var(PANICS) {
        // Both programs begin with these calls.
        log::start("smbios-creds", level.parse::<LevelFilter>().unwrap());
        _ = hygiene::protect(hygiene::Then::Ends, hygiene::lock_memory(None));
        panic!("{}", std::env::var("CANARY").unwrap());
    }
    let canary = String::from_utf8(canary()).unwrap();
    for level in ["off", "error", "trace"] {
        for backtrace in ["0", "1", "full"] {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([
                "--exact",
                "protection::a_panic_shows_its_place_and_not_its_message",
                "--nocapture",
            ]);
            command.env(PANICS, level).env("CANARY", &canary).env("RUST_BACKTRACE", backtrace);
            let output = command.env_remove("JOURNAL_STREAM").output().unwrap();
            assert!(!output.status.success());
            assert!(!holds(&output.stdout, canary.as_bytes()), "{level} {backtrace}");
            assert!(!holds(&output.stderr, canary.as_bytes()), "{level} {backtrace}: {}", stderr(&output));
            let told = stderr(&output)
                .contains("smbios-creds: error: internal error at tests/promises/protection.rs:");
            assert_eq!(told, level != "off", "{}", stderr(&output));
        }
    }
}
