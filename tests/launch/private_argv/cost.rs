//! What a start costs, counted and not timed.

use std::path::Path;

use super::launch::{PLACEHOLDER, Running, Start, TOOLS};

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
    // A thread stops before each of its calls and after it.
    for (first, arguments) in [
        (program.as_path(), &["x", "--one", PLACEHOLDER][..]),
        (Path::new("/usr/bin/env"), &["env", "WRAPPED=yes", name, "--one", PLACEHOLDER]),
    ] {
        let (resumed, looked) = counted(first, arguments);
        assert!(resumed > 100, "it was traced: {resumed}");
        // Those that are not for a call are for the delivery.
        assert!(looked <= resumed / 2 + 4, "{looked} times at {resumed} stops");
    }
}
