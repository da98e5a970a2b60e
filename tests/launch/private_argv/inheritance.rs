//! A program that is started with private arguments inherits the same from its caller as one without them.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use testkit::host::{directory, program_with};

use super::launch::{Running, Start, TOOLS, as_nobody, assert_nobody_is_left};

/// Lines of /proc/self/status that must be the same with and without private arguments.
const STATUS: &[&str] = &[
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "Threads",
    "SigPnd",
    "ShdPnd",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "VmLck",
    "State",
    "CoreDumping",
];

/// Sets unusual descriptors, directory, umask, limits, variable, and blocked and ignored signals for the launcher.
const UNUSUAL: &str = r#"cd /proc/self/; cd /var; umask 0137; ulimit -Sc 123; ulimit -n 500; export ODD='a b=c'
    exec 7</dev/null 9>/dev/null
    exec env --block-signal=USR1 --block-signal=TERM --ignore-signal=HUP --ignore-signal=USR2 "$@""#;

fn assert_same(through: &[&str], nobody: bool) {
    for program in ["dynamic", "static"] {
        let program = TOOLS.path(program);
        let values = [b"a value".as_slice()];
        let start = Start { through, ..Start::new(&program, &values) };
        let [plain, private] = [start.plain(), start.command()].map(|mut command| {
            if nobody {
                as_nobody(&mut command);
            }
            Running::start(&mut command).unwrap()
        });
        let (expected, found) = (&plain.report, &private.report);
        assert_eq!(found.all("argument"), start.found());
        for name in
            ["execfn", "platform", "secure", "page", "parent", "uid", "dumpable", "folder", "children"]
        {
            assert_eq!(found.text(name), expected.text(name), "{name}");
        }
        assert_eq!(found.text("limits"), expected.text("limits"));
        assert_eq!(found.all("descriptor"), expected.all("descriptor"));
        assert_eq!(found.all("variable"), expected.all("variable"));
        assert_eq!(found.status(STATUS), expected.status(STATUS));
        assert!(found.status(STATUS).len() > 15);
        // The program runs in the process that was started as the launcher.
        assert_eq!(found.number("pid"), u64::from(private.child.id()));
        private.end();
        plain.end();
    }
}

#[test]
fn pid_descriptors_signals_limits_and_folder_are_kept() {
    assert_same(&[], false);
    assert_same(&["bash", "-c", UNUSUAL, "bash"], false);
    assert_same(&["bash", "-c", UNUSUAL, "bash"], true);
}

#[test]
fn ignored_children_do_not_stop_a_start() {
    assert_same(&["env", "--ignore-signal=CHLD"], false);
    assert_same(&["env", "--block-signal"], false);
}

#[test]
fn a_start_without_new_privileges_is_like_any_other() {
    assert_same(&["setpriv", "--no-new-privs"], false);
    assert_same(&["setpriv", "--no-new-privs"], true);
}

#[test]
fn capabilities_are_kept() {
    if testkit::is_root() {
        let ambient = [
            "setpriv",
            "--reuid=65534",
            "--clear-groups",
            "--inh-caps=+net_admin,+sys_ptrace",
            "--ambient-caps=+net_admin,+sys_ptrace",
        ];
        assert_same(&ambient, false);
        assert_same(&["setpriv", "--bounding-set=-sys_ptrace"], false);
    }
}

/// Returns `smbios-creds-host run` with SIGCHLD blocked: a SIGCHLD that the launcher got would stay pending.
fn run_with(arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.arg("--block-signal=CHLD").arg(testkit::program("smbios-creds-host"));
    command.args(["run", "--log-level=error", "--all", "--hypervisor=cloud-hypervisor", "--credentials"]);
    command.args(arguments).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn tracer_started_ahead_and_not_needed_is_no_child_of_anybody() {
    let credentials = directory(&[("secret", b"CanaryCanary")]);
    let credentials = credentials.path().to_str().unwrap();
    // This hypervisor can read values from files, so the launcher executes it directly, and nothing is traced.
    let (_programs, program) = program_with(TOOLS.path("static").to_str().unwrap(), "oem_string_paths");
    let program = program.to_str().unwrap();
    let running = Running::start(&mut run_with(&[credentials, "--", program, "--kernel=k"])).unwrap();
    assert!(running.report.all("argument").iter().any(|text| text.starts_with(b"oem_string_paths=")));
    assert_eq!(running.report.text("children"), "");
    for line in running.report.status(&["SigPnd", "ShdPnd"]) {
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
    running.end();
    // A start that is refused after its tracer was started leaves no process either.
    let mut refused = run_with(&["/nonexistent", "--", program, "--kernel=k"]).spawn().unwrap();
    let group = refused.id().into();
    assert_eq!(refused.wait().unwrap().code(), Some(3));
    assert_nobody_is_left(group);
}
