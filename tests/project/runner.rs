//! How `./tests/run` runs test programs, with scripts in place of these programs.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use testkit::runner::{Program, run};

/// Writes a script that answers like a test program of libtest. `body` is what each test does, and `$1` is the name
/// of the test.
fn program(directory: &Path, name: &str, tests: &[&str], body: &str) -> Program {
    let list = format!("printf '%s: test\\n' {};", tests.join(" "));
    let script = format!(
        "#!/bin/sh
        [ \"$1\" != --list ] || {{ {list} exit 0; }}
        echo; echo 'running 1 test'
        {body}
        echo; echo 'test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.1s'"
    );
    let path = directory.join(name);
    testkit::write_program(&path, script, 0o755);
    Program { name: name.to_owned(), command: vec![path.to_str().unwrap().to_owned()] }
}

const FAILS: &str = "echo \"test $1 ... FAILED\"
    echo \"test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.1s\"; exit 101";

const PASSES: &str = "echo \"test $1 ... ok\"";

/// Runs test programs. Returns what failed, and what was printed for each program.
fn outcome(programs: &[Program], arguments: &[&str], at_once: usize) -> (Vec<String>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let printed = Mutex::new(Vec::new());
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let print = |text: &str| printed.lock().unwrap().push(text.to_owned());
    let failed = run(programs, &arguments, at_once, directory.path(), print);
    (failed, printed.into_inner().unwrap())
}

#[test]
fn a_test_that_fails_fails_the_run_and_the_others_still_run() {
    let directory = tempfile::tempdir().unwrap();
    let program = |name: &str, body: &str| program(directory.path(), name, &["one", "two"], body);
    let some = format!("if [ $1 = two ]; then\n{FAILS}\nfi\n{PASSES}");
    for at_once in [1, 3] {
        let programs = [program("machine", &some), program("guest", FAILS), program("host", PASSES)];
        let (failed, printed) = outcome(&programs, &[], at_once);
        assert_eq!(failed, ["guest ", "machine two"], "{printed:?}");
        assert_eq!(printed.len(), 3, "{printed:?}");
        let machine = printed.iter().find(|text| text.contains("Running machine")).unwrap();
        assert!(machine.contains("running 2 tests\ntest one ... ok\ntest two ... FAILED\n"), "{machine}");
        let last =
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in ";
        assert!(machine.lines().last().unwrap().starts_with(last), "{machine}");
    }
}

#[test]
fn a_program_that_ends_without_a_result_or_does_not_start_fails_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let none = Program { name: "none".to_owned(), command: vec!["/none/there".to_owned()] };
    for (name, body, test) in [
        ("guest", "kill -KILL $$", "the program: signal: 9 (SIGKILL)"),
        ("guest", "echo text; exit 0", "the program: it ended before its result"),
        ("machine", "kill -KILL $$", "one: signal: 9 (SIGKILL)"),
        ("machine", "exit 0", "one: it ended before its result"),
    ] {
        let programs = [program(directory.path(), name, &["one"], body), none.clone()];
        let (failed, printed) = outcome(&programs, &[], 2);
        assert_eq!(failed[0], format!("{name} {test}"), "{printed:?}");
        assert!(failed[1].starts_with("none the program: it did not start: "), "{failed:?}");
        assert!(printed.iter().any(|text| text.contains(test.rsplit(": ").next().unwrap())), "{printed:?}");
    }
}

/// Several programs write at the same time, a line every 10 ms.
#[test]
fn output_of_programs_is_whole_and_in_one_piece() {
    let directory = tempfile::tempdir().unwrap();
    let body = "for n in 1 2 3 4 5; do echo \"$0 $n\"; sleep 0.01; done; echo \"test $1 ... ok\"";
    let names = ["guest", "host", "machine"];
    let programs = names.map(|name| program(directory.path(), name, &["one", "two"], body));
    let (failed, printed) = outcome(&programs, &[], 4);
    assert!(failed.is_empty(), "{failed:?}");
    for name in names {
        let text = printed.iter().find(|text| text.contains(&format!("Running {name}\n"))).unwrap();
        let lines = text.lines().filter(|line| line.contains(&format!("/{name} "))).count();
        assert_eq!(lines, if name == "machine" { 10 } else { 5 }, "{text}");
        assert!(names.iter().all(|other| *other == name || !text.contains(&format!("/{other} "))), "{text}");
    }
}

#[test]
fn arguments_reach_each_program_which_then_runs_whole() {
    let directory = tempfile::tempdir().unwrap();
    let body = "echo \"given: $*\"";
    let programs = ["machine", "guest"].map(|name| program(directory.path(), name, &["one", "two"], body));
    let (failed, printed) = outcome(&programs, &["stages::", "--nocapture"], 2);
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(printed.len(), 2);
    assert!(printed.iter().all(|text| text.contains("given: stages:: --nocapture\n")), "{printed:?}");
}

/// A whole program runs longer than a single test, so it must not be the last one that runs.
#[test]
fn whole_programs_are_first_in_a_run_without_times() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let body = format!("echo ${{0##*/}} >>{}; {PASSES}", log.display());
    let programs =
        ["machine", "promises"].map(|name| program(directory.path(), name, &["one", "two"], &body));
    assert!(outcome(&programs, &[], 1).0.is_empty());
    assert_eq!(fs::read_to_string(log).unwrap(), "promises\nmachine\nmachine\n");
}

#[test]
fn tests_of_machines_run_side_by_side_and_not_more_than_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let body = format!("echo begin >>{0}; sleep 0.3; echo end >>{0}; {PASSES}", log.display());
    let programs = [program(directory.path(), "machine", &["a", "b", "c", "d", "e", "f"], &body)];
    assert!(outcome(&programs, &[], 3).0.is_empty());
    let (mut now, mut most) = (0, 0);
    for line in fs::read_to_string(log).unwrap().lines() {
        now = if line == "begin" { now + 1 } else { now - 1 };
        most = most.max(now);
    }
    assert_eq!(most, 3);
}

/// A deadline distinguishes a process that does nothing from a process that other work keeps from running.
#[test]
fn deadline_counts_no_time_in_which_a_process_waits_for_a_processor() {
    use testkit::deadline::Deadline;
    // The kernel counts the wait for a processor when the wait ends, and one wait can take some tenths of a second.
    let limit = std::time::Duration::from_secs(2);
    // Three processes compute on the one processor to which a fourth process is bound.
    let spin = |nice: &str| {
        let mut command = std::process::Command::new("taskset");
        command.args(["-c", "0", "nice", "-n", nice, "sh", "-c", "while :; do :; done"]).spawn().unwrap()
    };
    let mut others: Vec<_> = (0..3).map(|_| spin("0")).collect();
    let mut starved = spin("19");
    let mut idle = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let deadlines = [&starved, &idle].map(|process| Deadline::new(process.id(), limit));
    std::thread::sleep(limit * 2);
    let passed = deadlines.map(|deadline| deadline.has_passed());
    for process in others.iter_mut().chain([&mut starved, &mut idle]) {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert_eq!(passed, [false, true]);
}
