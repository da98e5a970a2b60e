//! Private arguments: only the started program finds them, or the program is not started.

mod cost;
mod ends;
mod faults;
mod image;
mod inheritance;
mod launch;
mod memory;
mod refusals;
mod wrappers;

use launch::{Running, Start, TOOLS, as_nobody, proc, processes};
use smbios_creds::format::base64;
use testkit::{canary, holds};

/// Length of the longest argument that the kernel takes. `MAX_ARG_STRLEN` counts the NUL too.
const ARGUMENT_MAX: usize = 131_071;

/// A value of this size with the canary at its start, its end, and all over between.
fn value(canary: &[u8], size: usize) -> Vec<u8> {
    let filler = (0..=u8::MAX).filter(|&byte| byte != 0).cycle();
    let mut value: Vec<u8> = filler.take(size).collect();
    for at in (0..size.saturating_sub(canary.len())).step_by(997) {
        value[at..at + canary.len()].copy_from_slice(canary);
    }
    let end = size.saturating_sub(canary.len());
    value[end..].copy_from_slice(&canary[..size - end]);
    value
}

/// Returns the files in /proc with arguments, environment, name or auxiliary vector of a process that hold the canary.
fn seen_in(canary: &[u8]) -> Vec<String> {
    let mut seen = Vec::new();
    for process in processes() {
        for name in ["cmdline", "environ", "comm", "stat", "auxv"] {
            if holds(&proc(process.pid, name), canary) {
                seen.push(format!("/proc/{}/{name}", process.pid));
            }
        }
    }
    seen
}

#[test]
fn the_program_finds_what_nobody_else_sees() {
    let canary = canary();
    for program in ["dynamic", "fixed", "static", "static-pie"] {
        for size in [0, 1, 15, 16, 90_000, ARGUMENT_MAX] {
            for nobody in [false, true] {
                let value = value(&canary, size);
                let (program, values) = (TOOLS.path(program), [value.as_slice()]);
                let start = Start::new(&program, &values);
                let mut command = start.command();
                if nobody {
                    as_nobody(&mut command);
                }
                let what = format!("{} with {size} bytes, unprivileged: {nobody}", program.display());
                let running = Running::start(&mut command).unwrap_or_else(|error| panic!("{what}: {error}"));
                let report = &running.report;
                assert!(report.all("argument") == start.found(), "{what}");
                assert_eq!(report.text("terminator"), "null", "{what}");
                assert_eq!(report.number("alignment"), 0, "{what}");
                assert_eq!(report.number("deep"), 1, "{what}");
                assert_eq!(report.text("cmdline"), "microvm@name --one @private --last ", "{what}");
                assert_eq!(seen_in(&canary), [""; 0], "{what}");
                // The scan could see this process: its command line can be read.
                assert!(proc(running.child.id(), "cmdline").starts_with(b"microvm@name\0--one\0@private\0"));
                running.end();
            }
        }
    }
}

#[test]
fn without_it_everybody_sees_the_same_canary() {
    let canary = canary();
    let program = TOOLS.path("dynamic");
    for value in [canary.clone(), base64::encode(&canary).as_bytes().to_vec()] {
        let text = String::from_utf8(value).unwrap();
        let start = Start { arguments: &["microvm@name", &text], ..Start::new(&program, &[]) };
        let running = Running::start(&mut start.command()).unwrap();
        assert_eq!(seen_in(&canary), [format!("/proc/{}/cmdline", running.child.id())]);
        running.end();
    }
}

#[test]
fn several_values_and_large_ones_fit() {
    let canary = canary();
    let program = TOOLS.path("static-pie");
    // The largest values are longer than the kernel takes in one argument. Together they are nearly as long as it
    // takes in all arguments with a stack of 8 MiB.
    for sizes in [[1, 1], [0, 90_000], [ARGUMENT_MAX, ARGUMENT_MAX], [1_000_000, 1_000_000]] {
        let values = sizes.map(|size| value(&canary, size));
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let start = Start {
            through: &["sh", "-c", r#"ulimit -s 8192; exec "$@""#, "sh"],
            ..Start::new(&program, &values)
        };
        let running = Running::start(&mut start.command()).unwrap();
        assert!(running.report.all("argument") == start.found(), "{sizes:?}");
        assert_eq!(seen_in(&canary), [""; 0], "{sizes:?}");
        running.end();
    }
}

#[test]
fn five_hundred_starts_in_a_row_leave_no_zombie() {
    let value = value(&canary(), 90_000);
    let program = TOOLS.path("dynamic");
    let values = [value.as_slice()];
    let start = Start::new(&program, &values);
    let found = start.found();
    for turn in 0..500 {
        let mut command = start.command();
        if turn % 2 == 1 {
            as_nobody(&mut command);
        }
        let running = Running::start(&mut command).unwrap_or_else(|error| panic!("{turn}: {error}"));
        assert!(running.report.all("argument") == found, "{turn}");
        assert_eq!(running.report.text("children"), "", "{turn}");
        running.end();
    }
}

#[test]
fn a_program_without_private_arguments_is_executed_as_it_is() {
    let program = TOOLS.path("dynamic");
    let start = Start::new(&program, &[]);
    let running = Running::start(&mut start.command()).unwrap();
    assert_eq!(running.report.all("argument"), start.found());
    running.end();
}
