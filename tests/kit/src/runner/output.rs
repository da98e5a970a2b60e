//! Joins the output of a test program's processes, as if one process had run all tests.

use std::fmt::Write as _;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// Outcome of one process of a test program.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The one test that the process ran; `None` if the process ran all tests.
    test: Option<String>,
    /// Why the process failed; `None` if it succeeded.
    failure: Option<String>,
    output: String,
    pub(super) time: Duration,
}

impl Outcome {
    pub(super) fn new(
        test: Option<String>,
        status: io::Result<ExitStatus>,
        output: String,
        time: Duration,
    ) -> Self {
        let failure = match status {
            Err(error) => Some(format!("it did not start: {error}")),
            Ok(status) if !status.success() => Some(status.to_string()),
            // A test may end its process with exit code 0 before libtest prints the result.
            Ok(_) if closing(&output).is_none() => Some("it ended before its result".to_owned()),
            Ok(_) => None,
        };
        Self { test, failure, output, time }
    }

    /// Returns the tests that failed, or why the process failed if its output names no failed test.
    pub(super) fn failed(&self) -> impl Iterator<Item = String> {
        let mut failed = Vec::new();
        if let Some(failure) = &self.failure {
            failed.extend(self.output.lines().filter_map(|line| {
                Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned())
            }));
            if failed.is_empty() {
                failed.push(format!("{}: {failure}", self.test.as_deref().unwrap_or("the program")));
            }
        }
        failed.into_iter()
    }
}

/// Returns the last line of libtest's output, which has the result.
fn closing(text: &str) -> Option<&str> {
    text.lines().rev().find(|line| line.starts_with("test result: "))
}

/// Returns how many tests passed, failed, were ignored and were measured, by libtest's last line.
fn counts(text: &str) -> [usize; 4] {
    let words: Vec<&str> = closing(text).unwrap_or_default().split([' ', ';']).collect();
    ["passed", "failed", "ignored", "measured"].map(|word| {
        let number = words.windows(2).find(|pair| pair[1] == word).map(|pair| pair[0].parse().ok());
        number.flatten().unwrap_or(0)
    })
}

/// Returns the output of a program: unchanged if one process ran all tests, otherwise joined. The output ends with
/// libtest's last line.
pub(super) fn of_program(name: &str, outcomes: &[Outcome]) -> String {
    let mut text = format!("\n     Running {name}\n");
    if let [outcome] = outcomes
        && outcome.test.is_none()
    {
        text += &outcome.output;
        if let Some(failure) = &outcome.failure {
            writeln!(text, "{name}: {failure}").unwrap();
        }
        return text;
    }
    let mut outcomes: Vec<&Outcome> = outcomes.iter().collect();
    outcomes.sort_by_key(|outcome| outcome.test.clone());
    writeln!(text, "\nrunning {} tests", outcomes.len()).unwrap();
    let (mut rest, mut sums, mut time) = (String::new(), [0; 4], Duration::ZERO);
    for outcome in outcomes {
        time += outcome.time;
        let mut of_this = counts(&outcome.output);
        // The process ended during its test, before libtest could print a result. This test counts as failed.
        if let Some(failure) = outcome.failure.as_ref().filter(|_| closing(&outcome.output).is_none()) {
            of_this[1] += 1;
            writeln!(rest, "{}: {failure}", outcome.test.as_deref().unwrap_or_default()).unwrap();
        }
        sums.iter_mut().zip(of_this).for_each(|(sum, count)| *sum += count);
        for line in outcome.output.lines() {
            let framing = ["running ", "test result: "].iter().any(|start| line.starts_with(start));
            if line.starts_with("test ") && !framing {
                writeln!(text, "{line}").unwrap();
            } else if !framing && (outcome.failure.is_some() || !line.is_empty()) {
                writeln!(rest, "{line}").unwrap();
            }
        }
    }
    if !rest.is_empty() {
        write!(text, "\n{rest}").unwrap();
    }
    let [passed, failed, ignored, measured] = sums;
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let seconds = time.as_secs_f64();
    writeln!(
        text,
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; {measured} measured; \
         0 filtered out; finished in {seconds:.2}s"
    )
    .unwrap();
    text
}
