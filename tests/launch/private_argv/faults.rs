//! Whatever happens in the middle of a start, the program runs with its arguments or not at all, and no process of the
//! start is left.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::launch::{NOBODY, Start, TOOLS, as_nobody, assert_nobody_is_left, proc, processes};
use testkit::memory::{Memory, count};
use testkit::{holds, is_root};

pub(crate) const CANARY: &[u8] = b"CanaryCanaryCanaryCanary";

/// Upper bound of the number of calls that the tracer makes before the program runs.
pub(crate) const CALLS: usize = 400;

/// A start with `fault.c`, which causes a fault in the tracer, or in the launcher.
pub(crate) struct Faulty {
    pub(crate) child: Child,
    ran: PathBuf,
    waiting: PathBuf,
}

impl Faulty {
    pub(crate) fn start(program: &str, fault: &str, at: usize) -> Self {
        // The stand-in's report of a value of this size fits into a pipe that nobody reads yet.
        let values = [[CANARY, &vec![b'x'; 20_000]].concat()];
        let (program, values) = (TOOLS.path(program), [values[0].as_slice()]);
        // The shell opens descriptor 7, which the program inherits and the tracer must not hold.
        let through = ["bash", "-c", r#"exec 7</dev/null; exec "$@""#, "bash"];
        let start = Start { through: &through, ..Start::new(&program, &values) };
        Self::spawn(as_nobody(&mut start.command()), fault, at)
    }

    /// Like [`Self::start`], with a private argument that names a file, which the traced program makes, and without a
    /// wrapper, which would only add calls.
    pub(crate) fn start_with_file(fault: &str, at: usize) -> Self {
        let program = TOOLS.path("static");
        let start = Start { arguments: &["name", "file=@"], ..Start::new(&program, &[CANARY]) };
        Self::spawn(as_nobody(&mut start.command()), fault, at)
    }

    /// Starts this launcher with `fault.c`, which causes the fault at call `at`.
    pub(crate) fn spawn(command: &mut Command, fault: &str, at: usize) -> Self {
        // Directories that every user can write to.
        let [ran, waiting] = ["ran", "waiting"].map(|what| {
            let folder = TOOLS.new_path(what);
            std::fs::create_dir(&folder).unwrap();
            std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
            folder.join("mark")
        });
        command.env("LD_PRELOAD", TOOLS.path("fault.so")).env("FAULT", fault).env("FAULT_AT", at.to_string());
        command.env("FAULT_MARK", &waiting).env("STAND_IN_MARK", &ran);
        let mut child = command.spawn().unwrap();
        drop(child.stdin.take());
        Self { child, ran, waiting }
    }

    /// Waits until the tracer waits at call `at`. Returns false if the start ends without this call.
    pub(crate) fn reached(&mut self) -> bool {
        loop {
            if self.waiting.exists() {
                return true;
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Returns the PID of the tracer, which must be waiting at its call.
    pub(crate) fn tracer(&self) -> u32 {
        let tracer = processes().into_iter().find(|process| {
            process.group == u64::from(self.child.id())
                && proc(process.pid, "cmdline").ends_with(b"detached\0")
        });
        tracer.unwrap().pid
    }

    /// Lets the tracer go on.
    pub(crate) fn release(&self) {
        _ = std::fs::remove_file(&self.waiting);
    }

    /// Waits for the end of the start. Asserts that the program had all of its arguments or did not run, and that no
    /// process is left. Returns the output, and whether the program ran.
    pub(crate) fn end(self) -> (Output, bool) {
        self.release();
        let group = self.child.id().into();
        let output = self.child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("CanaryCanary"), "{text}");
        let ran = self.ran.exists();
        let whole = holds(&output.stdout, CANARY);
        for placeholder in ["argument=@private", "argument=file=/proc/self/fd/only-the-hypervisor"] {
            assert!(!holds(&output.stdout, placeholder.as_bytes()), "{text}");
        }
        if output.status.code() == Some(42) {
            assert!(ran && whole, "{text}");
        }
        assert_nobody_is_left(group);
        (output, ran)
    }
}

#[test]
fn a_tracer_killed_at_any_call_never_lets_the_program_run_without_its_arguments() {
    let mut killed = 0;
    for at in 1..CALLS {
        let (output, ran) = Faulty::start("static", "kill", at).end();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            // The tracer makes fewer than `at` calls, so the start succeeded.
            Some(42) => break,
            // SIGKILL ended the tracer before it had attached.
            Some(1) => assert!(text.contains("ended early"), "{at}: {text}"),
            code => assert_eq!((code, output.status.signal()), (None, Some(9)), "{at}: {text}"),
        }
        // The program ran with its arguments: `end` has asserted that none of them is a placeholder.
        if ran {
            break;
        }
        killed += 1;
    }
    assert!((15..CALLS - 1).contains(&killed), "{killed}");
}

#[test]
fn a_tracer_that_fails_at_any_call_never_lets_the_program_run_without_its_arguments() {
    let mut failed = 0;
    for at in 1..CALLS {
        let (output, ran) = Faulty::start("static", "fail", at).end();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(42) => break,
            Some(1) => assert!(text.contains("cannot trace the hypervisor"), "{at}: {text}"),
            code => {
                assert_eq!((code, output.status.signal()), (None, Some(9)), "{at}: {text}");
                let clear = [
                    "killed the program before its first instruction",
                    "killed the program, which could no longer be traced",
                ];
                assert!(clear.iter().any(|clear| text.contains(clear)), "{at}: {text}");
                assert!(!(ran && text.contains(clear[0])), "{at}: {text}");
            }
        }
        assert_eq!(text.lines().count(), 1, "{at}: {text}");
        if ran {
            break;
        }
        failed += 1;
    }
    assert!((15..CALLS - 1).contains(&failed), "{failed}");
}

#[test]
fn tracer_that_fails_at_any_call_never_lets_the_program_run_without_its_files() {
    for fault in ["kill", "fail"] {
        let (mut ended, mut whole) = (0, 0);
        for at in 1..CALLS {
            let (output, ran) = Faulty::start_with_file(fault, at).end();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                // The start can do without call `at`, or the tracer makes fewer calls.
                Some(42) if whole < 3 => {
                    whole += 1;
                    continue;
                }
                Some(42) => break,
                Some(1) => assert!(!ran, "{at}: {text}"),
                code => assert_eq!((code, output.status.signal()), (None, Some(9)), "{at}: {text}"),
            }
            if ran {
                break;
            }
            ended += 1;
        }
        assert!((30..CALLS - 1).contains(&ended), "{fault}: {ended}");
    }
}

#[test]
fn sigterm_at_any_call_of_the_tracer_ends_a_start_with_files_as_a_sigterm() {
    let mut ended = 0;
    for at in 1..CALLS {
        let mut faulty = Faulty::start_with_file("wait", at);
        if !faulty.reached() {
            assert_eq!(faulty.end().0.status.code(), Some(42));
            break;
        }
        kill(faulty.pid(), Signal::SIGTERM).unwrap();
        let (output, ran) = faulty.end();
        assert_eq!((output.status.signal(), output.stderr.as_slice()), (Some(15), &b""[..]), "{at}");
        if ran {
            break;
        }
        ended += 1;
    }
    assert!((30..CALLS - 1).contains(&ended), "{ended}");
}

#[test]
fn stop_while_files_are_made_is_kept_until_it_is_continued() {
    for at in 1..CALLS {
        let mut faulty = Faulty::start_with_file("wait", at);
        if !faulty.reached() {
            assert_eq!(faulty.end().0.status.code(), Some(42));
            return;
        }
        kill(faulty.pid(), Signal::SIGSTOP).unwrap();
        faulty.release();
        std::thread::sleep(Duration::from_millis(20));
        let ran = faulty.ran.exists();
        kill(faulty.pid(), Signal::SIGCONT).unwrap();
        assert_eq!(faulty.end().0.status.code(), Some(42), "{at}");
        if ran {
            return;
        }
    }
    panic!("the tracer makes more than {CALLS} calls");
}

#[test]
fn a_launcher_that_fails_at_any_call_never_lets_the_program_run_without_its_arguments() {
    let (program, values) = (TOOLS.path("dynamic"), [CANARY]);
    let start = Start::new(&program, &values);
    let (mut started, mut failed) = (0, 0);
    for at in 1..CALLS {
        let mut command = start.command();
        command.env("FAULT_IN", "launcher");
        let (output, ran) = Faulty::spawn(as_nobody(&mut command), "fail", at).end();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            // The start can do without call `at`, or the launcher makes fewer calls.
            Some(42) => started += 1,
            Some(1) => {
                let clear = [
                    "cannot start the tracer",
                    "ended early",
                    "cannot trace the hypervisor",
                    "cannot execute",
                ];
                assert!(clear.iter().any(|clear| text.contains(clear)), "{at}: {text}");
                assert!(!ran, "{at}: {text}");
                failed += 1;
            }
            code => panic!("{at}: {code:?}: {text}"),
        }
    }
    assert!(started > 3 && failed > 5, "{started} {failed}");
}

#[test]
fn a_sigterm_at_any_call_of_the_tracer_ends_the_start_as_a_sigterm() {
    let mut ended = 0;
    for at in 1..CALLS {
        let mut faulty = Faulty::start("static", "wait", at);
        if !faulty.reached() {
            assert_eq!(faulty.end().0.status.code(), Some(42));
            break;
        }
        // The signal goes to the launcher only, or to its whole process group, as from systemd and from a terminal.
        if at % 2 == 0 { kill(faulty.pid(), Signal::SIGTERM) } else { killpg(faulty.pid(), Signal::SIGTERM) }
            .unwrap();
        let (output, ran) = faulty.end();
        assert_eq!(output.status.signal(), Some(15), "{at}: {output:?}");
        assert_eq!(output.stderr, b"", "{at}");
        if ran {
            break;
        }
        ended += 1;
    }
    assert!((15..CALLS - 1).contains(&ended), "{ended}");
}

#[test]
fn a_sigkill_at_any_call_of_the_tracer_leaves_nobody_behind() {
    for at in 1..CALLS {
        let mut faulty = Faulty::start("static", "wait", at);
        if !faulty.reached() {
            assert_eq!(faulty.end().0.status.code(), Some(42));
            return;
        }
        kill(faulty.pid(), Signal::SIGKILL).unwrap();
        let (output, ran) = faulty.end();
        assert_eq!((output.status.signal(), output.stderr.as_slice()), (Some(9), &b""[..]), "{at}");
        if ran {
            return;
        }
    }
    panic!("the tracer makes more than {CALLS} calls");
}

#[test]
fn a_launcher_may_be_looked_into_only_while_its_tracer_attaches() {
    // The owner of the launcher's files in /proc at each call: with owner `nobody`, that user may look into the
    // process; with owner root, it may not. The last owner is that of the program.
    let mut owners = Vec::new();
    for at in 1..CALLS {
        let mut faulty = Faulty::start("static", "wait", at);
        assert!(faulty.reached());
        owners.push(owner(faulty.child.id()));
        let executed = std::fs::read_link(format!("/proc/{}/exe", faulty.child.id())).unwrap();
        faulty.end();
        if executed == TOOLS.path("static") {
            break;
        }
    }
    owners.dedup();
    if is_root() {
        assert_eq!(owners, [NOBODY, 0, NOBODY]);
    }
}

/// Returns the owner of a process's files in /proc: root, unless the process is dumpable. Only the owner may read them.
fn owner(pid: u32) -> u32 {
    std::fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid()
}

#[test]
fn a_sigterm_at_any_time_leaves_nobody_behind() {
    let program = TOOLS.path("dynamic");
    let values = [CANARY];
    let start = Start::new(&program, &values);
    // The delays before SIGTERM grow from before the launcher's first instruction until the program has run 100 times,
    // however slow this machine is.
    let mut ran = 0;
    for turn in 0..3000_u64 {
        let mut child = start.command().spawn().unwrap();
        std::thread::sleep(Duration::from_micros(turn * 100));
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        let group = child.id().into();
        let input = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(input);
        assert_eq!(output.status.signal(), Some(15), "{turn}: {output:?}");
        assert_eq!(output.stderr, b"", "{turn}");
        assert_nobody_is_left(group);
        ran += usize::from(!output.stdout.is_empty());
        if ran == 100 {
            return;
        }
    }
    panic!("the program hardly ever ran");
}

#[test]
fn a_stop_during_the_start_is_kept_until_it_is_continued() {
    for at in 1..CALLS {
        let mut faulty = Faulty::start("static", "wait", at);
        if !faulty.reached() {
            assert_eq!(faulty.end().0.status.code(), Some(42));
            return;
        }
        kill(faulty.pid(), Signal::SIGSTOP).unwrap();
        faulty.release();
        // Other stops of a start have the state `t` too, so only a state that lasts shows the SIGSTOP.
        let mut seen = 0;
        while seen < 20 {
            let pid = faulty.child.id();
            let stopped = processes()
                .iter()
                .any(|process| process.pid == pid && process.state.eq_ignore_ascii_case("t"));
            seen = if stopped { seen + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(2));
        }
        let ran = faulty.ran.exists();
        kill(faulty.pid(), Signal::SIGCONT).unwrap();
        assert_eq!(faulty.end().0.status.code(), Some(42), "{at}");
        if ran {
            return;
        }
    }
    panic!("the tracer makes more than {CALLS} calls");
}

#[test]
fn a_launcher_that_may_be_looked_into_holds_no_value_and_its_tracer_may_not() {
    // With its first call, the tracer attaches to the launcher.
    let mut faulty = Faulty::start("dynamic", "wait", 1);
    assert!(faulty.reached());
    let launcher = faulty.child.id();
    let tracer = faulty.tracer();
    assert_eq!(owner(tracer), 0);
    let limits = String::from_utf8(proc(tracer, "limits")).unwrap();
    assert!(limits.contains("Max core file size        0                    0 "), "{limits}");
    if is_root() {
        assert_ne!(owner(launcher), 0);
        assert_eq!(occurrences(launcher), 0);
        assert!(occurrences(tracer) > 0, "this is how a value would be found");
    }
    // The tracer holds no descriptor that the launcher inherited.
    let descriptors = std::fs::read_dir(format!("/proc/{tracer}/fd"));
    if is_root() {
        assert_eq!(descriptors.unwrap().count(), 4, "three of its own, and the socket");
    }
    faulty.end();
}

/// How often the canary is in a process's writable memory.
fn occurrences(pid: u32) -> usize {
    count(&Memory::open(Pid::from_raw(pid.cast_signed())).writable(), CANARY)
}
