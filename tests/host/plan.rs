//! `smbios-creds-host` as its users see it: what is started and how, what is shown, what is written.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::fs::{SealFlags, fcntl_get_seals};
use testkit::host::{QEMU_WORD, delivered, directory, host, host_with, shell_with};
use testkit::{code, run, stderr, stdout, terminal, write_program};

const SECRET: &[u8] = b"line\n\"quoted\", [x]\\\0\x80\xff";

const SCRIPT: &str = "echo started; read -r line";

/// A program that stands in for a hypervisor: it prints that it has started, and waits.
struct StandIn(Child);

impl StandIn {
    fn start(directory: &Path, options: &[&str], arguments: &[&str]) -> Self {
        let (_programs, shell) = shell_with(QEMU_WORD);
        let program = [&["--", shell.to_str().unwrap(), "-c", SCRIPT], arguments].concat();
        Self::wait_for(&mut host_with(directory, &[&["run", "--all"], options, &program].concat()))
    }

    fn wait_for(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        Self(child)
    }

    fn proc(&self, file: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.0.id().to_string()).join(file)
    }

    fn arguments(&self) -> Vec<String> {
        let cmdline = String::from_utf8(std::fs::read(self.proc("cmdline")).unwrap()).unwrap();
        cmdline.trim_end_matches('\0').split('\0').map(str::to_owned).collect()
    }

    fn open(&self) -> Vec<i32> {
        let number = |name: std::ffi::OsString| name.to_str().unwrap().parse().unwrap();
        let files = std::fs::read_dir(self.proc("fd")).unwrap();
        let mut open: Vec<i32> = files.map(|entry| number(entry.unwrap().file_name())).collect();
        open.sort_unstable();
        open
    }

    fn end(mut self) {
        self.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

#[test]
fn qemu_reads_structures_from_sealed_files_in_memory() {
    let folder = directory(&[("db", SECRET), ("large", &[b'x'; 9000])]);
    let stand_in =
        StandIn::start(folder.path(), &["--hypervisor=qemu", "--argv0", "microvm@vm"], &["-M", "q35"]);
    let arguments = stand_in.arguments();
    assert_eq!(arguments[0], "microvm@vm", "as exec -a");
    assert_eq!(arguments[4..5], ["q35"]);
    let (mut structures, mut by_fw_cfg) = (Vec::new(), Vec::new());
    for option in arguments[5..].chunks(2) {
        let (before, path) = option[1].split_once("file=/proc/self/").unwrap();
        let file = std::fs::File::open(stand_in.proc(path)).unwrap();
        let seals = fcntl_get_seals(&file).unwrap();
        assert_eq!(seals, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL);
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o400);
        let link = std::fs::read_link(stand_in.proc(path)).unwrap();
        assert!(link.to_str().unwrap().starts_with("/memfd:"), "{}", link.display());
        let content = std::fs::read(stand_in.proc(path)).unwrap();
        if option[0] == "-fw_cfg" {
            by_fw_cfg.push((before.to_owned(), content));
        } else {
            assert_eq!((option[0].as_str(), before), ("-smbios", ""));
            assert_eq!(testkit::walk(&content, false).len(), 1);
            structures.push(content);
        }
    }
    assert_eq!(by_fw_cfg, [("name=opt/io.systemd.credentials/large,".to_owned(), vec![b'x'; 9000])]);
    assert!(structures.len() >= 2);
    let delivery = delivered(&structures);
    assert_eq!(testkit::intact(&delivery), [("db", SECRET), ("large", &[b'x'; 9000][..])]);
    assert!(delivery.proof.is_proven());
    // Our program left no other descriptor open, for example of the credentials directory: the stand-in has all
    // others without our program too.
    let without = StandIn::wait_for(Command::new("sh").args(["-c", SCRIPT]));
    let ours: Vec<i32> = stand_in.open().into_iter().filter(|open| !without.open().contains(open)).collect();
    assert_eq!(ours.len(), structures.len() + by_fw_cfg.len(), "{ours:?}");
    assert!(ours[0] >= 64, "a script uses the low ones for itself: {ours:?}");
    without.end();
    stand_in.end();
}

#[test]
fn the_hypervisor_is_what_it_would_be_without_us() {
    let folder = directory(&[("db", b"secret")]);
    let script = r#"echo "$$ $PWD $(ulimit -Sc) $(umask)"; grep -E 'Sig(Blk|Ign)' /proc/self/status; echo "$CREDENTIALS_DIRECTORY"; cat <&7"#;
    // `sh` opens descriptor 7, prints its own state, and executes our program, which executes the stand-in.
    let outer = format!(r#"exec 7<"$0"; cd /; ulimit -Sc 512; umask 0027; {script}; exec 7<"$0"; exec "$@""#);
    let inherited = folder.path().join("inherited");
    std::fs::write(&inherited, "through descriptor 7\n").unwrap();
    let mut command = Command::new("sh");
    command.arg("-c").arg(outer).arg(&inherited).arg(env!("CARGO_BIN_EXE_smbios-creds-host"));
    let (_programs, shell) = shell_with(QEMU_WORD);
    command.args(["run", "--credential", "db", "--hypervisor=qemu", "--"]).arg(shell).args(["-c", script]);
    let output = run(command.env("CREDENTIALS_DIRECTORY", folder.path()));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    let (before, after) = lines.split_at(lines.len() / 2);
    assert_eq!(before, after, "the same PID, folder, limit, mask and signals");
    assert!(after.len() == 5 && after[0].ends_with(" / 512 0027"), "{after:?}");
    assert_eq!(after[4], "through descriptor 7");
    assert!(stdout(&output).contains(folder.path().to_str().unwrap()));
}

#[test]
fn the_program_is_found_as_execvp_finds_it_and_its_exit_is_ours() {
    let folder = directory(&[("db", b"secret")]);
    let programs = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str, mode: u32| write_program(&programs.path().join(name), text, mode);
    let shell = [std::fs::read("/bin/sh").unwrap(), QEMU_WORD.into()].concat();
    write_program(&programs.path().join("qemu-system-x86_64"), shell, 0o755);
    let text = r#"echo "$#: $0"; exit 42"#;
    script("qemu-kvm", "not executable", 0o644);
    let path = format!("/nonexistent:{}:/usr/bin:/bin", programs.path().display());
    let output = run(host_with(folder.path(), &["run", "--all", "--", "qemu-system-x86_64", "-c", text])
        .env("PATH", &path));
    assert_eq!((code(&output), stdout(&output).as_str()), (42, "1: -smbios\n"), "{}", stderr(&output));
    for missing in ["qemu-kvm", "qemu-system-none", "/nonexistent/qemu-system-x86_64"] {
        for verb in ["run", "plan"] {
            let output = run(host_with(folder.path(), &[verb, "--all", "--", missing]).env("PATH", &path));
            assert_eq!(code(&output), 3, "{missing}");
            let text = stdout(&output) + &stderr(&output);
            assert!(text.contains(&format!("cannot find {missing}, or it is not executable")), "{text}");
        }
    }
    let output = run(&mut host_with(folder.path(), &["run", "--all", "--", "sh"]));
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains(
        "cannot tell which hypervisor sh is; nothing is started\nsmbios-creds-host: help: use --hypervisor"
    ));
    for firecracker in ["firecracker", "/opt/firecracker-v1.7-x86_64"] {
        let output = run(&mut host_with(folder.path(), &["plan", "--all", "--", firecracker]));
        assert!(stdout(&output).contains("Firecracker has no SMBIOS"), "{}", stdout(&output));
    }
}

/// A real QEMU reads the files that our program gives it, and names a file in which something is wrong.
#[test]
fn a_real_qemu_accepts_what_it_is_given() {
    let folder = directory(&[("db", SECRET), ("large", &[b'x'; 9000])]);
    let qemu = |arguments: &[&str]| {
        let program =
            ["--", "qemu-system-x86_64", "-display", "none", "-S", "-monitor", "stdio", "-nodefaults"];
        let mut command = host_with(folder.path(), &[&["run", "--all"], &program[..], arguments].concat());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // If QEMU is not started, nobody reads this input, so the write may fail.
        _ = child.stdin.take().unwrap().write_all(b"quit\n");
        child.wait_with_output().unwrap()
    };
    for machine in ["pc", "q35"] {
        let output = qemu(&["-M", machine, "-smbios", "type=11,value=a,,b", "--smbios", "type=1,serial=x"]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains("(qemu)"));
    }
    let output = qemu(&["-M", "microvm", "-fw_cfg", "opt/io.systemd.credentials/x,string=y"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("(qemu)"));
}

#[test]
fn cloud_hypervisor_whose_image_has_the_option_reads_files() {
    let folder = directory(&[("db", SECRET)]);
    // The stand-in prints the content of every file that its arguments name.
    let script = r#"printf '%s\n' "$4" | tr ',[]' '\n\n\n' |
        while read -r path; do [ ! -e "$path" ] || { cat "$path"; echo; }; done"#;
    let (_directory, program) = shell_with("oem_strings oem_string_paths");
    let start = |verb: &str| {
        let program = ["--", program.to_str().unwrap(), "-c", script, "x", "--kernel", "k"];
        let options = [verb, "--all", "--hypervisor=cloud-hypervisor"];
        run(&mut host_with(folder.path(), &[&options[..], &program].concat()))
    };
    let output = start("run");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let strings: Vec<String> = stdout(&output).lines().map(str::to_owned).collect();
    let delivery = delivered(&[testkit::host::one_structure(&strings)]);
    assert!(delivery.proof.is_proven() && testkit::intact(&delivery) == [("db", SECRET)]);
    let plan = stdout(&start("plan"));
    assert!(plan.contains("  oem_string_paths=[/proc/self/fd/N,/proc/self/fd/N]\n"), "{plan}");
}

#[test]
fn names_that_begin_with_a_dot_are_warned_of() {
    let folder = directory(&[(".hidden", &[b'x'; 6000]), ("db", SECRET)]);
    let warning = "systemd ignores names that begin with '.' in @initrd and fw_cfg";
    let plan = |select: &[&str]| {
        let program = ["--hypervisor=qemu", "--", "true"];
        stdout(&run(&mut host_with(folder.path(), &[&["plan"], select, &program].concat())))
    };
    let text = plan(&["--all"]);
    assert!(text.contains(warning) && text.contains("(credentials .hidden)"), "{text}");
    assert!(!text.contains("opt/io.systemd.credentials/.hidden"), "{text}");
    let text = plan(&["--credential", "other=.hidden", "db"]);
    assert!(!text.contains(warning) && text.contains("opt/io.systemd.credentials/other"), "{text}");
    let emitted = emit(folder.path(), "strings", &[]);
    assert!(stderr(&emitted).contains(warning), "{}", stderr(&emitted));
}

#[test]
fn names_with_a_blank_at_either_end_are_warned_of_and_seen() {
    let warning = "a blank at the beginning or end of a name belongs to the name";
    for (file, shown) in [("db ", r"db\x20"), (" db", r"\x20db")] {
        let folder = directory(&[(file, SECRET), ("my key", SECRET)]);
        let plan = |select: &[&str]| {
            let program = ["--hypervisor=qemu", "--", "true"];
            stdout(&run(&mut host_with(folder.path(), &[&["plan"], select, &program].concat())))
        };
        let text = plan(&["--all"]);
        assert!(text.contains(warning) && text.contains(&format!("(credentials {shown})")), "{text}");
        assert!(text.lines().any(|line| line.trim_start().starts_with(&format!("{shown} "))), "{text}");
        let json: serde_json::Value = serde_json::from_str(&plan(&["--json", "--all"])).unwrap();
        let names = json["credentials"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap());
        assert!(names.clone().any(|name| name == file), "programs get the name as it is: {json}");
        let emitted = emit(folder.path(), "strings", &[]);
        assert!(stderr(&emitted).contains(warning), "{}", stderr(&emitted));
        assert!(
            stdout(&emitted).contains(&format!("io.systemd.credential.binary:{file}=")),
            "and so does the guest"
        );
        let text = plan(&["--credential", &format!("db={file}")]);
        assert!(!text.contains(warning), "{text}");
    }
}

#[test]
fn emit_refuses_an_array_that_the_api_cannot_take() {
    for (size, exit) in [(38_000, 0), (39_000, 3), (60_000, 3)] {
        let folder = directory(&[("db", &vec![b'x'; size])]);
        let emitted = emit(folder.path(), "json", &[]);
        assert_eq!((code(&emitted), emitted.stdout.is_empty()), (exit, exit != 0), "{}", stderr(&emitted));
    }
}

#[test]
fn plan_names_the_program_that_receives_the_secret() {
    let folder = directory(&[("db", SECRET)]);
    let programs = tempfile::tempdir().unwrap();
    let mark = programs.path().join("ran");
    let wrapper = programs.path().join("wrapper");
    let script = programs.path().join("script");
    write_program(&script, format!("#!/bin/sh\n: > {}\nexec \"$@\"\n", mark.display()), 0o755);
    std::fs::copy("/usr/bin/nice", &wrapper).unwrap();
    for (kind, word) in [("cloud-hypervisor", "oem_strings"), ("crosvm", "oem-strings")] {
        let (_directory, real) = shell_with(word);
        let real = real.to_str().unwrap();
        let plan = |json: &str, program: &[&str]| {
            let options = ["plan", "--all", json, "--hypervisor", kind, "--"];
            let output =
                run(&mut host_with(folder.path(), &[&options[..], program, &["run", "--kernel=k"]].concat()));
            assert_eq!(code(&output), 0, "{}", stderr(&output));
            stdout(&output)
        };
        assert!(plan("--json=off", &[real]).contains(&format!("\nreceiver: {real}\n")));
        let json: serde_json::Value = serde_json::from_str(&plan("--json=short", &[real])).unwrap();
        assert_eq!(json["receiver"], serde_json::json!({"program": real}));
        for program in [wrapper.to_str().unwrap(), script.to_str().unwrap()] {
            let text = plan("--json=off", &[program, real]);
            let receiver = format!(
                "\nreceiver: the first program that {program} executes with all arguments, and whose file contains '{word}'"
            );
            assert!(text.contains(&receiver), "{text}");
            let json: serde_json::Value =
                serde_json::from_str(&plan("--json=short", &[program, real])).unwrap();
            assert_eq!(json["receiver"], serde_json::json!({"program": program, "executes": word}));
        }
        assert!(!mark.exists(), "a plan executes nothing");
    }
}

#[test]
fn run_delivers_through_wrappers_or_fails_and_says_what_ran() {
    let folder = directory(&[("db", SECRET)]);
    let programs = tempfile::tempdir().unwrap();
    let script = programs.path().join("script");
    // The script does not quote its arguments, so the shell splits them at blanks. The placeholder has no blanks.
    write_program(&script, "#!/bin/sh\nstarted=yes\nexport started\n$@\nexit $?\n", 0o755);
    let script = script.to_str().unwrap();
    for (kind, word) in [("cloud-hypervisor", "oem_strings"), ("crosvm", "oem-strings")] {
        let (_directory, real) = shell_with(word);
        let real = real.to_str().unwrap();
        let hypervisor = programs.path().join(kind);
        let show = "tr '\\0' '\\n' </proc/$$/cmdline; for got; do echo \"GOT $got\"; done";
        write_program(
            &hypervisor,
            format!("#!/bin/sh\nexec {real} -c '{}' x \"$@\"\n", show.replace('\'', "'\\''")),
            0o755,
        );
        let hypervisor = hypervisor.to_str().unwrap();
        for wrapper in [&[][..], &["env", "A=b"], &[script], &["nice", "-n", "1", script, "env"]] {
            let program = [wrapper, &[hypervisor, "run", "--kernel=k"]].concat();
            let options = ["run", "--all", "--log-level=error", "--hypervisor", kind, "--"];
            let output = run(&mut host_with(folder.path(), &[&options[..], &program].concat()));
            let text = stdout(&output);
            assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{wrapper:?}");
            assert!(text.contains("\nGOT ") && text.contains("io.systemd.credential.binary:db="), "{text}");
            let (seen, _) = text.split_once("\nGOT ").unwrap();
            assert!(seen.contains("smbios-creds-host:2-OEM-strings-that-only-the-hypervisor-sees"), "{seen}");
            assert!(!seen.contains("credential.binary"), "{seen}");
        }
        let (_other_directory, other) = shell_with("neither");
        for (program, exit) in [(&["env", "true"][..], 1), (&[other.to_str().unwrap(), "-c", "exit 7"], 7)] {
            let options = ["run", "--all", "--log-level=error", "--hypervisor", kind, "--"];
            let program = [&options[..], program, &["run", "--kernel=k"]].concat();
            let output = run(&mut host_with(folder.path(), &program));
            let text = stderr(&output);
            assert_eq!(code(&output), exit, "{text}");
            assert!(text.contains("No program has received the secrets") && text.contains(word), "{text}");
        }
    }
}

#[test]
fn plan_executes_no_script_to_ask_it_a_question() {
    let folder = directory(&[("db", SECRET)]);
    let programs = tempfile::tempdir().unwrap();
    let mark = programs.path().join("ran");
    for name in ["qemu-system-x86_64", "cloud-hypervisor", "crosvm"] {
        let program = programs.path().join(name);
        let text =
            format!("#!/bin/sh\n: > {}\necho oem_strings oem_string_paths oem-strings\n", mark.display());
        write_program(&program, text, 0o755);
        let option = if name.starts_with("qemu") { "-S" } else { "--kernel=k" };
        let arguments = ["plan", "--all", "--", program.to_str().unwrap(), option, "run"];
        let output = run(&mut host_with(folder.path(), &arguments));
        assert_eq!(code(&output), 0, "{}", stdout(&output) + &stderr(&output));
        assert!(!mark.exists(), "{name}");
    }
}

#[test]
fn allow_argv_puts_secrets_on_the_command_line_and_says_so() {
    let folder = directory(&[("db", b"secret")]);
    let script = r#"printf %s "$4""#;
    for (kind, arguments, start) in [
        (
            "cloud-hypervisor",
            ["x", "--kernel", "k"],
            "oem_strings=[io.systemd.credential.binary:db=c2VjcmV0,io.",
        ),
        ("crosvm", ["run", "k", "k"], "oem-strings=[\"io.systemd.credential.binary:db=c2VjcmV0\",\"io."),
    ] {
        // The hypervisor's first argument is the shell's $0, so the strings are in $4 for cloud-hypervisor and in $2
        // for crosvm.
        let script = if kind == "crosvm" { r#"printf %s "$2""# } else { script };
        let options = ["run", "--all", "--hypervisor", kind, "--allow-argv", "--", "sh", "-c", script];
        let output = run(&mut host_with(folder.path(), &[&options[..], &arguments].concat()));
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).starts_with(start), "{}", stdout(&output));
        assert!(
            stderr(&output).contains("warning: --allow-argv: every user of this host can read the secrets")
        );
    }
}

#[test]
fn cloud_hypervisor_gets_its_strings_in_an_argument_that_nobody_sees() {
    let folder = directory(&[("db", b"secret")]);
    let script = r#"tr '\0' '\n' < /proc/$$/cmdline; echo "GOT $4""#;
    let (_directory, shell) = shell_with("oem_strings");
    let shell = shell.to_str().unwrap();
    let options =
        ["run", "--all", "--hypervisor=cloud-hypervisor", "--", shell, "-c", script, "x", "--kernel", "k"];
    let output = run(&mut host_with(folder.path(), &options));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    let (seen, got) = text.rsplit_once("GOT ").unwrap();
    assert!(
        got.starts_with("oem_strings=[io.systemd.credential.binary:db=c2VjcmV0,io.smbios-creds.manifest:")
    );
    assert!(seen.contains("smbios-creds-host:2-OEM-strings-that-only-the-hypervisor-sees"), "{seen}");
    assert!(!seen.contains("c2VjcmV0"));
}

#[test]
fn plan_says_what_run_would_do() {
    let folder = directory(&[("db", b"secret"), ("tls", &[b'x'; 5000])]);
    let (_programs, shell) = shell_with(QEMU_WORD);
    let shell = shell.to_str().unwrap();
    let plan = |options: &[&str], arguments: &[&str]| {
        let program = ["--", shell, "-c", "exit 99"];
        run(&mut host_with(folder.path(), &[&["plan", "--all"], options, &program, arguments].concat()))
    };
    let output = plan(&["--hypervisor=qemu"], &["-M", "q35"]);
    let text = stdout(&output);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "the program is not executed");
    assert!(
        text.starts_with(
            "starts: qemu with 2 credentials (3 OEM strings in 3 structures, 1 fw_cfg item) in memory-only files"
        ),
        "{text}"
    );
    let warning = "\nwarning: systemd 256 and older in the guest cannot read all bytes of these \
                   from SMBIOS: they are also sent by";
    assert!(text.contains(warning) && text.contains("qemu_fw_cfg (credentials tls)\n"), "{text}");
    assert!(text.contains("\n  name=opt/io.systemd.credentials/tls,file=/proc/self/fd/N\n"), "{text}");
    assert!(text.contains("\nNAME SIZE CHANNEL        FROM\ndb     6B SMBIOS         directory\ntls  4.8K SMBIOS, fw_cfg directory\n"), "{text}");
    let arguments =
        format!("\nARGUMENTS as others will see them\n  {shell}\n  -c\n  exit 99\n  -M\n  q35\n  -smbios\n");
    assert!(text.contains(&arguments), "{text}");

    let output = plan(&["--hypervisor=qemu", "--json=short"], &[]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["starts"], &json["hypervisor"], &json["delivery"]),
        (&true.into(), &"qemu".into(), &"sealed-memfds".into())
    );
    let row = |name: &str, size: usize, channels: &[&str]| serde_json::json!({"name": name, "size": size, "existing": false, "channels": channels});
    assert_eq!(json["credentials"][0], row("db", 6, &["smbios"]));
    assert_eq!(json["credentials"][1], row("tls", 5000, &["smbios", "fw-cfg"]));
    assert_eq!((&json["strings"], &json["fw_cfg_items"]), (&3.into(), &1.into()));
    assert_eq!(json["structures"].as_array().unwrap().len(), 3);
    let table = &json["limits"][0];
    assert_eq!(
        (&table["maximum"], &table["available"], &table["exceeded"]),
        (&65535.into(), &61439.into(), &false.into())
    );
    assert!(table["used"].as_u64().unwrap() > 5006 && table["source"].as_str().unwrap().contains("SeaBIOS"));

    let output = plan(&["--hypervisor=qemu", "--json=short"], &["-M", "microvm"]);
    assert_eq!(code(&output), 0);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["credentials"][1], row("tls", 5000, &["fw-cfg"]));
    assert_eq!((&json["strings"], &json["fw_cfg_items"]), (&0.into(), &3.into()));
    assert_eq!(json["structures"], serde_json::json!([]));
    let slots = &json["limits"][0];
    assert_eq!((&slots["name"], &slots["unit"]), (&"QEMU: number of fw_cfg items".into(), &"items".into()));
    assert_eq!((&slots["used"], &slots["available"]), (&3.into(), &20.into()));
    let text = stdout(&plan(&["--hypervisor=qemu"], &["-M", "microvm"]));
    assert!(
        text.starts_with("starts: qemu with 2 credentials (3 fw_cfg items) in memory-only files"),
        "{text}"
    );
    assert!(text.contains("\nNAME SIZE CHANNEL FROM\ndb     6B fw_cfg  directory\n"), "{text}");
    assert!(!text.contains("one structure") && !text.contains("warning"), "{text}");
    // The credentials must be selected in exactly one of the two ways.
    for select in [&["--all", "--prefix", "d"][..], &[]] {
        let output = run(&mut host_with(folder.path(), &[&["plan"], select, &["--", "qemu-kvm"]].concat()));
        assert_eq!(code(&output), 2);
    }
}

fn emit(directory: &Path, format: &str, options: &[&str]) -> Output {
    run(&mut host_with(directory, &[&["emit", "--all", "--format", format], options].concat()))
}

#[test]
fn emit_writes_what_others_take() {
    let folder = directory(&[("a\"b", b"secret"), ("db", SECRET)]);
    let expected = [("a\"b", &b"secret"[..]), ("db", SECRET)];
    let as_delivered = |strings: &[String]| {
        let delivery = delivered(&[testkit::host::one_structure(strings)]);
        assert!(delivery.proof.is_proven() && testkit::intact(&delivery) == expected, "{strings:?}");
    };
    let lines = stdout(&emit(folder.path(), "strings", &[]));
    as_delivered(&lines.lines().map(str::to_owned).collect::<Vec<_>>());
    let json: Vec<String> = serde_json::from_slice(&emit(folder.path(), "json", &[]).stdout).unwrap();
    as_delivered(&json);
    let structures = emit(folder.path(), "structures", &[]).stdout;
    assert_eq!(testkit::intact(&delivered(&[structures])), expected);
    let crosvm = stdout(&emit(folder.path(), "crosvm", &[]));
    as_delivered(&testkit::host::crosvm_list(crosvm.strip_prefix("oem-strings=").unwrap()).unwrap());
    let qemu = emit(folder.path(), "qemu", &[]);
    let pairs = testkit::host::qemu_smbios(&["-smbios".into(), stdout(&qemu)]).remove(0);
    assert_eq!(pairs[0].1, "11");
    as_delivered(&pairs[1..].iter().map(|(_, value)| value.clone()).collect::<Vec<_>>());
    assert!(stderr(&qemu).contains("where every user of the host can"), "{}", stderr(&qemu));
    let xml = emit(folder.path(), "libvirt", &[]);
    assert_eq!(stdout(&xml).matches("<entry>").count(), 3);
    assert!(stderr(&xml).contains("the domain's log"));
}

#[test]
fn emit_makes_a_file_for_its_owner_alone_and_overwrites_nothing() {
    let folder = directory(&[("db", b"secret")]);
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("strings");
    let path = file.to_str().unwrap();
    assert_eq!(code(&emit(folder.path(), "strings", &["--output", path])), 0);
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let before = std::fs::read(&file).unwrap();
    let again = emit(folder.path(), "strings", &["--output", path]);
    assert_eq!((code(&again), std::fs::read(&file).unwrap()), (1, before));
    assert!(stderr(&again).contains(&format!("cannot create {path}: File exists")));
    let link = out.path().join("link");
    std::os::unix::fs::symlink(out.path().join("elsewhere"), &link).unwrap();
    assert_eq!(code(&emit(folder.path(), "strings", &["--output", link.to_str().unwrap()])), 1);
    assert!(!out.path().join("elsewhere").exists());
    let full = emit(folder.path(), "strings", &["--output", "/nonexistent/x"]);
    assert_eq!(code(&full), 1);
    assert!(stderr(&full).contains("cannot create /nonexistent/x: No such file"));
}

#[test]
fn emit_writes_no_secret_to_a_terminal_or_a_log() {
    let folder = directory(&[("db", b"secret")]);
    let (our_end, other_end) = terminal();
    let mut command = host_with(folder.path(), &["emit", "--all", "--format", "strings"]);
    let output = run(command.stdout(other_end).stderr(Stdio::piped()));
    assert_eq!(code(&output), 3);
    assert!(stderr(&output).contains("standard output is a terminal or a log"), "{}", stderr(&output));
    drop(our_end);

    // Standard output is the journal by systemd's rule: it is the file that $JOURNAL_STREAM names.
    let journal = tempfile::NamedTempFile::new().unwrap();
    let stat = journal.as_file().metadata().unwrap();
    let emitted = |force: &[&str]| {
        let mut command =
            host_with(folder.path(), &[&["emit", "--all", "--format", "strings"], force].concat());
        command.env("JOURNAL_STREAM", format!("{}:{}", stat.dev(), stat.ino()));
        code(&run(command.stdout(journal.reopen().unwrap())))
    };
    assert_eq!(emitted(&[]), 3);
    assert_eq!(journal.as_file().metadata().unwrap().len(), 0);
    assert_eq!(emitted(&["--force"]), 0);
    assert!(journal.as_file().metadata().unwrap().len() > 0);
}

#[test]
fn the_example_for_a_vmm_makes_a_table_that_a_guest_accepts() {
    let folder = directory(&[("db", SECRET), ("large", &[b'x'; 9000])]);
    let out = tempfile::tempdir().unwrap();
    let example = testkit::example("vmm");
    let status = Command::new(&example).arg(folder.path()).arg(out.path()).status();
    assert!(status.is_ok_and(|status| status.success()), "{} fails", example.display());
    let output = testkit::run_on(out.path(), &["check", "--manifest=require", "--require", "db", "large"]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert!(
        stdout(&output).starts_with("passed: 2 credentials, the manifest proves that the set is complete")
    );
    let failed = Command::new(&example).arg("/nonexistent").arg(out.path()).output().unwrap();
    assert!(!failed.status.success());
}

#[test]
fn help_is_complete_and_log_lines_name_the_program() {
    let output = run(&mut host(&["--help"]));
    assert_eq!(code(&output), 0);
    for word in ["run", "plan", "emit", "Exit status:\n  0  success\n  1 ", "\n  3  refused"] {
        assert!(stdout(&output).contains(word), "{word}");
    }
    let output = run(&mut host(&["emit", "--all", "--format", "json"]));
    assert!(stderr(&output).starts_with("smbios-creds-host: error: $CREDENTIALS_DIRECTORY is not set"));
    let output = run(&mut host(&["run", "--\x1b[31m"]));
    assert!(code(&output) == 2 && !output.stderr.contains(&0x1b));
}
