//! If a wrapper ends without executing the hypervisor, the start fails, in whichever way the wrapper ends. If only
//! children of a wrapper end, and the wrapper executes the hypervisor, the hypervisor gets every byte.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::Duration;

use super::launch::{PLACEHOLDER, Running, Start, TOOLS, as_nobody, assert_nobody_is_left, proc};

/// The program `ends.c`: dynamically linked, static, with the note of a Go program, and with a library that has the
/// function `_Exit` too.
static ENDS: LazyLock<[String; 4]> = LazyLock::new(|| {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/launch/private_argv/ends.c");
    let library = TOOLS.path("libends.so");
    let [_, programs @ ..] = [
        ("libends.so", &["-DLIBRARY", "-shared", "-fPIC"][..]),
        ("ends", &[]),
        ("ends-static", &["-static"]),
        ("ends-go", &["-DGO"]),
        ("ends-two", &[library.to_str().unwrap()]),
    ]
    .map(|(name, options)| {
        let path = TOOLS.path(name);
        let mut compiler = Command::new("cc");
        compiler.args(["-w", "-O1", "-pthread", "-o"]).arg(&path).arg(&source).args(options);
        let built = compiler.output().unwrap();
        assert!(built.status.success(), "{name}: {}", String::from_utf8_lossy(&built.stderr));
        path.to_str().unwrap().to_owned()
    });
    programs
});

/// Starts `program` as a wrapper that ends in the way `how`. The command `through` executes the launcher.
fn ends(through: &[&str], program: &str, how: &str) -> Output {
    let start = Start {
        arguments: &[program, how, PLACEHOLDER],
        through,
        ..Start::new(Path::new(program), &[b"CanaryCanary"])
    };
    let mut command = start.command();
    if how.len().is_multiple_of(2) {
        as_nobody(&mut command);
    }
    let mut child = command.spawn().unwrap();
    drop(child.stdin.take());
    let group = child.id().into();
    let output = child.wait_with_output().unwrap();
    assert_nobody_is_left(group);
    output
}

/// Asserts that a start ended with exit code `code`, and that its message says that the wrapper ended with code `said`.
fn assert_ends(output: &Output, said: u8, code: i32, what: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{what}: {:?} {text}", output.status.signal());
    assert!(text.contains(&format!("ended with exit code {said}")), "{what}: {text}");
    assert!(text.contains("No program has received the secrets"), "{what}: {text}");
    assert_eq!(text.lines().count(), 1, "{what}: {text}");
}

#[test]
fn wrapper_that_ends_with_success_in_any_way_fails_the_start() {
    let [dynamic, fixed, go, two] = ENDS.each_ref();
    for how in [
        "return",
        "exit",
        "_exit",
        "_Exit",
        "quick_exit",
        "syscall",
        "thread",
        "last-thread",
        "library",
        "undumpable",
        "ignores-and-ends",
        "blocks-and-ends",
    ] {
        assert_ends(&ends(&[], dynamic, how), 0, 1, how);
    }
    for how in ["return", "_exit", "quick_exit", "syscall", "thread", "raw"] {
        assert_ends(&ends(&[], fixed, how), 0, 1, &format!("static {how}"));
    }
    // A Go program makes its system calls itself.
    assert_ends(&ends(&[], go, "raw"), 0, 1, "Go");
    // libends.so and the C library both define `_Exit`, and either of them may end the program.
    assert_ends(&ends(&[], two, "_Exit"), 0, 1, "two");
    let through = ["sh", "-c", "trap '' TRAP; exec \"$@\"", "sh"];
    for how in ["return", "syscall"] {
        assert_ends(&ends(&through, dynamic, how), 0, 1, &format!("without SIGTRAP {how}"));
    }
}

#[test]
fn other_exit_codes_of_a_wrapper_stay() {
    for program in &ENDS[..] {
        assert_ends(&ends(&[], program, "seven"), 7, 7, program);
    }
}

#[test]
fn end_by_an_instruction_of_the_program_itself_is_said_at_least() {
    // A dynamically linked wrapper that makes the system call itself still ends the start with exit code 0: only the
    // message tells of it.
    assert_ends(&ends(&[], &ENDS[0], "raw"), 0, 0, "raw");
}

#[test]
fn wrapper_whose_children_end_executes_the_hypervisor() {
    let value = vec![b'x'; 50_000];
    let program = TOOLS.path("dynamic");
    let program = program.to_str().unwrap();
    for wrapper in &ENDS[..] {
        let mark = TOOLS.new_path("mark");
        let hows = [
            "fork",
            "fork-late",
            "undumpable-forks",
            "vfork",
            "shares",
            "spawn",
            "outlives",
            "loads",
            "signals",
        ];
        // With `taskset 1` all processes share one processor, so a child stops after the fork event of its parent.
        for (how, through) in hows.into_iter().flat_map(|how| [(how, &[][..]), (how, &["taskset", "1"])]) {
            if how == "loads" && wrapper.ends_with("static") || wrapper.ends_with("two") {
                continue;
            }
            let values = [value.as_slice()];
            let arguments = [wrapper, how, program, "--one", PLACEHOLDER];
            let start = Start { arguments: &arguments, through, ..Start::new(Path::new(wrapper), &values) };
            let mut command = start.command();
            if how == "undumpable-forks" {
                as_nobody(&mut command);
            }
            let running = Running::start(command.env("ENDS_MARK", &mark))
                .unwrap_or_else(|error| panic!("{wrapper} {how}: {error}"));
            let found = running.report.all("argument");
            assert!(found == [program.as_bytes(), b"--one", value.as_slice()], "{wrapper} {how}");
            for _ in 0..1000 {
                if how != "outlives" || mark.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            assert_eq!(mark.exists(), how == "outlives", "{wrapper} {how}");
            _ = std::fs::remove_file(&mark);
            running.end();
        }
    }
}

#[test]
fn ignored_trap_signal_is_still_ignored_in_the_hypervisor() {
    let program = TOOLS.path("dynamic");
    let name = program.to_str().unwrap();
    let values = [b"a value".as_slice()];
    let arguments = ["env", name, "--one", PLACEHOLDER];
    let through = ["sh", "-c", "trap '' TRAP; exec \"$@\"", "sh"];
    let start =
        Start { arguments: &arguments, through: &through, ..Start::new(Path::new("/usr/bin/env"), &values) };
    let running = Running::start(&mut start.command()).unwrap();
    let plain = Start { through: &through, ..Start::new(&program, &[]) };
    let plain = Running::start(&mut plain.plain()).unwrap();
    let masks = ["SigIgn", "SigBlk", "SigCgt"];
    assert_eq!(running.report.status(&masks), plain.report.status(&masks));
    // The caller of the tests may ignore other signals too, so only the bit of SIGTRAP is checked.
    let ignored = &running.report.status(&["SigIgn"])[0];
    let mask = u64::from_str_radix(ignored.rsplit('\t').next().unwrap(), 16).unwrap();
    assert!(mask >> (nix::libc::SIGTRAP - 1) & 1 == 1, "{ignored}");
    plain.end();
    running.end();
}

#[test]
fn no_breakpoint_is_left_in_a_wrapper_that_waits_for_the_hypervisor() {
    let program = TOOLS.path("dynamic");
    let script = TOOLS.new_path("script");
    testkit::write_program(&script, "#!/bin/sh\n\"$@\"\nexit $?\n", 0o755);
    let name = script.to_str().unwrap();
    let values = [b"a value".as_slice()];
    let arguments = [name, program.to_str().unwrap(), "--one", PLACEHOLDER];
    let start = Start { arguments: &arguments, ..Start::new(&script, &values) };
    let running = Running::start(&mut start.command()).unwrap();
    // In memory, the code of the shell and of its C library equals the code in their files.
    let maps = String::from_utf8(proc(running.child.id(), "maps")).unwrap();
    let code: Vec<&str> = maps.lines().filter(|line| line.contains(" r-xp ") && line.contains('/')).collect();
    assert!(code.iter().any(|line| line.contains("libc.so")), "{maps}");
    let memory = std::fs::File::open(format!("/proc/{}/mem", running.child.id())).unwrap();
    for line in code {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        let (start, end) = fields[0].split_once('-').unwrap();
        let (start, end, at) = (number(start), number(end), number(fields[2]));
        let mut found = vec![0; end - start];
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut found, start as u64).unwrap();
        let file = std::fs::read(fields[5]).unwrap();
        let expected = &file[at..file.len().min(at + found.len())];
        assert!(found[..expected.len()] == *expected, "{line}");
    }
    running.end();
}
