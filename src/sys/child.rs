//! Runs a program to its end, and returns whether the program succeeded, or what the program wrote to its output. (This
//! module does not use std's `Command`, whose code would be a twentieth of the agent's size.)

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawnp};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use zeroize::Zeroizing;

/// Time between two checks whether a program has ended.
const INTERVAL: Duration = Duration::from_millis(10);

/// Runs a program from `$PATH` with `input` as its standard input, and discards its output and error messages. Returns
/// whether its exit status was 0; `None` if the program could not be run.
pub(crate) fn succeeds(arguments: &[&CStr], input: &[u8]) -> Option<bool> {
    let mut file = File::from(memfd_create(c"smbios-creds", MemfdFlags::CLOEXEC).ok()?);
    file.write_all(input).ok()?;
    file.rewind().ok()?;
    let child = spawn(arguments, &file, &null()?)?;
    match waitpid(child, None).ok()? {
        // If posix_spawn(3) could not execute the program, the child process ends with exit status 127.
        WaitStatus::Exited(_, 127) => None,
        WaitStatus::Exited(_, code) => Some(code == 0),
        _ => Some(false),
    }
}

/// Runs a program from `$PATH` without input, and discards its error messages. Returns its output, even if its exit
/// status is not 0. Returns `None` if the output is empty or has `maximum` bytes or more. If the program takes longer
/// than `patience`, kills the program and returns `None`.
pub(crate) fn output(arguments: &[&CStr], maximum: u64, patience: Duration) -> Option<Zeroizing<Vec<u8>>> {
    let memory = memfd_create(c"smbios-creds", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok()?;
    let mut file = File::from(memory);
    // The seal `GROW` makes a write past the end of the file fail.
    file.set_len(maximum).ok()?;
    fcntl_add_seals(&file, SealFlags::GROW).ok()?;
    let child = spawn(arguments, &null()?, &file)?;
    let mut waited = Duration::ZERO;
    while waitpid(child, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
        if waited >= patience {
            _ = kill(child, Signal::SIGKILL);
            _ = waitpid(child, None);
            return None;
        }
        std::thread::sleep(INTERVAL);
        waited += INTERVAL;
    }
    // The child and this process share one position in the file, which is now the size of the output.
    let size = file.stream_position().ok().filter(|size| (1..maximum).contains(size))?;
    file.rewind().ok()?;
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(size).ok()?]);
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// Opens `/dev/null`.
fn null() -> Option<File> {
    File::options().read(true).write(true).open("/dev/null").ok()
}

fn spawn(arguments: &[&CStr], input: &File, output: &File) -> Option<Pid> {
    let null = null()?;
    let mut actions = PosixSpawnFileActions::init().ok()?;
    for (file, descriptor) in [(input, 0), (output, 1), (&null, 2)] {
        actions.add_dup2(file.as_raw_fd(), descriptor).ok()?;
    }
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    };
    let environment: Vec<CString> = std::env::vars_os().filter_map(variable).collect();
    let attributes = PosixSpawnAttr::init().ok()?;
    posix_spawnp(arguments.first()?, &actions, &attributes, arguments, &environment).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(100);

    #[test]
    fn output_is_what_a_program_wrote_and_bounded_in_size_and_time() {
        let minute = Duration::from_mins(1);
        let of = |arguments: &[&CStr], maximum, patience| {
            output(arguments, maximum, patience).map(|output| output.to_vec())
        };
        assert_eq!(of(&[c"printf", c"one\ntwo"], 4096, minute).as_deref(), Some(&b"one\ntwo"[..]));
        assert_eq!(of(&[c"sh", c"-c", c"echo some; exit 1"], 4096, minute).as_deref(), Some(&b"some\n"[..]));
        for (arguments, patience) in [
            (&[c"true"][..], minute),
            (&[c"/nonexistent"], minute),
            (&[c"head", c"-c", c"5000", c"/dev/zero"], minute),
            (&[c"sh", c"-c", c"echo some; exec sleep 600"], MOMENT),
        ] {
            assert_eq!(of(arguments, 4096, patience), None, "{arguments:?}");
        }
    }
}
