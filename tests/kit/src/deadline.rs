//! Time limits of tests that wait for a machine, a guest's answer or a process.

use std::fs;
use std::time::{Duration, Instant};

/// Time limit for a virtual machine. A boot needs 3 to 20 seconds; a boot of a whole Debian needs 60 seconds.
pub const MACHINE: Duration = Duration::from_mins(10);

/// Time limit for a virtual machine that runs another virtual machine.
pub const NESTED: Duration = Duration::from_mins(30);

/// Time limit for the next answer of a guest that libvirt has started.
pub const ANSWER: Duration = Duration::from_mins(5);

/// A deadline that passes when a process has had this much time. Time in which the process waits for a busy processor
/// does not count, so a busy machine makes a test slow but does not fail the test.
pub struct Deadline {
    begin: Instant,
    limit: Duration,
    pid: u32,
}

impl Deadline {
    #[must_use]
    pub fn new(pid: u32, limit: Duration) -> Self {
        Self { begin: Instant::now(), limit, pid }
    }

    pub fn has_passed(&self) -> bool {
        self.begin.elapsed().saturating_sub(delayed(self.pid)) > self.limit
    }
}

/// Returns how long a process has waited for a processor: the longest such time of any of its threads. The kernel has
/// this time in nanoseconds in the second field of `/proc/PID/task/TID/schedstat`. On a kernel without this file, the
/// result is zero.
fn delayed(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
    };
    tasks.filter_map(of_task).max().unwrap_or_default()
}
