//! Runs test programs in parallel, a given number of jobs at a time, and prints the output of each program in one
//! piece.

mod output;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub use output::Outcome;

/// Test programs whose tests take long and share nothing with each other. Each of these tests gets a process of its
/// own.
const SPLIT: [&str; 3] = ["machine", "packages", "cost"];

/// A test program.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    /// The command that starts the test program. The arguments of libtest follow the command.
    pub command: Vec<String>,
}

/// What one process runs: a whole program, or one of its tests.
struct Job<'a> {
    program: &'a Program,
    test: Option<String>,
}

/// Progress of a program's jobs: how many have not ended, and the outcomes of those that have.
#[derive(Default)]
struct Progress {
    open: usize,
    outcomes: Vec<Outcome>,
}

impl Job<'_> {
    /// Returns the name under which the job's time is stored.
    fn key(&self) -> String {
        format!("{} {}", self.program.name, self.test.as_deref().unwrap_or(""))
    }

    fn run(&self, arguments: &[String], log: &Path) -> Outcome {
        let file = fs::File::create(log).unwrap();
        let mut command = Command::new(&self.program.command[0]);
        command.args(&self.program.command[1..]).args(arguments);
        if let Some(test) = &self.test {
            command.args([test, "--exact"]);
        }
        // A caller that gives arguments may want libtest to start its own threads.
        if arguments.is_empty() {
            command.env("RUST_TEST_THREADS", "1");
        }
        let start = Instant::now();
        let status = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).status();
        let text = String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned();
        Outcome::new(self.test.clone(), status, text, start.elapsed())
    }
}

/// Returns the tests of a program.
fn tests_of(program: &Program) -> Vec<String> {
    let mut list = Command::new(&program.command[0]);
    let list = list.args(&program.command[1..]).arg("--list").output();
    let list = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Returns the jobs, longest first by the times of the last run. Jobs without a stored time come first.
fn jobs<'a>(
    programs: &'a [Program],
    arguments: &[String],
    times: &HashMap<String, Duration>,
) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for program in programs {
        let tests =
            if arguments.is_empty() && SPLIT.contains(&&*program.name) { tests_of(program) } else { vec![] };
        if tests.is_empty() {
            jobs.push(Job { program, test: None });
        }
        jobs.extend(tests.into_iter().map(|test| Job { program, test: Some(test) }));
    }
    let time = |job: &Job| times.get(&job.key()).copied().unwrap_or(Duration::MAX);
    // Without times, a whole program is started before single tests: it is likely to run longer than any of them.
    jobs.sort_by_key(|job| (std::cmp::Reverse(time(job)), job.test.is_some()));
    jobs
}

/// Reads the seconds of each job, which an earlier run has written.
fn read_times(file: &Path) -> HashMap<String, Duration> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let entry = |line: &str| {
        let (seconds, key) = line.split_once('\t')?;
        Some((key.to_owned(), Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?))
    };
    text.lines().filter_map(entry).collect()
}

fn write_times(file: &Path, times: &HashMap<String, Duration>) {
    let mut times: Vec<_> = times.iter().collect();
    times.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
    let lines = times.iter().map(|(key, time)| format!("{:.2}\t{key}\n", time.as_secs_f64()));
    fs::write(file, lines.collect::<String>()).unwrap();
}

/// Runs the programs, `at_once` jobs at a time, with these arguments of libtest, and prints the output of each
/// program when its last test has ended. All jobs run, even if some fail. Returns `program test` for each test that
/// failed.
///
/// `directory` keeps each job's output and, from one run to the next, the seconds of each job.
pub fn run(
    programs: &[Program],
    arguments: &[String],
    at_once: usize,
    directory: &Path,
    print: impl Fn(&str) + Sync,
) -> Vec<String> {
    fs::create_dir_all(directory).unwrap();
    let seconds = directory.join("seconds");
    let times = read_times(&seconds);
    let jobs = jobs(programs, arguments, &times);
    let mut progress: HashMap<&str, Progress> = HashMap::new();
    for job in &jobs {
        progress.entry(&job.program.name).or_default().open += 1;
    }
    let state = Mutex::new((jobs.iter().enumerate(), progress, times, Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            scope.spawn(|| {
                loop {
                    let Some((number, job)) = state.lock().unwrap().0.next() else { return };
                    let outcome = job.run(arguments, &log_of(directory, number));
                    let (_, progress, times, failed) = &mut *state.lock().unwrap();
                    if arguments.is_empty() {
                        times.insert(job.key(), outcome.time);
                    }
                    failed.extend(outcome.failed().map(|test| format!("{} {test}", job.program.name)));
                    let progress = progress.get_mut(&*job.program.name).unwrap();
                    progress.open -= 1;
                    progress.outcomes.push(outcome);
                    if progress.open == 0 {
                        print(&output::of_program(&job.program.name, &progress.outcomes));
                    }
                }
            });
        }
    });
    let (_, _, times, mut failed) = state.into_inner().unwrap();
    write_times(&seconds, &times);
    failed.sort();
    failed
}

fn log_of(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("{number}.log"))
}
