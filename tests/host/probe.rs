//! Arguments with which a hypervisor starts no guest: it is executed unchanged, and gets no credentials.

use std::process::{Command, Output, Stdio};

use testkit::host::{directory, host, host_with};
use testkit::{code, run, stderr, stdout};

const QEMU: &str = "qemu-system-x86_64";

/// Arguments that ask QEMU about itself.
const PROBES: [&[&str]; 17] = [
    &["-version"],
    &["--version"],
    &["-h"],
    &["-help"],
    &["-nographic", "--help"],
    &["-M", "help"],
    &["-machine", "?"],
    &["-machine", "q35,help"],
    &["-cpu", "help"],
    &["-device", "help"],
    &["-device", "virtio-net-pci,help"],
    &["-object", "help"],
    &["-object", "memory-backend-ram,help"],
    &["-accel", "help"],
    &["-netdev", "help"],
    &["-chardev", "help"],
    &["-audiodev", "help"],
];

fn ours(arguments: &[&str]) -> Output {
    // There is no credentials directory, so `run` would refuse arguments that start a guest.
    run(&mut host(&[&["run", "--all", "--", QEMU], arguments].concat()))
}

#[test]
fn probe_of_qemu_prints_what_it_prints_without_us() {
    for arguments in PROBES {
        let without = Command::new(QEMU).args(arguments).stdin(Stdio::null()).output().unwrap();
        let output = ours(arguments);
        assert!(without.status.success() && !without.stdout.is_empty(), "{arguments:?}");
        assert_eq!(
            (code(&output), stdout(&output)),
            (0, String::from_utf8(without.stdout).unwrap()),
            "{arguments:?}"
        );
        let (first, rest) =
            stderr(&output).split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert_eq!(
            first,
            "smbios-creds-host: info: starts qemu unchanged, without credentials: these arguments start no guest"
        );
        assert_eq!(rest, String::from_utf8(without.stderr).unwrap(), "{arguments:?}");
    }
}

#[test]
fn machine_none_answers_questions_as_it_does_without_us() {
    use std::io::Write as _;
    let mut command =
        host(&["run", "--all", "--", QEMU, "-S", "-no-user-config", "-nodefaults", "-nographic"]);
    command.args(["-machine", "none,accel=kvm:tcg", "-qmp", "stdio"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let question = r#"{"execute":"qom-get","arguments":{"path":"/machine","property":"type"}}"#;
    let questions = format!(r#"{{"execute":"qmp_capabilities"}}{question}{{"execute":"quit"}}"#);
    child.stdin.take().unwrap().write_all(questions.as_bytes()).unwrap();
    let answer = stdout(&child.wait_with_output().unwrap());
    assert!(answer.starts_with(r#"{"QMP""#) && answer.contains("none-machine"), "{answer}");
}

#[test]
fn probe_gets_its_arguments_unchanged_and_no_file() {
    let folder = directory(&[("db", b"secret")]);
    let script = r#"for argument; do echo "$argument"; done; ls -l /proc/$$/fd | grep -c memfd; exit 0"#;
    let start = |verb: &str, arguments: &[&str]| {
        let program = [verb, "--all", "--hypervisor=qemu", "--argv0", "name", "--", "sh", "-c", script, "x"];
        run(&mut host_with(folder.path(), &[&program[..], arguments].concat()))
    };
    let arguments = ["-M", "q35", "-smbios", "type=11,value=x", "-machine", "none"];
    let output = start("run", &arguments);
    let expected = format!("{}\n0\n", arguments.join("\n"));
    assert_eq!((code(&output), stdout(&output)), (0, expected), "{}", stderr(&output));
    let plan = start("plan", &arguments);
    assert_eq!(
        (code(&plan), stdout(&plan).as_str()),
        (0, "starts: qemu unchanged, without credentials: these arguments start no guest\n")
    );
}

#[test]
fn what_only_looks_like_a_probe_needs_its_credentials() {
    for arguments in [
        &[][..],
        &["-append", "-version"],
        &["-name", "help"],
        &["-device", "virtio-net-pci,id=help"],
        &["-chardev", "id=help,backend=null"],
        &["-netdev", "user,id=help"],
        &["-M", "none", "-M", "q35"],
        &["-M", "q35", "-kernel", "help", "help", "?"],
        &["-device", r#"{"driver":"help"}"#],
        &["-new-option", "-version"],
        &["-smbios", "help"],
    ] {
        // If QEMU is executed after all, this option makes it end at once.
        let output = ours(&[arguments, &["-no-such-option"]].concat());
        assert_eq!(code(&output), 3, "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("$CREDENTIALS_DIRECTORY is not set"), "{}", stderr(&output));
    }
}
