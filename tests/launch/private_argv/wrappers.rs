//! Programs between the launcher and the hypervisor: the hypervisor gets every byte, and no other program gets one.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::launch::{PLACEHOLDER, Running, Start, TOOLS, as_nobody, assert_nobody_is_left, proc};
use super::{ARGUMENT_MAX, seen_in, value};
use testkit::{canary, holds};

/// Writes a shell script with this content, and returns its path.
fn script(content: &str) -> String {
    let path = TOOLS.new_path("script");
    testkit::write_program(&path, format!("#!/bin/sh\n{content}\n"), 0o755);
    path.to_str().unwrap().to_owned()
}

/// A program that sets a variable and executes its arguments.
static COMPILED: LazyLock<String> = LazyLock::new(|| {
    let (source, path) = (TOOLS.path("wrapper.c"), TOOLS.path("wrapper"));
    let text = "#include <stdlib.h>\n#include <unistd.h>\nint main(int c, char **v) { (void)c; \
                setenv(\"WRAPPED\", \"yes\", 1); return execv(v[1], v + 1) ? 99 : 0; }\n";
    std::fs::write(&source, text).unwrap();
    assert!(Command::new("cc").arg("-o").arg(&path).arg(&source).status().unwrap().success());
    path.to_str().unwrap().to_owned()
});

/// Returns wrappers: each executes a program in its own place or as a child.
fn wrappers() -> Vec<Vec<String>> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let by_exec = vec![script(r#"export WRAPPED=yes; exec "$@""#)];
    let as_child = vec![script("\"$@\"\nexit $?")];
    let compiled = vec![COMPILED.clone()];
    let nested =
        [words("/usr/bin/env WRAPPED=yes"), as_child.clone(), words("/usr/bin/nice -n 1"), compiled.clone()]
            .concat();
    let scripts = [by_exec.clone(), words("/usr/bin/env"), as_child.clone()].concat();
    vec![
        words("/usr/bin/env WRAPPED=yes"),
        words("/usr/bin/taskset 1"),
        words("/usr/bin/nice -n 1"),
        by_exec,
        as_child,
        compiled,
        nested,
        scripts,
    ]
}

/// The arguments of a wrapper that executes this program with one private argument.
fn through<'a>(wrapper: &'a [String], program: &'a str) -> Vec<&'a str> {
    let words = wrapper.iter().map(String::as_str);
    words.chain([program, "--one", PLACEHOLDER, "--last"]).collect()
}

/// Returns the output and the exit status of a start that fails.
fn fails(program: &Path, arguments: &[&str], value: &[u8], variable: (&str, &str)) -> Output {
    let values = [value];
    let start = Start { arguments, ..Start::new(program, &values) };
    let mut child = start.command().env(variable.0, variable.1).spawn().unwrap();
    drop(child.stdin.take());
    let group = child.id().into();
    let output = child.wait_with_output().unwrap();
    assert_nobody_is_left(group);
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn hypervisor_behind_any_wrapper_gets_every_byte() {
    let canary = canary();
    for wrapper in wrappers() {
        for (program, size, nobody) in
            [("dynamic", 1, true), ("static", 90_000, false), ("static-pie", ARGUMENT_MAX, true)]
        {
            let hypervisor = TOOLS.path(program);
            let hypervisor = hypervisor.to_str().unwrap();
            let value = value(&canary, size);
            let (arguments, values) = (through(&wrapper, hypervisor), [value.as_slice()]);
            let start = Start { arguments: &arguments, ..Start::new(Path::new(&wrapper[0]), &values) };
            let mut command = start.command();
            if nobody {
                as_nobody(&mut command);
            }
            let running = Running::start(&mut command).unwrap_or_else(|error| panic!("{wrapper:?}: {error}"));
            let found = running.report.all("argument");
            assert!(found == [hypervisor.as_bytes(), b"--one", &value, b"--last"], "{wrapper:?}");
            assert_eq!(
                running.report.text("cmdline"),
                format!("{hypervisor} --one {PLACEHOLDER} --last "),
                "{wrapper:?}"
            );
            assert_eq!(seen_in(&canary), [""; 0], "{wrapper:?}");
            running.end_of(42);
        }
    }
}

/// Returns the arguments of a wrapper that executes this program with one private argument and two files.
fn with_files<'a>(wrapper: &'a [String], program: &'a str) -> Vec<&'a str> {
    let words = wrapper.iter().map(String::as_str);
    words.chain([program, "file=@", "--one", PLACEHOLDER, "name=x,file=@"]).collect()
}

#[test]
fn hypervisor_behind_any_wrapper_has_its_files_at_high_descriptors() {
    let canary = canary();
    let contents = [value(&canary, 300_000), b"A text".to_vec(), Vec::new()];
    for wrapper in wrappers() {
        for (program, nobody) in [("dynamic", true), ("static", false), ("static-pie", true)] {
            let hypervisor = TOOLS.path(program);
            let hypervisor = hypervisor.to_str().unwrap();
            let arguments = with_files(&wrapper, hypervisor);
            let values = contents.each_ref().map(Vec::as_slice);
            let start = Start { arguments: &arguments, ..Start::new(Path::new(&wrapper[0]), &values[..2]) };
            let start = Start { values: &values, ..start };
            let mut command = start.command();
            if nobody {
                as_nobody(&mut command);
            }
            let running = Running::start(&mut command).unwrap_or_else(|error| panic!("{wrapper:?}: {error}"));
            let found = running.report.all("argument");
            let expected = ["file=/proc/self/fd/64", "--one", "A text", "name=x,file=/proc/self/fd/65"];
            assert_eq!(found[1..], expected.map(|text| text.as_bytes().to_vec()), "{wrapper:?}");
            let pid = running.report.number("pid");
            assert!(proc(pid, "fd/64") == contents[0] && proc(pid, "fd/65") == contents[2], "{wrapper:?}");
            // Except for 64 and 65, the program has the descriptors of a start without private arguments.
            let plain = Running::start(&mut Start::new(&TOOLS.path(program), &[]).command()).unwrap();
            let mut descriptors = plain.report.all("descriptor");
            descriptors.extend([b"64".to_vec(), b"65".to_vec()]);
            let mut found = running.report.all("descriptor");
            descriptors.sort();
            found.sort();
            assert_eq!(found, descriptors, "{wrapper:?}");
            plain.end();
            assert_eq!(seen_in(&canary), [""; 0], "{wrapper:?}");
            running.end_of(42);
        }
    }
}

#[test]
fn registers_are_those_of_any_program_after_files_were_made() {
    // Wrong registers would change the report of the stand-in, or end it with another exit code.
    let program = TOOLS.path("static");
    let values = [b"a value".as_slice(), b"a file"];
    let start = Start { arguments: &["name", PLACEHOLDER, "file=@"], ..Start::new(&program, &values) };
    let running = Running::start(&mut start.command()).unwrap();
    let plain = Running::start(&mut Start::new(&program, &[]).command()).unwrap();
    for name in ["alignment", "terminator", "execfn", "platform", "secure", "page", "deep", "folder"] {
        assert_eq!(running.report.text(name), plain.report.text(name), "{name}");
    }
    assert_eq!(running.report.all("variable"), plain.report.all("variable"));
    let status = ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "Seccomp", "NoNewPrivs", "Threads"];
    assert_eq!(running.report.status(&status), plain.report.status(&status));
    plain.end();
    running.end();
}

#[test]
fn exit_code_and_helpers_of_a_script_are_its_own() {
    let program = TOOLS.path("dynamic");
    let program = program.to_str().unwrap();
    let helpers =
        script("sleep 1000 & helper=$!\n\"$1\" --help\n\"$@\"\ncode=$?\nkill $helper\nexit $((code - 33))");
    let (wrapper, values) = ([helpers], [b"a value".as_slice()]);
    let arguments = through(&wrapper, program);
    let start = Start { arguments: &arguments, ..Start::new(Path::new(&wrapper[0]), &values) };
    Running::start(&mut start.command()).unwrap().end_of(9);
}

#[test]
fn start_that_never_executes_the_hypervisor_fails_and_names_what_ran() {
    let ends = |content: &str, code: i32, names: &[&str]| {
        let script = script(content);
        let output = fails(Path::new(&script), &[&script, PLACEHOLDER], b"CanaryCanary", ("X", "x"));
        let text = text(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("No program has received the secrets"), "{text}");
        for name in names {
            assert!(text.contains(name), "{name}: {text}");
        }
    };
    ends("exit 0", 1, &["ended with exit code 0", "'oem_strings'"]);
    ends("exit 7", 7, &["ended with exit code 7"]);
    ends("exec /usr/bin/env true \"$@\"", 1, &["/usr/bin/env", "/usr/bin/true"]);
    // A hypervisor that is executed without the private argument does not count as executed.
    let program = TOOLS.path("static");
    ends(&format!("exec {} --help", program.display()), 1, &[program.to_str().unwrap()]);
    let output = fails(Path::new("/usr/bin/env"), &["env", "true", PLACEHOLDER], b"v", ("X", "x"));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("/usr/bin/env, /usr/bin/true"), "{}", text(&output));
}

#[test]
fn program_that_its_dynamic_linker_ends_with_success_fails_the_start() {
    // As for ldd(1), the dynamic linker lists the libraries, and exits with 0 before the program begins.
    let arguments = ["env", "LD_TRACE_LOADED_OBJECTS=1", "env", PLACEHOLDER];
    let output = fails(Path::new("/usr/bin/env"), &arguments, b"CanaryCanary", ("X", "x"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("libc.so"), "{output:?}");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("ended with exit code 0"), "{}", text(&output));
}

#[test]
fn fault_of_a_wrapper_fails_the_start_with_a_message() {
    // SIGTRAP is also the signal of a breakpoint of the tracer.
    for (name, number) in [("SEGV", 11), ("TRAP", 5)] {
        let script = script(&format!("kill -{name} $$"));
        let output = fails(Path::new(&script), &[&script, PLACEHOLDER], b"CanaryCanary", ("X", "x"));
        assert_eq!(output.status.signal(), Some(number));
        assert!(text(&output).contains(&format!("was ended by signal {number}")), "{}", text(&output));
    }
}

/// Returns the PIDs of all processes.
fn pids() -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Ends the scans when it is dropped, also after a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Searches all processes for the canary while `done` runs. Returns its result, the number of scans, and the files in
/// /proc with the canary. Older processes cannot be part of a start, so only every hundredth scan includes them.
fn watched<T>(canary: &[u8], done: impl FnOnce(&AtomicUsize) -> T) -> (T, usize, Vec<String>) {
    let (ends, scans, before) = (AtomicBool::new(false), AtomicUsize::new(0), pids());
    let canary = std::str::from_utf8(canary).unwrap();
    std::thread::scope(|scope| {
        let guard = Ends(&ends);
        let scan = || {
            let mut seen = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                let all = scans.fetch_add(1, Ordering::Relaxed).is_multiple_of(100);
                for pid in pids().into_iter().filter(|pid| all || !before.contains(pid)) {
                    for name in ["cmdline", "environ"] {
                        if String::from_utf8_lossy(&proc(pid, name)).contains(canary) {
                            seen.push(format!("/proc/{pid}/{name}"));
                        }
                    }
                }
            }
            seen
        };
        let scanners = [scope.spawn(scan), scope.spawn(scan)];
        let result = done(&scans);
        drop(guard);
        let seen = scanners.map(|scanner| scanner.join().unwrap()).concat();
        (result, scans.load(Ordering::Relaxed), seen)
    })
}

#[test]
fn hypervisor_that_executes_itself_again_is_killed_and_shows_nothing() {
    let canary = canary();
    let value = value(&canary, 90_000);
    for program in ["dynamic", "static"] {
        let program = TOOLS.path(program);
        // The hypervisor executes itself in its own place, or as a child, or a child that has the argument in a
        // variable.
        for again in ["itself", "child", "variable"] {
            for wrapper in [None, Some("/usr/bin/env")] {
                let name = program.to_str().unwrap();
                let direct = ["x", "--one", PLACEHOLDER];
                let through = ["env", name, "--one", PLACEHOLDER];
                let (first, arguments) =
                    wrapper.map_or((program.as_path(), &direct[..]), |env| (Path::new(env), &through[..]));
                let start = || fails(first, arguments, &value, ("STAND_IN_AGAIN", again));
                let (output, _, seen) = watched(&canary, |_| start());
                let text = text(&output);
                assert_eq!(output.status.signal(), Some(9), "{again}: {text}");
                assert_eq!(output.stdout, b"", "{again}");
                assert!(
                    text.contains(&format!("{name} received the secrets, and was killed")),
                    "{again}: {text}"
                );
                assert_eq!(seen, [""; 0], "{again}");
            }
        }
    }
}

#[test]
fn hypervisor_may_execute_a_helper_that_gets_no_value() {
    let program = TOOLS.path("dynamic");
    let values = [b"CanaryCanaryCanaryCanaryCanary".as_slice()];
    let start = Start::new(&program, &values);
    let running = Running::start(start.command().env("STAND_IN_AGAIN", "helper")).unwrap();
    assert_eq!(running.report.all("argument"), start.found());
    running.end();
}

#[test]
fn ten_thousand_scans_of_a_hundred_starts_find_no_canary() {
    let canary = canary();
    let value = value(&canary, 20_000);
    let wrappers = wrappers();
    let program = TOOLS.path("dynamic");
    let start = |turn: usize| {
        let wrapper = &wrappers[turn % wrappers.len()];
        let (arguments, values) = (through(wrapper, program.to_str().unwrap()), [value.as_slice()]);
        let start = Start { arguments: &arguments, ..Start::new(Path::new(&wrapper[0]), &values) };
        Running::start(&mut start.command())
            .unwrap_or_else(|error| panic!("{wrapper:?}: {error}"))
            .end_of(42);
    };
    let (starts, scans, seen) = watched(&canary, |scans| {
        let mut starts = 0;
        while starts < 100 || scans.load(Ordering::Relaxed) < 10_000 {
            start(starts);
            starts += 1;
        }
        starts
    });
    assert!(starts >= 100 && scans >= 10_000, "{starts} {scans}");
    assert_eq!(seen, [""; 0]);
}

#[test]
fn stopped_script_stays_stopped_until_it_is_continued() {
    let program = TOOLS.path("dynamic");
    let mark = TOOLS.new_path("mark");
    let stops = script(": > \"$STAND_IN_MARK\"\nkill -STOP $$\nexec \"$@\"");
    let (wrapper, values) = ([stops], [b"a value".as_slice()]);
    let arguments = through(&wrapper, program.to_str().unwrap());
    let start = Start { arguments: &arguments, ..Start::new(Path::new(&wrapper[0]), &values) };
    let mut command = start.command();
    let mut child = command.env("STAND_IN_MARK", &mark).spawn().unwrap();
    drop(child.stdin.take());
    while !mark.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it waits for SIGCONT");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGCONT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(42));
    assert!(holds(&output.stdout, b"argument=a value\0"));
}

#[test]
fn signals_reach_a_wrapper_and_the_hypervisor_that_is_traced() {
    let program = TOOLS.path("dynamic");
    let script = script("trap 'exit 5' TERM\nkill -TERM $$\nexec \"$@\"");
    let output = fails(Path::new(&script), &[&script, PLACEHOLDER], b"CanaryCanary", ("X", "x"));
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    // RTMIN, a real-time signal without a name of its own, reaches the hypervisor too.
    let values = [b"CanaryCanary".as_slice()];
    let start = Start::new(&program, &values);
    for (signal, number) in [("TERM", 15), ("RTMIN", 34)] {
        let mut child = start.command().env("STAND_IN_SIGNAL", number.to_string()).spawn().unwrap();
        drop(child.stdin.take());
        let group = child.id().into();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(number), "{signal}: {output:?}");
        assert_eq!(output.stderr, b"", "{signal}");
        assert_nobody_is_left(group);
    }
    let rt = self::script("kill -34 $$\nexec \"$@\"");
    let output = fails(Path::new(&rt), &[&rt, PLACEHOLDER], b"CanaryCanary", ("X", "x"));
    assert_eq!(output.status.signal(), Some(9), "{}", text(&output));
    assert!(text(&output).contains("real-time signal"), "{}", text(&output));
}

#[test]
fn hypervisor_that_has_made_its_machine_is_traced_no_more() {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        eprintln!("skipped: /dev/kvm cannot be opened");
        return;
    }
    let program = TOOLS.path("dynamic");
    let values = [b"CanaryCanary".as_slice()];
    let start = Start::new(&program, &values);
    let running = Running::start(start.command().env("STAND_IN_KVM", "1")).unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", running.child.id()));
    let traced = || !std::fs::read_to_string(&status).unwrap().contains("\nTracerPid:\t0\n");
    for _ in 0..400 {
        if !traced() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!traced());
    running.end();
    // A hypervisor that has made no virtual machine stays traced. `hypervisor_that_executes_itself_again…` shows that
    // it is killed if it executes itself.
    let running = Running::start(&mut start.command()).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    assert!(!status.contains("\nTracerPid:\t0\n"), "{status}");
    running.end();
}
