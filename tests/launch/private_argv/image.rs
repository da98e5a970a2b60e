//! The image (program file) of a hypervisor is read once, although launcher and tracer both need its content. It is
//! read again if it was changed.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::host::directory;
use testkit::is_root;

use super::faults::Faulty;
use super::launch::{Running, TOOLS, assert_nobody_is_left, proc, processes};

/// Size of the image without the word `oem_strings` at its end.
const SIZE: usize = 8 << 20;

/// Builds a hypervisor. Only the word at the end of its image tells that it is one.
fn hypervisor() -> PathBuf {
    let (source, path) = (TOOLS.new_path("large.c"), TOOLS.new_path("cloud-hypervisor"));
    let text = "#include <unistd.h>\nint main(void) { char byte; if (write(1, \"a=b\\0end=\", 9) != 9) return 1; \
                while (read(0, &byte, 1) > 0); return 42; }\n";
    std::fs::write(&source, text).unwrap();
    assert!(
        Command::new("cc").arg("-x").arg("c").arg(&source).arg("-o").arg(&path).status().unwrap().success()
    );
    let mut image = std::fs::read(&path).unwrap();
    image.resize(SIZE, b'x');
    image.extend_from_slice(b"oem_strings");
    testkit::write_program(&path, image, 0o755);
    path
}

fn start(hypervisor: &Path, credentials: &Path) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(testkit::program("smbios-creds-host"));
    command.args(["run", "--log-level=error", "--all", "--hypervisor=cloud-hypervisor", "--credentials"]);
    command.arg(credentials).arg("--").arg(hypervisor).arg("--kernel=k").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Bytes that a process has read.
fn read_by(pid: u32) -> usize {
    let text = String::from_utf8(proc(pid, "io")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Returns how many bytes the launcher of a start has read, and how many its tracer has read.
fn read(hypervisor: &Path, credentials: &Path) -> [usize; 2] {
    let running = Running::start(&mut start(hypervisor, credentials)).unwrap();
    let launcher = running.child.id();
    let is_tracer = |pid| proc(pid, "cmdline").ends_with(b"detached\0");
    let mut group = processes().into_iter().filter(|process| process.group == u64::from(launcher));
    let tracer = group.find(|process| is_tracer(process.pid)).unwrap().pid;
    let read = [launcher, tracer].map(read_by);
    running.end();
    read
}

#[test]
fn image_that_was_not_changed_is_read_once() {
    if !is_root() {
        return;
    }
    let (hypervisor, credentials) = (hypervisor(), directory(&[("secret", b"CanaryCanary")]));
    // The image is so new that a further change could leave the same times, so both processes read it.
    let [launcher, tracer] = read(&hypervisor, credentials.path());
    assert!((SIZE..2 * SIZE).contains(&launcher), "{launcher}");
    assert!((SIZE..2 * SIZE).contains(&tracer), "{tracer}");
    std::thread::sleep(Duration::from_millis(4100));
    let [launcher, tracer] = read(&hypervisor, credentials.path());
    assert!((SIZE..2 * SIZE).contains(&launcher), "{launcher}");
    assert!(tracer < SIZE / 8, "{tracer}");
}

#[test]
fn image_changed_after_the_launchers_search_gets_no_value() {
    let (hypervisor, credentials) = (hypervisor(), directory(&[("secret", b"CanaryCanary")]));
    std::thread::sleep(Duration::from_millis(4100));
    // At the first call of the tracer, the launcher has searched the image, but has not executed it.
    let mut faulty = Faulty::spawn(&mut start(&hypervisor, credentials.path()), "wait", 1);
    assert!(faulty.reached());
    let image = File::options().write(true).open(&hypervisor).unwrap();
    let times = image.metadata().unwrap().modified().unwrap();
    image.write_all_at(b"oem_strange", SIZE as u64).unwrap();
    // The size and the modification time of the image stay the same.
    image.set_modified(times).unwrap();
    drop(image);
    faulty.release();
    let group = faulty.child.id().into();
    let output = faulty.child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("none of the executed programs is the hypervisor"), "{text}");
    assert_nobody_is_left(group);
}
