//! A real hypervisor, in a machine that has KVM: `CLOUD_HYPERVISOR` names a cloud-hypervisor that runs on this machine.
//!
//! Without that variable the test says on standard error that it was skipped. `./tests/prepare` must have run with the
//! variable set: it fetches the kernel that has KVM.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use testkit::machine::{Guest, Machine, Outcome, Release, Results, log_of, prepared, results_of};
use testkit::sent::{digests, directory, expected};
use testkit::{canary, holds, needles};

/// What microvm.nix adds to the strings of a machine that has a vsock.
const NOTIFY: (&str, &str) = ("vmm.notify_socket", "vsock-stream:2:8888");

/// The hypervisor that a variable names. Without it, says so where libtest hides nothing.
fn hypervisor(variable: &str, test: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty());
    if path.is_none() {
        let help = format!("{variable}=/path ./tests/run {test}");
        say(&format!("{test}: SKIPPED, no real hypervisor: {variable} is not set. Run it with: {help}"));
    }
    path.map(PathBuf::from)
}

fn say(text: &str) {
    std::io::stderr().write_all(format!("\n{text}\n").as_bytes()).unwrap();
}

/// Secrets of the founding incident (44, 44 and 88 bytes), one with every byte, and one of 20,000 bytes.
/// The canary is in each of them.
fn secrets(canary: &[u8]) -> BTreeMap<&'static str, Vec<u8>> {
    let sized = |start: &str, size| {
        let text = [start.as_bytes(), canary].concat();
        text.into_iter().cycle().take(size).collect::<Vec<u8>>()
    };
    let every: Vec<u8> = canary.iter().copied().chain(0..=255).collect();
    BTreeMap::from([
        ("a-44", sized("one", 44)),
        ("b-44", sized("two", 44)),
        ("c-88", sized("three", 88)),
        ("every-byte", every),
        ("large", sized("four", 20_000)),
    ])
}

/// A program that looks for needles in the arguments and the environment of every process. It needs no library.
fn watcher() -> tempfile::TempPath {
    let program = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machine/real/watch.c");
    let options = ["-O1", "-static", "-D_GNU_SOURCE", "-o"];
    let built = Command::new("cc").args(options).arg(&program).arg(source).status();
    assert!(built.is_ok_and(|status| status.success()), "cc is needed, ./tests/prepare installs it");
    program
}

/// A guest with systemd 254, which cuts and loses what it is sent. The project's unit repairs it, and a service reads.
fn guest() -> Machine {
    Machine::new("real-guest")
        .release(Release::Backports)
        .kernel_of(Release::Bookworm)
        .systemd("ImportCredential=*")
        .import("--manifest=require --require a-44 b-44 c-88 every-byte large")
}

const IN_GUEST: &str = "result version sh -c '/usr/lib/systemd/systemd --version | head -n 1'
    result check smbios-creds check --manifest=require
    result report cat /run/smbios-creds/report.json
    result sums sh -c 'sha256sum $CREDENTIALS_DIRECTORY/*'\n";

/// The runner that microvm.nix makes (`lib/runner.nix` and `lib/runners/cloud-hypervisor.nix`, 2026-08-09): its shell,
/// options and their order. `cloud-hypervisor` is the package that the project's module puts there.
fn runner(guest: &Guest) -> String {
    let Guest { kernel, image, command_line } = guest;
    let (name, value) = NOTIFY;
    format!(
        r#"#!/usr/bin/bash
set -eou pipefail
rm -f 'web.sock' notify.vsock notify.vsock_8888

runtime_args=
exec -a "microvm@web" /nix/store/smbios-creds-cloud-hypervisor/bin/cloud-hypervisor --cpus boot=1 --watchdog --kernel {kernel} --initramfs {image} --cmdline '{command_line}' --seccomp true --memory 'mergeable=on,shared=off,size=768M' --platform 'oem_strings=[io.systemd.credential:{name}={value}]' --console null --serial tty --vsock 'cid=3,socket=notify.vsock' --api-socket web.sock --log-file /seen/log ${{runtime_args:-}}
"#
    )
}

/// The package's program, and what it executes (`nixos-module/microvm.nix`).
const WRAPPED: &str = r#"#!/usr/bin/bash
exec /nix/store/smbios-creds-launch "/nix/store/cloud-hypervisor/bin/cloud-hypervisor" "$@"
"#;
const LAUNCH: &str = r#"#!/usr/bin/bash
set -euf
program=$1
shift
credentials=()
IFS=:
for credential in $SMBIOS_CREDS; do
    credentials+=("$credential=smbios-creds.$credential")
done
unset IFS
exec /usr/bin/smbios-creds-host run --hypervisor cloud-hypervisor --credential "${credentials[@]}" \
    --argv0 'microvm@web' -- "$program" "$@"
"#;

/// Starts the runner while every process is watched. That the watcher finds a canary is shown first.
fn script(names: &str, canary: &str) -> String {
    format!(
        "modprobe kvm-amd
         mkdir -p /seen /var/lib/microvms/web
         cd /var/lib/microvms/web
         watch() {{ /usr/bin/watch-processes /needles /seen/$1 & watcher=$!; }}
         stop() {{ kill $watcher; wait $watcher; result $1 cat /seen/$1; }}
         watch control
         env SHOWN={canary} sleep 3
         stop control
         watch watched
         export CREDENTIALS_DIRECTORY=/credentials SMBIOS_CREDS={names}
         result run sh -c '/nix/store/runner/bin/microvm-run >/seen/stdout 2>/seen/stderr </dev/null'
         stop watched
         for file in stdout stderr log; do result $file cat /seen/$file; done
         result kernel dmesg\n"
    )
}

/// How often the watcher looked at every process, and the files of `/proc` in which it found a needle.
fn watched<'a>(results: &'a Results, name: &str) -> (u32, Vec<&'a str>) {
    let mut lines: Vec<&str> = results[name].text().lines().collect();
    let end: Vec<&str> = lines.pop().unwrap().split(' ').collect();
    assert_eq!(end[..2], ["end", "5"], "{lines:?}");
    (end[2].parse().unwrap(), lines)
}

#[test]
fn real_cloud_hypervisor_delivers_the_founding_secrets() {
    let Some(hypervisor) =
        hypervisor("CLOUD_HYPERVISOR", "real_cloud_hypervisor_delivers_the_founding_secrets")
    else {
        return;
    };
    let start = Instant::now();
    let canary = canary();
    let mut secrets = secrets(&canary);
    let (credentials, folder, watcher) = (directory(&secrets), tempfile::tempdir().unwrap(), watcher());
    let (machine, guest) = Machine::new("real-host").host().guest(folder.path(), guest(), IN_GUEST);
    let list: Vec<u8> = needles(&canary).join(&b'\n');
    let mut machine = machine
        .file("needles", String::from_utf8(list).unwrap())
        .program("usr/bin/watch-processes", watcher.to_path_buf())
        .program("usr/bin/smbios-creds-host", prepared("smbios-creds-host"))
        .program_with_libraries("usr/bin/bash", Path::new("/bin/bash"))
        .program_with_libraries("nix/store/cloud-hypervisor/bin/cloud-hypervisor", &hypervisor)
        .file("nix/store/smbios-creds-cloud-hypervisor/bin/cloud-hypervisor", WRAPPED)
        .file("nix/store/smbios-creds-launch", LAUNCH)
        .file("nix/store/runner/bin/microvm-run", runner(&guest));
    for name in secrets.keys() {
        let file = credentials.path().join(name);
        machine = machine.program(&format!("credentials/smbios-creds.{name}"), file);
    }
    let names = secrets.keys().copied().collect::<Vec<_>>().join(":");
    let results = machine.boot(&script(&names, std::str::from_utf8(&canary).unwrap()));

    assert_eq!(results["run"].code, 0, "{results:?}");
    let sent = results_of(results["stdout"].text());
    assert!(sent.contains_key("@end"), "{}", results["stdout"].text());
    assert!(sent["version"].text().starts_with("systemd 254 "), "{:?}", sent["version"]);
    assert_eq!(sent["check"].code, 0, "{:?}", sent["check"]);
    let report: serde_json::Value = serde_json::from_slice(&sent["report"].stdout).unwrap();
    assert!(report["repaired"].as_array().is_some_and(|repaired| !repaired.is_empty()), "{report}");
    secrets.insert(NOTIFY.0, NOTIFY.1.into());
    assert_eq!(digests(&sent, "sums"), expected(&secrets));

    assert_ne!(watched(&results, "control").1, [""; 0], "the watcher finds what is shown");
    let (scans, found) = watched(&results, "watched");
    assert_eq!(found, [""; 0]);
    assert!(scans > 100, "{scans}");
    for name in ["stdout", "stderr", "log"] {
        let Outcome { stdout, .. } = &results[name];
        assert!(!holds(stdout, &canary), "{name}: {}", String::from_utf8_lossy(stdout));
    }
    for kind in ["output", "log"] {
        assert!(!holds(&std::fs::read(log_of("real-host", kind)).unwrap(), &canary), "{kind}");
    }
    say(&format!("real cloud-hypervisor: {} s, {scans} scans of every process", start.elapsed().as_secs()));
}
