//! Hostile input on the host: anything in a credentials directory or on a hypervisor's command line is either sent
//! unchanged or refused in one clear line. Nothing hangs, nothing is started that should not be, and no value is
//! shown.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};
use testkit::host::{QEMU_WORD, directory, host, host_with, program_with, shell_with};
use testkit::{code, run, stderr, stdout};

const CANARY: &str = "Canary-of-a-value";

/// Returns a command that runs this command, and ends it after a minute.
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.arg("60").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    bounded
}

/// Asserts that `run`, `plan` and `emit` refuse to send all of a directory, with this message, on one line, and
/// without a value.
fn assert_refused(folder: &Path, message: &str) {
    let started = folder.with_extension("started");
    let script = format!("touch '{}'", started.display());
    for verb in ["run", "plan", "emit"] {
        let rest: &[&str] = if verb == "emit" {
            &["--format=strings"]
        } else {
            &["--hypervisor=qemu", "--", "sh", "-c", &script]
        };
        let output = run(&mut bounded(&host_with(folder, &[&[verb, "--all"], rest].concat())));
        assert_eq!(code(&output), 3, "{verb}: {}", stderr(&output));
        let said = if verb == "plan" { stdout(&output) } else { stderr(&output) };
        assert!(said.contains(message), "{verb}: {said}");
        assert!(said.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{verb}: {said:?}");
        assert!(!said.contains(CANARY), "{verb}: {said}");
        assert!(verb == "plan" || (said.lines().count() == 1 && output.stdout.is_empty()), "{verb}: {said}");
    }
    assert!(!started.exists(), "nothing is started");
}

#[test]
fn ten_thousand_files_are_refused_by_the_limit_they_exceed() {
    let folder = directory(&[]);
    for n in 0..10_000 {
        fs::write(folder.path().join(format!("credential-{n}")), CANARY).unwrap();
    }
    assert!(fs::read_dir(folder.path()).unwrap().count() == 10_000);
    let program = ["run", "--all", "--hypervisor=qemu", "--", "true"];
    let output = run(&mut bounded(&host_with(folder.path(), &program)));
    assert_eq!(code(&output), 3);
    let said = stderr(&output);
    assert!(
        said.contains("error: QEMU: size of the structure table: ")
            && said.contains("error: qemu is not started"),
        "{said}"
    );
    assert!(said.contains(
        "warning: systemd in the guest: number of credentials: 10000 credentials, 9744 more than the limit of 256"
    ));
    assert!(!said.contains(CANARY), "{said}");
    // `emit --format=strings` knows no hypervisor's limits, so it writes all credentials.
    let output = run(&mut bounded(&host_with(folder.path(), &["emit", "--all", "--format=strings"])));
    assert_eq!((code(&output), stdout(&output).lines().count()), (0, 10_001));
    // `run` finds the requested credentials among all the others.
    let (_programs, qemu) = program_with("/bin/true", QEMU_WORD);
    let program = [
        "run",
        "--prefix",
        "credential-999",
        "--expect",
        "credential-9999",
        "--hypervisor=qemu",
        "--",
        qemu.to_str().unwrap(),
    ];
    let output = run(&mut bounded(&host_with(folder.path(), &program)));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("starts qemu with 11 credentials"));
}

#[test]
fn large_and_sparse_files_are_refused_unread() {
    for size in [10_000_000, 1 << 40] {
        let folder = directory(&[("db", CANARY.as_bytes())]);
        File::create(folder.path().join("large")).unwrap().set_len(size).unwrap();
        assert_refused(folder.path(), "credential large: ");
        assert_refused(
            folder.path(),
            "large has more than 1048576 bytes, the most that a credential may have",
        );
    }
}

#[test]
fn more_than_any_table_holds_is_refused_before_it_is_read() {
    // Each file has an allowed size, but all of them together have almost 2 GiB.
    let folder = directory(&[("a", CANARY.as_bytes())]);
    for n in 0..2000 {
        File::create(folder.path().join(format!("sparse-{n:04}"))).unwrap().set_len(1_048_576).unwrap();
    }
    assert_refused(
        folder.path(),
        "credential sparse-0001: with it, the values have more than 1114112 bytes in total",
    );
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 200000; exec \"$@\"", "sh"]);
    command.arg(env!("CARGO_BIN_EXE_smbios-creds-host")).args(["emit", "--all", "--format=strings"]);
    let output = run(command.env("CREDENTIALS_DIRECTORY", folder.path()).env_remove("JOURNAL_STREAM"));
    assert_eq!(code(&output), 3, "{}", stderr(&output));
}

/// A change that another process makes to a file.
type Change = fn(&Path);

/// Runs `emit` on a file that is changed after the first read(2) of the file.
fn changed(size: u64, change: impl Fn(&Path)) -> Output {
    let folder = directory(&[]);
    let file = folder.path().join("db");
    fs::write(&file, CANARY.repeat(20)).unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o", "/dev/null", "-P"]).arg(&file);
    strace.args(["-e", "inject=read:signal=STOP:when=1"]).arg(env!("CARGO_BIN_EXE_smbios-creds-host"));
    strace.args(["emit", "--all", "--format=strings", "--credentials"]).arg(folder.path());
    let mut child = strace
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("strace is needed, ./tests/prepare installs it: {error}"));
    let stopped = loop {
        assert!(child.try_wait().unwrap().is_none(), "it was not stopped");
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let traced = fs::read_to_string(children).unwrap_or_default();
        let traced: Option<i32> = traced.split_whitespace().next().and_then(|pid| pid.parse().ok());
        let state = traced.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
        // The process must be stopped by the signal, and not by one of strace's own stops.
        if state.is_some_and(|state| state.contains("(stopped)") || state.contains("(tracing stop)"))
            && read_once(traced.unwrap(), &file)
        {
            break traced.unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    change(&file);
    assert_eq!(fs::metadata(&file).unwrap().len(), size);
    kill_process(Pid::from_raw(stopped).unwrap(), Signal::CONT).unwrap();
    child.wait_with_output().unwrap()
}

/// Returns whether a process has the file open and has read some of it.
fn read_once(pid: i32, file: &Path) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.filter_map(Result::ok).any(|entry| {
        let number = entry.file_name().into_string().unwrap();
        let position = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
        fs::read_link(entry.path()).is_ok_and(|target| target == file) && !position.starts_with("pos:\t0\n")
    })
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let size = 20 * CANARY.len() as u64;
    let changes: [(u64, Change); 4] = [
        (size + 4, |file| {
            let mut file = File::options().append(true).open(file).unwrap();
            std::io::Write::write_all(&mut file, b"more").unwrap();
        }),
        (size / 2, |file| {
            let file = File::options().write(true).open(file).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        (size, |file| fs::write(file, vec![b'x'; 20 * CANARY.len()]).unwrap()),
        // On a file system with coarse timestamps, the modification time can stay the same.
        (size, |path| {
            let modified = path.metadata().unwrap().modified().unwrap();
            fs::write(path, vec![b'x'; 20 * CANARY.len()]).unwrap();
            File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
        }),
    ];
    for (size, change) in changes {
        let output = changed(size, change);
        assert_eq!((code(&output), output.stdout.len()), (3, 0), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains("/db changed while it was being read; nothing is written"), "{said}");
        assert!(!said.contains(CANARY), "{said}");
    }
}

#[test]
fn names_of_every_byte_are_sent_as_they_are_or_refused_and_escaped() {
    let outside = |byte: u8| !(b' '..=b'~').contains(&byte) || matches!(byte, b':' | b'=');
    for byte in (1..=255_u8).filter(|&byte| byte != b'/') {
        let folder = directory(&[]);
        let name = OsString::from(OsStr::from_bytes(&[b'a', byte, b'b']));
        fs::write(folder.path().join(&name), CANARY).unwrap();
        let emit = |format: &str| run(&mut host_with(folder.path(), &["emit", "--all", "--format", format]));
        let output = emit("strings");
        if outside(byte) {
            assert_eq!((code(&output), output.stdout.len()), (3, 0), "{byte:#04x}");
            let said = stderr(&output);
            assert!(said.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{byte:#04x}: {said:?}");
            assert!(said.lines().count() <= 2 && !said.contains(CANARY), "{byte:#04x}: {said}");
        } else {
            assert_eq!(code(&output), 0, "{byte:#04x}: {}", stderr(&output));
            let start = [b"io.systemd.credential.binary:a".as_slice(), &[byte], b"b="].concat();
            assert!(output.stdout.starts_with(&start), "{byte:#04x}");
            for format in ["structures", "qemu", "json", "crosvm", "libvirt", "cloud-hypervisor"] {
                assert!(matches!(code(&emit(format)), 0 | 3), "{byte:#04x} {format}");
            }
        }
    }
    // A name with every byte that a name may have, a name of the largest length, and names that look like options or
    // patterns.
    let every: Vec<u8> = (b' '..=b'~').filter(|&byte| byte != b'/' && !outside(byte)).collect();
    for (name, exit) in
        [(every, 0), (vec![b'n'; 255], 0), (b"-".to_vec(), 0), (b"--all".to_vec(), 0), (b"*".to_vec(), 0)]
    {
        let folder = directory(&[]);
        fs::write(folder.path().join(OsStr::from_bytes(&name)), CANARY).unwrap();
        let output = run(&mut host_with(folder.path(), &["emit", "--all", "--format=structures"]));
        assert_eq!(code(&output), exit, "{}: {}", name.escape_ascii(), stderr(&output));
        let delivery = testkit::host::delivered(&[output.stdout]);
        assert!(delivery.passed() && delivery.proof.is_proven(), "{}", name.escape_ascii());
    }
}

#[test]
fn a_directory_that_cannot_be_read_is_named() {
    let folder = directory(&[("db", CANARY.as_bytes())]);
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o000)).unwrap();
    let emit = |path: &Path| {
        let mut command = host(&["emit", "--all", "--format=strings", "--credentials"]);
        command.arg(path);
        if testkit::is_root() {
            command.uid(65_534).gid(65_534);
        }
        run(&mut command)
    };
    let output = emit(folder.path());
    assert_eq!((code(&output), output.stdout.len()), (3, 0));
    let message =
        format!("cannot read the credentials directory {}: Permission denied", folder.path().display());
    assert!(stderr(&output).contains(&message), "{}", stderr(&output));
    // With mode 0444, the directory may be listed, but no file in it may be opened.
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o444)).unwrap();
    let output = emit(folder.path());
    assert_eq!((code(&output), output.stdout.len()), (3, 0));
    assert!(stderr(&output).contains(&message), "{}", stderr(&output));
    for odd in ["/dev/null", "/proc/self/exe", "/nonexistent/\x1b[31m", ""] {
        let output = emit(Path::new(odd));
        assert!(matches!(code(&output), 2 | 3) && output.stdout.is_empty(), "{odd:?}");
        assert!(!stderr(&output).contains('\x1b'), "{odd:?}");
    }
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
}

/// A program that is recognized as cloud-hypervisor and as crosvm, and that ends at once.
static PROGRAM: LazyLock<(tempfile::TempDir, PathBuf)> =
    LazyLock::new(|| program_with("/bin/true", "oem_strings oem-strings"));

fn planned(hypervisor: &str, arguments: &[OsString]) -> (bool, String) {
    let folder = directory(&[("db", CANARY.as_bytes())]);
    let mut command = host_with(folder.path(), &["plan", "--all", "--hypervisor", hypervisor, "--"]);
    command.arg(&PROGRAM.1);
    command.args(arguments);
    let output = run(&mut bounded(&command));
    let text = stdout(&output);
    let exit = code(&output);
    assert!(exit == 0 || exit == 3, "{hypervisor}: {exit}: {}", stderr(&output));
    assert!(!text.contains(CANARY) && !text.contains("Q2FuYXJ5"), "{hypervisor}: {text}");
    assert!(
        text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
        "{hypervisor}: {text:?}"
    );
    assert!(
        text.starts_with(if exit == 0 { "starts: " } else { "does not start\nerror: " }),
        "{hypervisor}: {text}"
    );
    (exit == 0, text)
}

fn words(arguments: &[&str]) -> Vec<OsString> {
    arguments.iter().map(OsString::from).collect()
}

#[test]
fn tens_of_thousands_of_options_are_kept() {
    let many = |first: &[&str], each: &[&str], count: usize| {
        let first = first.iter().map(OsString::from);
        let rest = (0..count).flat_map(|_| each.iter().map(OsString::from));
        first.chain(rest).collect::<Vec<_>>()
    };
    for (hypervisor, first, each) in [
        ("qemu", &[][..], &["-device", "virtio-rng"][..]),
        ("qemu", &[], &["-S"]),
        ("qemu", &[], &["-smbios", "type=1,serial=x"]),
        ("qemu", &[], &["-smbios", "type=11,value=xxxx"]),
        ("qemu", &[], &[""]),
        ("cloud-hypervisor", &["--kernel=k"], &["--disk", "path=d"]),
        ("cloud-hypervisor", &["--kernel=k"], &[""]),
        ("crosvm", &["run"], &["--block", "d"]),
    ] {
        for count in [2000, 20_000] {
            let (starts, text) = planned(hypervisor, &many(first, each, count));
            let limit = each[0] == "-smbios" && count == 20_000;
            assert_eq!(starts, !limit, "{hypervisor} {each:?}: {}", &text[..300]);
            if each[0] != "-smbios" {
                let kept = text.lines().filter(|line| line.strip_prefix("  ") == Some(each[0])).count();
                assert_eq!(kept, count, "{hypervisor} {each:?}");
            }
        }
    }
}

#[test]
fn odd_arguments_are_kept_or_refused_in_one_way() {
    let starts = |hypervisor: &str, arguments: &[&str]| planned(hypervisor, &words(arguments)).0;
    // An option that is given twice is refused, in every spelling.
    for twice in [
        ["--platform", "uuid=x", "--platform", "uuid=x"],
        ["--platform=uuid=x", "--kernel=k", "--platform", "uuid=x"],
        ["--platform", "", "--platform=", "--kernel=k"],
    ] {
        let (starts, text) = planned("cloud-hypervisor", &words(&[&["--kernel=k"], &twice[..]].concat()));
        assert!(!starts && text.contains("--platform is given twice"), "{text}");
    }
    let (twice, text) =
        planned("crosvm", &words(&["run", "--smbios=manufacturer=b", "--smbios", "manufacturer=b"]));
    assert!(!twice && text.contains("--smbios is given twice"), "{text}");
    // An option with brackets or quotes that do not match is not passed on.
    for open in ["[", "]", "]][[", "[[]", "\"", "\"[\"", "[\"]", "a]", "\"\"\"", "][", "\\\"", "'", "['"] {
        for option in ["uuid=", "oem_strings=", "oem_strings=[a,", "\"", ""] {
            planned("cloud-hypervisor", &words(&["--kernel=k", "--platform", &format!("{option}{open}")]));
        }
        for option in ["bios-vendor=", "oem-strings=", "oem-strings=[a,", "\"", ""] {
            planned("crosvm", &words(&["run", "--smbios", &format!("{option}{open}")]));
        }
        planned("qemu", &words(&["-smbios", &format!("type=11,value={open}")]));
    }
    for unbalanced in ["uuid=[", "uuid=]", "uuid=\"", "oem_strings=[a", "oem_strings=[a]]"] {
        assert!(!starts("cloud-hypervisor", &["--kernel=k", "--platform", unbalanced]), "{unbalanced}");
    }
    // Empty arguments are kept, and a last option without a value is refused.
    assert!(starts("qemu", &["", "", "-S", ""]));
    assert!(starts("cloud-hypervisor", &["", "--kernel=k", ""]));
    for last in ["-smbios", "--smbios", "-M", "-fw_cfg"] {
        assert!(!starts("qemu", &[last]), "{last}");
    }
    assert!(!starts("cloud-hypervisor", &["--kernel=k", "--platform"]));
    assert!(!starts("crosvm", &["run", "--smbios"]));
}

#[test]
fn control_characters_and_bytes_that_are_no_text_are_shown_escaped_and_passed_on_as_they_are() {
    let odd = OsStr::from_bytes(b"x\n\x1b[2J\xff\xc2\x9b\xe2\x80\xae\r\x07");
    let with = |text: &str| {
        let mut argument = OsString::from(text);
        argument.push(odd);
        argument
    };
    for (hypervisor, arguments, starts) in [
        ("qemu", vec![with(""), "-name".into(), with("guest="), "-append".into(), with("")], true),
        ("qemu", vec!["-smbios".into(), with("type=1,serial=")], true),
        ("qemu", vec!["-smbios".into(), with("type=11,value=")], true),
        ("qemu", vec!["-smbios".into(), with("type=11,path=/nonexistent/")], false),
        ("qemu", vec!["-smbios".into(), with("file=/nonexistent/")], false),
        ("qemu", vec!["-smbios".into(), with("type=11,")], false),
        ("qemu", vec!["-smbios".into(), with("type=11,value=io.systemd.credential:")], false),
        ("qemu", vec!["-M".into(), with("")], true),
        ("qemu", vec![with("-"), "-M".into(), "q35".into()], false),
        ("cloud-hypervisor", vec!["--kernel=k".into(), with("--disk=")], true),
        ("cloud-hypervisor", vec!["--kernel=k".into(), "--platform".into(), with("uuid=")], false),
        ("cloud-hypervisor", vec!["--kernel=k".into(), with("-v")], false),
        ("crosvm", vec!["run".into(), with("--block=")], true),
        ("crosvm", vec!["run".into(), with("--smbios=")], false),
    ] {
        let (does, text) = planned(hypervisor, &arguments);
        assert_eq!(does, starts, "{hypervisor} {arguments:?}: {text}");
    }
    // The hypervisor gets every byte of the argument, and no shell executes a part of it.
    let folder = directory(&[("db", CANARY.as_bytes())]);
    let marker = folder.path().join("started");
    let script = format!("$(touch {0});`touch {0}`;touch {0}|touch {0}", marker.display());
    let mut command = host_with(folder.path(), &["run", "--credential", "db", "--hypervisor=qemu", "--"]);
    let (_programs, shell) = shell_with(QEMU_WORD);
    command
        .arg(shell)
        .args(["-c", "printf '%s\\0' \"$@\"", "sh", "-append"])
        .arg(odd)
        .args(["-name", &script, "-S", ""]);
    let output = run(&mut bounded(&command));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let arguments: Vec<&[u8]> = output.stdout.split(|&byte| byte == 0).collect();
    assert_eq!(arguments[..6], [b"-append", odd.as_bytes(), b"-name", script.as_bytes(), b"-S", b""]);
    assert!(!marker.exists());
}

#[test]
fn files_that_an_option_names_are_looked_at_with_care() {
    let folder = directory(&[("large", &vec![b'x'; 1_048_577])]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    nix::unistd::mkfifo(Path::new(&path("fifo")), nix::sys::stat::Mode::S_IRWXU).unwrap();
    File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
    File::create(path("mebibyte")).unwrap().set_len(1_048_576).unwrap();
    for (file, reason) in [
        ("large", "it has more than "),
        ("sparse", "it has more than "),
        ("fifo", "it is a FIFO, not a regular file"),
        ("missing", "No such file or directory"),
        (".", "it is a directory, not a regular file"),
    ] {
        for option in ["type=11,path=", "file="] {
            let (starts, text) = planned("qemu", &words(&["-smbios", &format!("{option}{}", path(file))]));
            assert!(!starts && text.contains(reason), "{file}: {text}");
        }
        let platform = format!("oem_string_paths=[{}]", path(file));
        let (starts, text) = planned("cloud-hypervisor", &words(&["--kernel=k", "--platform", &platform]));
        assert!(!starts && text.contains(reason), "{file}: {text}");
    }
}
