//! A hypervisor that is asked for its help: nobody is left behind, however the asking ends.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use testkit::host::{directory, host, host_with};
use testkit::write_program;

/// A hypervisor of this kind, in a folder of its own.
fn hypervisor(folder: &Path, script: &str) -> PathBuf {
    let program = folder.join("cloud-hypervisor");
    write_program(&program, script, 0o755);
    program
}

/// Starts a verb in a process group of its own, with this variable in its environment.
fn start(verb: &str, credentials: &Path, program: &Path, mark: &str) -> Child {
    let program = program.to_str().unwrap();
    let mut command = host_with(credentials, &[verb, "--all", "--", program, "--kernel", "k"]);
    command.env("MARK", mark).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn().unwrap()
}

/// The processes that have this variable, in whatever group.
fn marked(mark: &str) -> Vec<String> {
    let mark = format!("MARK={mark}\0");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.windows(mark.len()).any(|window| window == mark.as_bytes()) {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    found
}

/// Waits for them to be gone, and fails if one stays.
fn assert_nobody_is_left(mark: &str, what: &str) {
    for _ in 0..2000 {
        if marked(mark).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what}: left behind: {:?}", marked(mark));
}

#[test]
fn whoever_is_asked_for_help_is_not_left_behind_when_the_start_is_ended() {
    let (credentials, folder) = (directory(&[("db", b"secret")]), tempfile::tempdir().unwrap());
    let asked = folder.path().join("asked");
    // With a process below it, and deaf to what it is asked to do politely.
    let script =
        format!("#!/bin/sh\ntrap '' TERM INT HUP\n: > {}\nsleep 1000\nsleep 1000\n", asked.display());
    let program = hypervisor(folder.path(), &script);
    for verb in ["run", "plan"] {
        // A shell that starts the tests in the background has others ignored.
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            for group in [false, true] {
                let mark = folder.path().join(format!("{verb}-{signal}-{group}"));
                let mark = mark.to_str().unwrap();
                let mut child = start(verb, credentials.path(), &program, mark);
                while !asked.exists() {
                    assert_eq!(child.try_wait().unwrap(), None);
                    std::thread::sleep(Duration::from_millis(2));
                }
                assert!(marked(mark).len() >= 2, "{:?}", marked(mark));
                let pid = Pid::from_raw(child.id().cast_signed());
                if group { killpg(pid, signal) } else { kill(pid, signal) }.unwrap();
                assert_eq!(child.wait().unwrap().signal(), Some(signal as i32));
                assert_nobody_is_left(mark, &format!("{verb}, {signal}, to its group: {group}"));
                std::fs::remove_file(&asked).unwrap();
            }
        }
    }
}

#[test]
fn a_sigterm_at_any_time_of_a_whole_start_leaves_nobody_behind() {
    let (credentials, folder) = (directory(&[("db", b"secret")]), tempfile::tempdir().unwrap());
    let (asked, ran) = (folder.path().join("asked"), folder.path().join("ran"));
    let program = hypervisor(
        folder.path(),
        &format!(
            "#!/bin/sh\nif [ \"$1\" = --help ]; then : > {}; sleep 0.01; echo oem_string_paths; exit; fi\n: > {}\nexec sleep 1000\n",
            asked.display(),
            ran.display()
        ),
    );
    // From before the launcher's first instruction to well after the hypervisor's, however long that takes here.
    let (mut before, mut while_asked, mut after) = (0, 0, 0);
    for turn in 0..1000_u64 {
        let mark = folder.path().join(turn.to_string());
        let mark = mark.to_str().unwrap();
        let mut child = start("run", credentials.path(), &program, mark);
        std::thread::sleep(Duration::from_micros(turn * 250));
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15), "{turn}");
        assert_nobody_is_left(mark, &turn.to_string());
        let was = |path| std::fs::remove_file(path).is_ok();
        match (was(&asked), was(&ran)) {
            (false, _) => before += 1,
            (true, false) => while_asked += 1,
            (true, true) => after += 1,
        }
        if after == 20 {
            assert!(before > 0 && while_asked > 0, "{before} before, {while_asked} while it is asked");
            return;
        }
    }
    panic!("the hypervisor hardly ever ran: {before}, {while_asked}, {after}");
}

#[test]
fn the_helper_is_not_for_people_and_ends_no_group_but_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let program = hypervisor(folder.path(), "#!/bin/sh\necho asked\n");
    let helper = host(&[]).get_program().to_owned();
    let script = r#""$0" help-of-a-hypervisor "$1" </dev/null; echo "code $?""#;
    let output = Command::new("sh").args(["-c", script]).arg(helper).arg(program).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "code 1\n");
}
