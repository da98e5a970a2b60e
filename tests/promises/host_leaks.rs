//! No value leaves the host's program except to where it must go: not to standard error, not in a plan, not in an
//! argument.

use std::path::Path;
use std::process::{Command, Stdio};

use smbios_creds::format::base64;
use testkit::host::{CLOUD_HYPERVISOR, QEMU, QEMU_WORD, directory, host_with, program_with, shell_with};
use testkit::{code, run};

/// A value that the tests look for in every form: as text, as base64 and as hex.
const CANARY: &str = "CanaryCanary";

fn assert_clean(output: &[u8], what: &str) {
    let hex = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let text = String::from_utf8_lossy(output);
    for canary in [CANARY, &base64::encode(CANARY.as_bytes()), &hex] {
        assert!(!text.contains(canary), "{what}: {text}");
    }
}

/// A directory with a value in every file, and files that are refused.
fn credentials() -> tempfile::TempDir {
    let folder = directory(&[
        ("db", CANARY.as_bytes()),
        ("a=b", CANARY.as_bytes()),
        ("bad,name", CANARY.as_bytes()),
        ("large", CANARY.repeat(5000).as_bytes()),
        ("huge", CANARY.repeat(100_000).as_bytes()),
        ("empty", b""),
    ]);
    std::os::unix::fs::symlink("db", folder.path().join("link")).unwrap();
    folder
}

#[test]
fn no_verb_prints_a_value_at_any_log_level_and_whatever_goes_wrong() {
    let folder = credentials();
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), "#!/bin/sh\nexit 0\n").unwrap();
    let blocked = format!("{}/below/a/file", folder.path().display());
    let string = format!("io.systemd.credential:x={CANARY}");
    let value = format!("type=11,value={string}");
    let near_miss = format!("type=11,value=io.systemd.credentials:x={CANARY}");
    let platform = format!("oem_strings=[{string}]");
    let unbalanced = format!("oem_strings=[{string}]]");
    let quoted = format!("oem_strings=[\"{string}\",b]");
    let crosvm = format!("oem-strings=[\"{string}]");
    let (_cloud_hypervisor, cloud_hypervisor) = program_with("/bin/true", "oem_strings");
    let cloud_hypervisor = cloud_hypervisor.to_str().unwrap();
    let (_crosvm, crosvm_program) = program_with("/bin/true", "oem-strings");
    let crosvm_program = crosvm_program.to_str().unwrap();
    let selections: [&[&str]; 9] = [
        &["--credential", "db"],
        &["--credential", "db", "x=db", "db"],
        &["--credential", "a=b"],
        &["--credential", "bad,name"],
        &["--credential", "db", "large"],
        &["--credential", "huge"],
        &["--prefix", "l", "--allow-empty", "db"],
        &["--all"],
        &["--credential", "db", "--expect", "missing"],
    ];
    let programs: [&[&str]; 11] = [
        &["--hypervisor=qemu", "--", "true"],
        &["--hypervisor=qemu", "--", "true", "-smbios", &value],
        &["--hypervisor=qemu", "--", "true", "-smbios", &near_miss],
        &["--hypervisor=qemu", "--", "true", "-M", "microvm"],
        &["--hypervisor=qemu", "--", "/nonexistent"],
        &["--hypervisor=cloud-hypervisor", "--", script.path().to_str().unwrap(), "--kernel=k"],
        &["--hypervisor=cloud-hypervisor", "--", cloud_hypervisor, "--kernel=k", "--platform", &platform],
        &["--hypervisor=cloud-hypervisor", "--", cloud_hypervisor, "--kernel=k", "--platform", &unbalanced],
        &["--hypervisor=cloud-hypervisor", "--", cloud_hypervisor, "--kernel=k", "--platform", &quoted],
        &["--hypervisor=crosvm", "--", crosvm_program, "run", "--smbios", &crosvm],
        &["--", "unknown"],
    ];
    let place = tempfile::tempdir().unwrap();
    let place = place.path().join("slots").to_str().unwrap().to_owned();
    let mut runs = 0;
    let mut check = |arguments: &[&str]| {
        let output = run(host_with(folder.path(), arguments).env("RUST_BACKTRACE", "full"));
        assert!((0..4).contains(&code(&output)), "{arguments:?}");
        assert_clean(&output.stderr, &format!("{arguments:?}: stderr"));
        if arguments[0] != "emit" {
            assert_clean(&output.stdout, &format!("{arguments:?}: stdout"));
        }
        runs += 1;
        output
    };
    for select in selections {
        for level in ["trace", "off"] {
            for program in programs {
                let options = [select, &["--log-level", level]].concat();
                check(&[&["run"], &options[..], program].concat());
                // `plan` shows the arguments, which others can see anyway, except those with OEM strings.
                check(&[&["plan"], &options[..], program].concat());
                check(&[&["plan", "--json"], &options[..], program].concat());
            }
            for format in
                ["strings", "json", "structures", "qemu", "cloud-hypervisor", "crosvm", "libvirt", "incus"]
            {
                let emit = ["emit", "--log-level", level, "--format", format];
                check(&[&emit, select].concat());
                check(&[&emit, select, &["--output", &blocked]].concat());
            }
            for format in ["structures", "libvirt"] {
                // Standard output has the paths only.
                let emit = ["emit", "--log-level", level, "--format", format, "--output-dir"];
                for directory in [&blocked, &place] {
                    let output = check(&[&emit, &[directory.as_str()][..], select].concat());
                    assert_clean(&output.stdout, "paths");
                }
            }
        }
    }
    assert!(runs > 800, "{runs}");
}

#[test]
fn a_value_is_in_no_argument_environment_or_file_of_what_run_starts() {
    let folder = directory(&[("db", CANARY.as_bytes())]);
    let script = "cat /proc/self/cmdline /proc/$$/cmdline /proc/$$/environ; ls -l /proc/$$/fd";
    let value = format!("type=11,value=io.systemd.credential:x={CANARY}");
    for existing in [&[][..], &["-smbios", &value]] {
        let (_programs, shell) = shell_with(QEMU_WORD);
        let program = ["run", "--all", "--hypervisor=qemu", "--", shell.to_str().unwrap(), "-c", script];
        let output = run(&mut host_with(folder.path(), &[&program, existing].concat()));
        assert_eq!(code(&output), 0);
        assert_clean(&output.stdout, "run");
        assert!(String::from_utf8_lossy(&output.stdout).contains("file=/proc/self/fd/"));
    }
}

/// Starts `emit` so that it waits while it holds the values, and looks at the process from outside.
#[test]
fn the_process_is_not_dumpable_and_has_no_core_limit() {
    let folder = directory(&[("big", &vec![b'x'; 45_000]), ("second", &vec![b'y'; 30_000])]);
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for nobody in [false, testkit::is_root()] {
        let mut command = Command::new("sh");
        command.args(["-c", r#"ulimit -Sc unlimited 2>/dev/null; exec "$@""#, "sh"]);
        command.arg(env!("CARGO_BIN_EXE_smbios-creds-host"));
        command
            .args(["emit", "--all", "--format", "strings", "--log-level=off", "--credentials"])
            .arg(folder.path());
        if nobody {
            // The files in /proc of root's process belong to root in any case, so the test also uses another user.
            std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        }
        // A pipe that nobody reads holds 64 KiB, so `emit` waits when it writes more.
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let proc = Path::new("/proc").join(child.id().to_string());
        let sleeps = || std::fs::read_to_string(proc.join("stat")).unwrap().contains(") S ");
        let emits = || std::fs::read_to_string(proc.join("comm")).unwrap().starts_with("smbios-creds-ho");
        while !(emits() && sleeps()) {
            assert!(child.try_wait().unwrap().is_none(), "it waits for a reader");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        // The files in /proc of a process that is not dumpable belong to root.
        let environ = std::fs::metadata(proc.join("environ")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&environ), 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn debug_output_of_the_library_shows_no_value() {
    use smbios_creds::host::hypervisor::Features;
    use smbios_creds::host::plan::Plan;
    use testkit::host::{order, render};

    let value = format!("type=11,value=io.systemd.credential:x={CANARY}");
    let platform = format!("oem_strings=[io.systemd.credential:x={CANARY}]");
    for (kind, arguments) in
        [(QEMU, ["-smbios", &value, "-S"]), (CLOUD_HYPERVISOR, ["--platform", &platform, "--kernel=k"])]
    {
        let order = order(kind, &arguments, vec![testkit::credential("db", CANARY.as_bytes())]);
        let line = kind.read(&order.program, &order.arguments, &Features::default()).unwrap();
        assert_clean(format!("{line:?}").as_bytes(), "CommandLine");
        let plan = Plan::new(order).unwrap();
        assert_clean(format!("{plan:?} {plan:#?}").as_bytes(), "Plan");
        let (rendered, files) = render(&plan.arguments);
        let everything = format!("{rendered:?}{files:?}");
        assert!(everything.contains("67, 97, 110") || everything.contains(CANARY), "the values are in it");
    }
}
