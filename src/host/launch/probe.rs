//! Asks a hypervisor what it can do, and leaves nobody behind who is still being asked.
//!
//! Its `--help` is run by a process of ours, a helper whose standard input closes when the launcher is done or dead,
//! however it died; the helper then ends what it has started, and itself. Its process group is one of its own, so that
//! it can end whatever a wrapper script has started too.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stdout, getpgrp, getpid};

use super::child::forget_child;
use crate::host::hypervisor::{Features, Hypervisor};

/// The first argument with which the program executes itself as the helper, and calls [`help`].
pub const HELPER: &str = "help-of-a-hypervisor";

/// How long a program may take to print its help.
const TIME: Duration = Duration::from_secs(10);

/// Longest help that is read.
const SIZE_MAX: u64 = 1_048_576;

/// Asks a program what it can do, where that decides how it is started.
///
/// The program that calls this must call [`super::helper::Helper::run`] when it is executed as a helper.
#[must_use]
pub fn features(hypervisor: &dyn Hypervisor, program: &Path) -> Features {
    let questions = hypervisor.questions();
    let help = if questions.is_empty() { None } else { ask(program.as_os_str()) };
    let has = |word: &&&str| {
        let word = word.as_bytes();
        help.as_ref().is_some_and(|help| help.windows(word.len()).any(|part| part == word))
    };
    Features(questions.iter().filter(has).copied().collect())
}

fn ask(program: &OsStr) -> Option<Vec<u8>> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(HELPER).arg(program).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut helper = command.spawn().ok()?;
    let stdout = helper.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    let reader = Builder::new().spawn(move || {
        let mut text = Vec::new();
        let read = stdout.take(SIZE_MAX).read_to_end(&mut text);
        // Nobody waits any more if this fails.
        _ = sender.send(read.map(|_| text));
    });
    // Without a reader there is nobody to wait for.
    let text = receiver.recv_timeout(TIME);
    // It has printed all of it, or it never will. Either way it is not to go on beside the one that is started:
    // waiting closes the helper's standard input.
    _ = helper.wait();
    forget_child();
    let text = text.ok()?.ok();
    _ = reader.map(JoinHandle::join);
    text
}

/// What a program does whose first argument is [`HELPER`]: it runs its second argument with `--help` until its own
/// standard input is closed.
#[must_use]
pub fn help() -> ExitCode {
    match std::env::args_os().nth(2).map(|program| run(&program)) {
        // Nobody reads what became of it.
        None | Some(Err(_)) => ExitCode::FAILURE,
    }
}

fn run(program: &OsStr) -> io::Result<Infallible> {
    // Started by anybody else, it would end a group that is not its own.
    if getpgrp() != getpid() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut command = Command::new(program);
    let spawned = command.arg("--help").stdin(Stdio::null()).spawn();
    // The help ends where the program's own end of the pipe is the last.
    let released = File::options().write(true).open("/dev/null").and_then(|null| Ok(dup2_stdout(null)?));
    if released.is_ok() {
        _ = io::stdin().read(&mut [0]);
    }
    if let Ok(mut child) = spawned {
        _ = child.kill();
        _ = child.wait();
    }
    // What the program has started, and this process.
    kill(Pid::from_raw(0), Signal::SIGKILL)?;
    Err(io::ErrorKind::Other.into())
}
