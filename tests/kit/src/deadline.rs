//! How long tests wait for what may never come.

use std::fs;
use std::time::{Duration, Instant};

/// For a virtual machine to end. A boot needs 3 to 20 seconds, one of a whole Debian 60.
pub const MACHINE: Duration = Duration::from_mins(10);

/// For a virtual machine that runs another one in it.
pub const NESTED: Duration = Duration::from_mins(30);

/// For the next answer of a guest that libvirt has started.
pub const ANSWER: Duration = Duration::from_mins(5);

/// Passes when a process has had this much time. What it waits for a processor, since other work has all of them, does not
/// count: a busy machine makes a test slow, not red.
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

/// How long the thread of a process that waited the most for a processor has done so: the second field of
/// `/proc/PID/task/TID/schedstat`, in nanoseconds. Kernels without it count nothing.
fn delayed(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
    };
    tasks.filter_map(of_task).max().unwrap_or_default()
}
