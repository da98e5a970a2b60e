//! Runs the tests of a tier in parallel, for `./tests/run`: `run-tests TIER [ARGUMENT...]`.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a tool of the tests")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use testkit::runner::{Program, run};

/// Test programs that are not in the tier `fast`, each with its tier. A test program that is not listed here is in
/// the tier `fast`.
const TIERS: [(&str, &str); 5] = [
    ("cost", "fault"),
    ("launch", "fault"),
    ("promises", "fault"),
    ("machine", "machine"),
    ("packages", "machine"),
];

/// Builds and returns the test programs that `cargo test` would run, and the tests in the documentation.
fn programs() -> Vec<Program> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(&cargo);
    build.args(["test", "--quiet", "--locked", "--no-run", "--message-format=json"]);
    let build = build.stderr(Stdio::inherit()).output().unwrap();
    assert!(build.status.success(), "the tests are not built: {}", build.status);
    let messages = String::from_utf8(build.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut programs: Vec<Program> = messages
        .filter(|message| message["profile"]["test"] == true)
        .filter_map(|message| {
            let command = vec![message["executable"].as_str()?.to_owned()];
            // The library and the program of the same name differ by their kind.
            let target = &message["target"];
            let (name, kind) = (target["name"].as_str()?, target["kind"][0].as_str()?);
            let name = if kind == "test" { name.to_owned() } else { format!("{kind} {name}") };
            Some(Program { name, command })
        })
        .collect();
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    let doc = [&*cargo, "test", "--quiet", "--locked", "--doc", "--"].map(str::to_owned).to_vec();
    programs.push(Program { name: "doc".to_owned(), command: doc });
    programs
}

fn tier_of(program: &Program) -> &'static str {
    TIERS.iter().find(|(name, _)| *name == program.name).map_or("fast", |(_, tier)| tier)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let tier = arguments.next().unwrap_or_else(|| "all".to_owned());
    let arguments: Vec<String> = arguments.collect();
    let programs: Vec<Program> =
        programs().into_iter().filter(|program| tier == "all" || tier_of(program) == tier).collect();
    assert!(!programs.is_empty(), "no test program is of the tier {tier}");

    // A virtual machine waits part of the time, so more jobs run at once than there are processors.
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let at_once = (processors * 3).div_ceil(2);
    let target = std::env::current_exe().unwrap().ancestors().nth(3).map(Path::to_owned).unwrap();
    let print = |text: &str| std::io::stdout().write_all(text.as_bytes()).unwrap();
    let failed = run(&programs, &arguments, at_once, &target.join("tests"), print);
    if failed.is_empty() {
        let count = programs.len();
        print(&format!("\n== passed: {count} test programs of the tier {tier}\n"));
        return ExitCode::SUCCESS;
    }
    print(&format!("\n== {} failed; the output is above\n{}\n", failed.len(), failed.join("\n")));
    ExitCode::FAILURE
}
