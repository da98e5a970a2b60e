//! On a machine where something is missing, full or damaged, a program does its whole work or ends with an error that
//! says why.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::libc;
use testkit::{canary, code, recording, run, stderr, stdout, table};

use super::{AGENT, Destination, HOST, TWO, assert_clean, in_namespace, source};

/// Runs a program with an address space of `limit` KiB, in a directory into which the kernel may write its core dump.
fn limited(folder: &Path, limit: usize, line: &[&str]) -> Output {
    let script = format!(r#"ulimit -c unlimited; ulimit -v {limit} && exec "$@""#);
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).args(line).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn out_of_memory_nothing_is_partial_and_no_core_is_left() {
    let canary = canary();
    let large = format!("io.systemd.credential:large={}", "x".repeat(900_000));
    let text = [b"io.systemd.credential:a=", canary.as_slice()].concat();
    let source = recording(&table(&[&text, large.as_bytes()]));
    let credentials = testkit::host::directory(&[("a", &canary), ("large", &vec![b'x'; 45_000])]);
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let into = folder.path().join("creds");
    let (from, into_text) = (source.path().to_str().unwrap(), into.to_str().unwrap());
    let credentials = credentials.path().to_str().unwrap();
    let import = [AGENT, "import", "--from", from, "--into", into_text];
    let exec = [AGENT, "exec", "--from", from, "--into", into_text, "--", "/bin/echo", "started"];
    let (_programs, qemu) = testkit::host::program_with("/bin/echo", testkit::host::QEMU_WORD);
    let qemu = qemu.to_str().unwrap();
    let run =
        [HOST, "run", "--all", "--hypervisor=qemu", "--credentials", credentials, "--", qemu, "started"];
    for line in [&import[..], &exec, &run] {
        let (mut whole, mut refused) = (0, 0);
        // The least address space, in KiB, in which the program can be loaded and print its help.
        let help = |limit: &usize| limited(elsewhere.path(), *limit, &[line[0], "--help"]).status.success();
        let least = (1000..20_000).step_by(100).find(help).unwrap();
        let steps = if line[1] == "run" {
            (least..least + 1500).step_by(25)
        } else {
            (least..least + 8000).step_by(250)
        };
        for limit in steps {
            _ = fs::remove_dir_all(&into);
            let output = limited(folder.path(), limit, line);
            let what = format!("{line:?} in {limit} KiB: {:?}: {}", output.status, stderr(&output));
            assert_clean(&output, &canary, &what);
            // The kernel kills a process whose stack cannot grow. If there is a core dump, the process had not read
            // any value yet: later, it allows no core dump.
            let core = folder.path().join("core");
            if output.status.signal() == Some(libc::SIGSEGV) && core.exists() {
                let bytes = fs::read(&core).unwrap();
                assert!(!bytes.windows(canary.len()).any(|window| window == canary), "{what}");
                fs::remove_file(core).unwrap();
                continue;
            }
            let started = stdout(&output).contains("started");
            if output.status.success() {
                assert!(started || line[1] == "import", "{what}");
                whole += 1;
            } else {
                assert!(!started, "{what}");
                assert!(!output.stderr.is_empty(), "{what}");
                refused += 1;
            }
            if into.exists() {
                assert_eq!(fs::read(into.join("a")).unwrap(), canary, "{what}");
                assert_eq!(fs::read(into.join("large")).unwrap().len(), 900_000, "{what}");
            }
            // There is no core dump. A staging directory may be left, if the agent was aborted.
            for entry in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
                let name = entry.file_name().into_string().unwrap();
                assert!(name == "creds" || name.starts_with(".smbios-creds-"), "{what}: {name}");
            }
        }
        assert!(whole > 5 && refused > 3, "{line:?}: {whole} {refused}");
    }
}

#[test]
fn a_full_tmpfs_keeps_the_old_set_and_says_that_it_is_full() {
    let canary = canary();
    let large = format!("io.systemd.credential:large={}", "x".repeat(100_000));
    let text = [b"io.systemd.credential:a=", canary.as_slice()].concat();
    let source = recording(&table(&[&text, large.as_bytes()]));
    for options in ["size=64k", "nr_inodes=3"] {
        let script = format!(
            r#"mount -t tmpfs -o mode=755,{options} tmpfs /mnt
            mkdir /mnt/creds
            echo old >/mnt/creds/a
            set +e
            "$agent" import --from "$from" --into /mnt/creds
            echo "exit $?"
            ls -A /mnt /mnt/creds
            cat /mnt/creds/a"#
        );
        let output = in_namespace(source.path(), &script);
        assert_clean(&output, &canary, options);
        let expected = "exit 1\n/mnt:\ncreds\n\n/mnt/creds:\na\nold\n";
        assert_eq!(stdout(&output), expected, "{options}: {}", stderr(&output));
        assert!(stderr(&output).contains("No space left on device"), "{options}: {}", stderr(&output));
    }
}

#[test]
fn a_full_run_mounts_and_leaves_nothing() {
    let canary = canary();
    let script = r#"
        mount -t tmpfs -o mode=755,nr_inodes=2 tmpfs /run
        set +e
        "$agent" import --from "$from" --into system
        echo "exit $?"
        grep -c ' /run/' /proc/self/mounts
        find /run -type f"#;
    let source = source(&canary);
    let output = in_namespace(source.path(), script);
    assert_clean(&output, &canary, "");
    assert_eq!(stdout(&output), "exit 1\n0\n", "{}", stderr(&output));
    assert!(stderr(&output).contains("No space left on device"), "{}", stderr(&output));
}

#[test]
fn a_read_only_run_is_named_and_other_places_still_work() {
    let canary = canary();
    let script = r#"
        mount -t tmpfs -o ro,mode=755 tmpfs /run
        set +e
        for sink in system initrd credstore auto; do
            "$agent" import --from "$from" --into $sink
            echo "exit $?"
        done
        "$agent" exec --from "$from" --into system -- echo started
        echo "exit $?"
        mount -t tmpfs -o mode=755 tmpfs /mnt
        "$agent" exec --from "$from" --into /mnt/creds -- sh -c 'ls $CREDENTIALS_DIRECTORY'
        echo "exit $?"
        grep -c ' /run/' /proc/self/mounts"#;
    let source = source(&canary);
    let output = in_namespace(source.path(), script);
    assert_clean(&output, &canary, "");
    let expected = "exit 1\nexit 1\nexit 1\nexit 1\nexit 1\na\nb\nexit 0\n0\n";
    assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("Read-only file system").count(), 5, "{}", stderr(&output));
}

#[test]
fn without_proc_everything_works_but_what_needs_it_and_that_is_named() {
    let canary = canary();
    let source = source(&canary);
    fs::write(source.path().join("secret"), &canary).unwrap();
    fs::create_dir(source.path().join("credentials")).unwrap();
    fs::rename(source.path().join("secret"), source.path().join("credentials/secret")).unwrap();
    let (_programs, crosvm) = testkit::host::program_with("/bin/echo", "oem-strings");
    fs::rename(crosvm, source.path().join("crosvm")).unwrap();
    let (_others, qemu) = testkit::host::program_with("/bin/echo", testkit::host::QEMU_WORD);
    fs::rename(qemu, source.path().join("qemu")).unwrap();
    let script = r#"
        mount -t tmpfs -o mode=755 tmpfs /run
        mount -t tmpfs -o ro tmpfs /proc
        set +e
        "$agent" import --from "$from" --into system >/dev/null
        echo "import $?"
        "$agent" exec --from "$from" --into system -- sh -c 'cat $CREDENTIALS_DIRECTORY/a | wc -c'
        echo "exec $?"
        run() {
            "$host" run --all --credentials "$from/credentials" --hypervisor=$1 -- $2 started $3 >/run/out
            echo "$1 $? $(cut -c 1-7 /run/out)"
        }
        run qemu "$from/qemu"
        run qemu /bin/echo
        run crosvm "$from/crosvm" run"#;
    let output = in_namespace(source.path(), script);
    assert_clean(&output, &canary, "");
    let expected = "import 0\n24\nexec 0\nqemu 0 started\nqemu 1 \ncrosvm 1 \n";
    assert_eq!(stdout(&output), expected, "{}", stderr(&output));
    assert!(stderr(&output).contains("error: qemu is not started: "), "{}", stderr(&output));
    let help = "smbios-creds-host: help: start the hypervisor's own program, which needs no tracing\n";
    assert!(stderr(&output).contains(help), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot start the tracer"), "{}", stderr(&output));
}

#[test]
fn a_damaged_report_of_an_earlier_import_is_replaced_and_misleads_nobody() {
    let canary = canary();
    let source = source(&canary);
    let valid = r#"{"version":"99.0.0","summary":"from the future","exit":0,"more":[1]}"#;
    let damages = [
        ("garbage", r"head -c 70000 /dev/urandom >$report".to_owned()),
        ("empty", ": >$report".to_owned()),
        ("half", r#"printf '{"version":"0' >$report"#.to_owned()),
        ("version", format!("printf '%s' '{valid}' >$report")),
        ("deep", r"head -c 100000 /dev/zero | tr '\0' '[' >$report".to_owned()),
        ("unreadable", "echo x >$report && chmod 0 $report".to_owned()),
        ("link", "ln -s /nonexistent/place $report".to_owned()),
        ("fifo", "mkfifo $report".to_owned()),
        ("folder", "mkdir $report".to_owned()),
    ];
    for (what, damage) in damages {
        let script = format!(
            r#"mount -t tmpfs -o mode=755 tmpfs /run
            report=/run/smbios-creds/report.json
            mkdir -m 700 /run/smbios-creds
            {damage}
            set +e
            timeout 10 "$agent" list --from "$from" >/dev/null
            echo "list $?"
            timeout 10 "$agent" list --into system >/dev/null
            timeout 10 "$agent" import --from "$from" --into system >/dev/null
            echo "import $?"
            [ -d $report ] || grep -c '"summary":"imported into' $report
            timeout 10 "$agent" import --from "$from" --into system >/dev/null
            echo "again $?"
            wc -c </run/credentials/@system/a"#
        );
        let output = in_namespace(source.path(), &script);
        assert_clean(&output, &canary, what);
        let report = if what == "folder" { "" } else { "1\n" };
        let expected = format!("list 0\nimport 0\n{report}again 0\n24\n");
        assert_eq!(stdout(&output), expected, "{what}: {}", stderr(&output));
        let warned = stderr(&output)
            .contains("warning: no report of the import was written: cannot write the report to");
        assert_eq!(warned, what == "folder", "{what}: {}", stderr(&output));
    }
}

/// A clock that cannot be read, and one that stands still in 1970.
const CLOCKS: [(&str, &str); 2] = [("absent", "errno = EINVAL; return -1;"), ("1970", "return 0;")];

#[test]
fn nothing_depends_on_a_clock() {
    let canary = canary();
    let source = source(&canary);
    let credentials = testkit::host::directory(&[("a", &canary)]);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (into, from) = (path("creds"), source.path().to_str().unwrap());
    let credentials = credentials.path().to_str().unwrap();
    let (_programs, crosvm) = testkit::host::program_with("/bin/echo", "oem-strings");
    let (_others, qemu) = testkit::host::program_with("/bin/echo", testkit::host::QEMU_WORD);
    let (crosvm, qemu) = (crosvm.to_str().unwrap(), qemu.to_str().unwrap());
    let lines: [&[&str]; 4] = [
        &[AGENT, "import", "--from", from, "--into", &into],
        &[AGENT, "exec", "--require=a", "--from", from, "--into", &into, "--", "/bin/echo", "started"],
        &[HOST, "run", "--all", "--credentials", credentials, "--hypervisor=qemu", "--", qemu, "started"],
        &[HOST, "run", "--all", "--credentials", credentials, "--hypervisor=crosvm", "--", crosvm, "run"],
    ];
    for (clock, answer) in CLOCKS {
        // The kernel answers these calls without a system call, so strace could not change the answer. A preloaded
        // library does.
        let (code_file, library) = (path("clock.c"), path("clock.so"));
        let text = format!(
            "#include <errno.h>\n#include <string.h>\n#include <time.h>\n#include <sys/time.h>\n\
             int clock_gettime(clockid_t id, struct timespec *t) {{ memset(t, 0, sizeof *t); {answer} }}\n\
             int gettimeofday(struct timeval *t, void *zone) {{ memset(t, 0, sizeof *t); {answer} }}\n\
             time_t time(time_t *t) {{ if (t) *t = 0; {answer} }}\n"
        );
        fs::write(&code_file, text).unwrap();
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-o", &library, &code_file]).output().unwrap();
        assert!(built.status.success(), "{}", stderr(&built));
        for line in lines {
            let mut command = Command::new(line[0]);
            command.args(&line[1..]).env("LD_PRELOAD", &library).stdin(Stdio::null());
            let output = command.env_remove("CREDENTIALS_DIRECTORY").output().unwrap();
            assert_clean(&output, &[0; 24], clock);
            assert_eq!(code(&output), 0, "{clock}: {line:?}: {}", stderr(&output));
            assert!(line[1] == "import" || !output.stdout.is_empty(), "{clock}: {line:?}");
        }
        assert_eq!(fs::read(Path::new(&into).join("b")).unwrap(), canary);
        fs::remove_dir_all(&into).unwrap();
    }
}

/// The credentials are imported. Only the list of them cannot be printed, and a message says so.
#[test]
fn complete_import_ends_well_though_stdout_cannot_be_written() {
    for (redirection, strings, exit) in [
        (">/dev/full", TWO, 0),
        (">&-", TWO, 0),
        (">/dev/full", &[&b"io.systemd.credential:a=one"[..], b"io.systemd.credential:empty="], 3),
    ] {
        let place = Destination::new(strings);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$@\" {redirection}"), "sh", env!("CARGO_BIN_EXE_smbios-creds")]);
        command.args(["import", "--from"]).arg(place.source.path()).arg("--into").arg(place.target());
        let output = run(command.env_remove("JOURNAL_STREAM"));
        assert_eq!(code(&output), exit, "{redirection}: {}", stderr(&output));
        assert_eq!(fs::read(place.target().join("a")).unwrap(), b"one");
        if redirection == ">/dev/full" {
            let message = "cannot write to standard output: ";
            assert!(stderr(&output).contains(message), "{}", stderr(&output));
        }
    }
}
