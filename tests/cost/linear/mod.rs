//! Twice the input takes twice the instructions, whatever the input contains. So a table or a command line of an
//! allowed size cannot hold up a boot or the start of a machine.

mod guest;
mod host;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use testkit::machine::prepared;

/// Returns the instructions that a command executes, whatever its exit code is. Runs the static program of the same
/// name, which is optimized, so that valgrind takes a fifth of the time.
pub(crate) fn instructions(command: &Command) -> u64 {
    let program = prepared(Path::new(command.get_program()).file_name().unwrap().to_str().unwrap());
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(format!("--log-file={}", log.path().display()));
    valgrind.arg(program).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => valgrind.env(name, value),
            None => valgrind.env_remove(name),
        };
    }
    let status = valgrind.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status =
        status.unwrap_or_else(|error| panic!("valgrind is needed, ./tests/prepare installs it: {error}"));
    assert!(status.code().is_some(), "{command:?}: {status}");
    let log = fs::read_to_string(log.path()).unwrap();
    let count = log.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count);
    count.unwrap_or_else(|| panic!("{command:?}: {log}")).trim().parse().unwrap()
}

/// A command whose input has a certain size, and the temporary directories with its files.
type Work = (Command, Vec<tempfile::TempDir>);

/// Asserts that the instructions of `work` grow linearly with its size. The size doubles from `unit` on. Each
/// doubling must add at most 2.3 times the instructions that the doubling before it added, which leaves room for
/// sorting and for growing buffers. Instructions that do not depend on the size do not count.
fn assert_linear(what: &str, unit: usize, work: impl Fn(usize) -> Work) {
    let counts = [1, 2, 4, 8].map(|factor| {
        let (command, _files) = work(unit * factor);
        instructions(&command)
    });
    let more: Vec<u64> = counts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    let percents: Vec<u64> = more.windows(2).map(|pair| 100 * pair[1] / pair[0].max(1)).collect();
    let figures = format!(
        "{what}: {unit} times 1, 2, 4, 8 take {counts:?} instructions, each step {percents:?} percent"
    );
    assert!(percents.iter().all(|&percent| percent < 230), "more than linear: {figures}");
    // With fewer instructions, the input was refused before it was read. One instruction for four units is enough,
    // because a vector instruction reads several bytes.
    assert!(more[2] > unit as u64, "not looked at: {figures}");
}
