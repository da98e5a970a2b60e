//! Real hypervisors, in a virtual machine that has KVM. The variables `CLOUD_HYPERVISOR` and `CROSVM` name the
//! hypervisors' programs on the host that runs the tests.
//!
//! Without its variable, a test says on standard error that it was skipped. `./tests/prepare` must have run with one
//! of the variables set, since it then fetches the kernel that has KVM.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use testkit::machine::{Guest, Machine, Outcome, Release, Results, log_of, prepared, results_of};
use testkit::sent::{digests, expected};
use testkit::{canary, holds, needles};

/// Name and value of the credential that microvm.nix adds to the OEM strings of a machine that has a vsock.
const NOTIFY: (&str, &str) = ("vmm.notify_socket", "vsock-stream:2:8888");

/// Returns the OEM string of `NOTIFY`.
fn notify() -> String {
    format!("io.systemd.credential:{}={}", NOTIFY.0, NOTIFY.1)
}

/// Writes directly to standard error, since libtest shows no captured output of a test that passes.
fn say(text: &str) {
    std::io::stderr().write_all(format!("\n{text}\n").as_bytes()).unwrap();
}

/// Secrets with the sizes of the incident that led to this project (44, 44 and 88 bytes), a secret with every byte,
/// and a secret of 20,000 bytes. The canary is in each of them.
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

/// Builds a program that looks for needles in the arguments and the environment of every process. The program needs
/// no library.
fn watcher(folder: &Path) -> PathBuf {
    let program = folder.join("watcher");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machine/real/watch.c");
    let options = ["-O1", "-static", "-D_GNU_SOURCE", "-o"];
    let built = Command::new("cc").args(options).arg(&program).arg(source).status();
    assert!(built.is_ok_and(|status| status.success()), "cc is needed, ./tests/prepare installs it");
    program
}

/// Returns a guest with systemd 254, which cuts and loses credentials. The project's unit repairs the credentials,
/// and a service reads them.
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

/// How microvm.nix starts a hypervisor: the parts of its runner that differ between hypervisors.
struct Engine {
    /// The environment variable that names the hypervisor's program.
    variable: &'static str,
    name: &'static str,
    /// The hypervisor's arguments, with the placeholders `KERNEL`, `IMAGE`, `LINE` and `STRINGS`.
    arguments: &'static str,
    /// Another key, with a value, of the option that carries the OEM strings.
    other: &'static str,
}

/// `lib/runners/cloud-hypervisor.nix` of 2026-08-09: its options and their order.
const CLOUD_HYPERVISOR: Engine = Engine {
    variable: "CLOUD_HYPERVISOR",
    name: "cloud-hypervisor",
    arguments: "--cpus boot=1 --watchdog --kernel KERNEL --initramfs IMAGE --cmdline 'LINE' --seccomp true \
                --memory 'mergeable=on,shared=off,size=768M' --platform 'oem_strings=STRINGS' --console null \
                --serial tty --vsock 'cid=3,socket=notify.vsock' --api-socket web.sock --log-file /seen/log",
    other: "num_pci_segments=2",
};

/// The options of `lib/runners/crosvm.nix`. Its sandbox needs devices and directories that this machine lacks.
const CROSVM: Engine = Engine {
    variable: "CROSVM",
    name: "crosvm",
    arguments: "run -m 768 -c 1 --serial type=stdout,hardware=serial,num=1 -p 'LINE' --socket web.sock \
                --smbios 'oem-strings=STRINGS' --disable-sandbox --initrd IMAGE KERNEL",
    other: "manufacturer=acme",
};

impl Engine {
    /// Returns the hypervisor's program, if its variable is set. Otherwise prints that the test is skipped, where
    /// libtest does not hide the message.
    fn program(&self, test: &str) -> Option<PathBuf> {
        let variable = self.variable;
        let path = std::env::var_os(variable).filter(|path| !path.is_empty());
        if path.is_none() {
            say(&format!(
                "{test}: SKIPPED, {variable} is not set. Run it with: {variable}=/path ./tests/run {test}"
            ));
        }
        path.map(PathBuf::from)
    }

    fn arguments(&self, guest: &Guest, strings: &str) -> String {
        self.arguments
            .replace("KERNEL", guest.kernel)
            .replace("IMAGE", guest.image)
            .replace("LINE", &guest.command_line)
            .replace("STRINGS", strings)
    }

    /// Returns the runner script that microvm.nix makes (`lib/runner.nix`). The runner starts the program of the
    /// project's package.
    fn runner(&self, guest: &Guest, strings: &str) -> String {
        let (name, arguments) = (self.name, self.arguments(guest, strings));
        format!(
            "#!/usr/bin/bash\nset -eou pipefail\nrm -f 'web.sock' notify.vsock notify.vsock_8888\n\nruntime_args=\n\
             exec -a \"microvm@web\" /nix/store/smbios-creds-package/bin/{name} {arguments} ${{runtime_args:-}}\n"
        )
    }

    /// Returns the program of the project's package, which executes the launcher (`nixos-module/microvm.nix`).
    fn package(&self) -> String {
        let name = self.name;
        format!("#!/usr/bin/bash\nexec /nix/store/smbios-creds-launch /nix/store/package/bin/{name} \"$@\"\n")
    }

    fn launch(&self) -> String {
        let name = self.name;
        format!(
            r#"#!/usr/bin/bash
set -euf
program=$1
shift
credentials=()
IFS=:
for credential in $SMBIOS_CREDS; do
    credentials+=("$credential=smbios-creds.$credential")
done
unset IFS
exec /usr/bin/smbios-creds-host run --hypervisor {name} --credential "${{credentials[@]}}" \
    --argv0 'microvm@web' -- "$program" "$@"
"#
        )
    }
}

/// Returns a machine that has KVM, a real hypervisor, the launcher, the secrets and the watcher.
fn machine_with(
    name: &str,
    engine: &Engine,
    program: &Path,
    (secrets, canary): (&BTreeMap<&'static str, Vec<u8>>, &[u8]),
    folder: &Path,
) -> Machine {
    let list = needles(canary).join(&b'\n');
    let package = format!("nix/store/package/bin/{}", engine.name);
    let mut machine = Machine::new(name)
        .host()
        .file("needles", String::from_utf8(list).unwrap())
        .program("usr/bin/watch-processes", watcher(folder))
        .program("usr/bin/smbios-creds-host", prepared("smbios-creds-host"))
        .program_with_libraries("usr/bin/bash", Path::new("/bin/bash"))
        .program_with_libraries(&package, program);
    for (name, value) in secrets {
        let file = folder.join(format!("secret-{name}"));
        std::fs::write(&file, value).unwrap();
        machine = machine.program(&format!("credentials/smbios-creds.{name}"), file);
    }
    machine
}

/// Returns the beginning of a script. It loads KVM, defines functions that start and stop the watcher of every
/// process, and then shows that the watcher finds a canary.
fn prologue(canary: &str) -> String {
    format!(
        "modprobe kvm-amd
         mkdir -p /seen /var/lib/microvms/web
         cd /var/lib/microvms/web
         export CREDENTIALS_DIRECTORY=/credentials
         watch() {{ /usr/bin/watch-processes /needles /seen/$1 & watcher=$!; }}
         stop() {{ kill $watcher; wait $watcher; result $1 cat /seen/$1; }}
         watch control
         env SHOWN={canary} sleep 3
         stop control\n"
    )
}

/// Returns how often the watcher looked at every process, and the files of `/proc` in which it found a needle.
fn watched<'a>(results: &'a Results, name: &str) -> (u32, Vec<&'a str>) {
    let mut lines: Vec<&str> = results[name].text().lines().collect();
    let end: Vec<&str> = lines.pop().unwrap().split(' ').collect();
    assert_eq!(end[..2], ["end", "5"], "{lines:?}");
    (end[2].parse().unwrap(), lines)
}

/// Asserts that the canary was in no argument and no environment of any process, and in no output.
fn assert_unseen(machine: &str, results: &Results, outputs: &[&str], canary: &[u8]) {
    assert_ne!(watched(results, "control").1, [""; 0], "the watcher finds what is shown");
    let (scans, found) = watched(results, "watched");
    assert_eq!(found, [""; 0]);
    assert!(scans > 100, "{scans}");
    for name in outputs {
        let Outcome { stdout, stderr, .. } = &results[*name];
        let output = [stdout, stderr.as_bytes()].concat();
        assert!(!holds(&output, canary), "{name}: {}", String::from_utf8_lossy(&output));
    }
    for kind in ["output", "log"] {
        assert!(!holds(&std::fs::read(log_of(machine, kind)).unwrap(), canary), "{kind}");
    }
    say(&format!("{machine}: {scans} scans of every process found no secret"));
}

/// Sends the secrets of the incident that led to this project through microvm.nix's runner.
fn founding_secrets_arrive(engine: &Engine, test: &str) {
    let Some(program) = engine.program(test) else { return };
    let start = Instant::now();
    let name = format!("real-{}", engine.name);
    let canary = canary();
    let mut secrets = secrets(&canary);
    let folder = tempfile::tempdir().unwrap();
    let (machine, guest) = machine_with(&name, engine, &program, (&secrets, &canary), folder.path()).guest(
        folder.path(),
        guest(),
        IN_GUEST,
    );
    // The large secret comes first, since systemd 254 reads one page of the structure and loses every credential
    // after this page.
    let names = secrets.keys().copied().rev().collect::<Vec<_>>().join(":");
    let script = format!(
        "{}watch watched
         export SMBIOS_CREDS={names}
         result run sh -c '/nix/store/runner/bin/microvm-run >/seen/stdout 2>/seen/stderr </dev/null'
         stop watched
         for file in /seen/*; do result ${{file##*/}} cat $file; done
         result kernel dmesg\n",
        prologue(std::str::from_utf8(&canary).unwrap())
    );
    let results = machine
        .file(&format!("nix/store/smbios-creds-package/bin/{}", engine.name), engine.package())
        .file("nix/store/smbios-creds-launch", engine.launch())
        .file(
            "nix/store/runner/bin/microvm-run",
            engine.runner(&guest, &format!("[{}],{}", notify(), engine.other)),
        )
        .boot(&script);

    assert_eq!(results["run"].code, 0, "{:?}", results["stderr"]);
    let sent = results_of(results["stdout"].text());
    assert!(sent.contains_key("@end"), "{}", results["stdout"].text());
    assert!(sent["version"].text().starts_with("systemd 254 "), "{:?}", sent["version"]);
    assert_eq!(sent["check"].code, 0, "{:?}", sent["check"]);
    let report: serde_json::Value = serde_json::from_slice(&sent["report"].stdout).unwrap();
    let repaired: BTreeSet<&str> =
        report["repaired"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(repaired, secrets.keys().copied().collect(), "{report}");
    secrets.insert(NOTIFY.0, NOTIFY.1.into());
    assert_eq!(digests(&sent, "sums"), expected(&secrets));
    let outputs: Vec<&str> =
        ["stdout", "stderr", "log"].into_iter().filter(|name| results.contains_key(*name)).collect();
    assert_unseen(&name, &results, &outputs, &canary);
    say(&format!("{test}: {} s", start.elapsed().as_secs()));
}

#[test]
fn real_cloud_hypervisor_delivers_the_founding_secrets() {
    founding_secrets_arrive(&CLOUD_HYPERVISOR, "real_cloud_hypervisor_delivers_the_founding_secrets");
}

#[test]
fn real_crosvm_delivers_the_founding_secrets() {
    founding_secrets_arrive(&CROSVM, "real_crosvm_delivers_the_founding_secrets");
}

/// Returns how many bytes the table has left for a string, by what `plan` says of these arguments.
fn room(engine: &Engine, arguments: &str, directory: &Path) -> usize {
    let host = testkit::program("smbios-creds-host");
    let script = format!(
        "exec {} plan --json --hypervisor {} --credential large=smbios-creds.large -- /bin/sh {arguments}",
        host.display(),
        engine.name
    );
    let output =
        Command::new("sh").args(["-c", &script]).env("CREDENTIALS_DIRECTORY", directory).output().unwrap();
    let plan: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let bytes = |of: &str| plan["limits"][0][of].as_u64().unwrap();
    usize::try_from(bytes("available") - bytes("used")).unwrap()
}

/// Asserts that the limit that `plan` shows is the hypervisor's own limit: of a set of exactly this size, every byte
/// arrives.
fn set_at_the_limit_arrives(engine: &Engine, test: &str) {
    let Some(program) = engine.program(test) else { return };
    let canary = canary();
    let mut secrets = BTreeMap::from([("large", canary.iter().copied().cycle().take(40_000).collect())]);
    let folder = tempfile::tempdir().unwrap();
    let name = format!("real-limit-{}", engine.name);
    let in_guest = "result check smbios-creds check --manifest=require
        result import smbios-creds import --into /run/creds
        result sums sh -c 'sha256sum /run/creds/*'\n";
    let (machine, guest) = machine_with(&name, engine, &program, (&secrets, &canary), folder.path()).guest(
        folder.path(),
        Machine::new("real-guest"),
        in_guest,
    );
    let credentials = testkit::host::directory(&[("smbios-creds.large", &secrets["large"])]);
    // A string of the caller's own fills the table to its last byte.
    let strings = |size| format!("[{},{}]", notify(), "p".repeat(size));
    let size = 1 + room(engine, &engine.arguments(&guest, &strings(1)), credentials.path());
    let script = format!(
        "{}export SMBIOS_CREDS=large
         result above sh -c '/nix/store/runner/bin/microvm-run-above >/seen/above </dev/null'
         result run sh -c '/nix/store/runner/bin/microvm-run >/seen/stdout </dev/null'
         for file in stdout above; do result started_$file cat /seen/$file; done\n",
        prologue(std::str::from_utf8(&canary).unwrap())
    );
    let results = machine
        .file(&format!("nix/store/smbios-creds-package/bin/{}", engine.name), engine.package())
        .file("nix/store/smbios-creds-launch", engine.launch())
        .file("nix/store/runner/bin/microvm-run", engine.runner(&guest, &strings(size)))
        .file("nix/store/runner/bin/microvm-run-above", engine.runner(&guest, &strings(size + 1)))
        .boot(&script);

    assert_eq!(results["above"].code, 3, "{:?}", results["above"]);
    assert_eq!(results["started_above"].text(), "");
    assert_eq!(results["run"].code, 0, "{:?}", results["run"]);
    let sent = results_of(results["started_stdout"].text());
    assert_eq!(sent["check"].code, 0, "{:?}", sent["check"]);
    secrets.insert(NOTIFY.0, NOTIFY.1.into());
    assert_eq!(digests(&sent, "sums"), expected(&secrets));
}

#[test]
fn real_cloud_hypervisor_carries_a_set_at_its_limit() {
    set_at_the_limit_arrives(&CLOUD_HYPERVISOR, "real_cloud_hypervisor_carries_a_set_at_its_limit");
}

#[test]
fn real_crosvm_carries_a_set_at_its_limit() {
    set_at_the_limit_arrives(&CROSVM, "real_crosvm_carries_a_set_at_its_limit");
}

/// The wrappers are `env`, a script as nixpkgs' `makeShellWrapper` writes it, and a script that waits for its child.
/// Arguments that cloud-hypervisor refuses are also refused when the launcher starts it, with the same exit code and
/// without a secret in the message.
#[test]
fn real_cloud_hypervisor_behind_wrappers_gets_the_secrets() {
    let engine = &CLOUD_HYPERVISOR;
    let Some(program) = engine.program("real_cloud_hypervisor_behind_wrappers_gets_the_secrets") else {
        return;
    };
    let canary = canary();
    let mut secrets = secrets(&canary);
    let folder = tempfile::tempdir().unwrap();
    let in_guest = "result check smbios-creds check --manifest=require
        result import smbios-creds import --into /run/creds
        result sums sh -c 'sha256sum /run/creds/*'\n";
    let (machine, guest) =
        machine_with("real-wrappers", engine, &program, (&secrets, &canary), folder.path()).guest(
            folder.path(),
            Machine::new("real-guest"),
            in_guest,
        );
    let script = format!(
        "{}watch watched
         export PLATFORM='oem_strings=[{}]' KERNEL={}
         result run sh -c '/run-wrapped /child /usr/bin/env WRAPPED=yes /nixos-wrapped >/seen/stdout </dev/null'
         result no_kernel sh -c 'KERNEL=/none /run-wrapped /nixos-wrapped </dev/null'
         result no_key sh -c 'PLATFORM=$PLATFORM,no_such_key=1 /run-wrapped /nixos-wrapped </dev/null'
         result no_value sh -c 'PLATFORM=$PLATFORM,num_pci_segments=x /run-wrapped /nixos-wrapped </dev/null'
         result plain_no_kernel sh -c 'KERNEL=/none /arguments /nixos-wrapped </dev/null'
         result plain_no_key sh -c 'PLATFORM=no_such_key=1 /arguments /nixos-wrapped </dev/null'
         result plain_no_value sh -c 'PLATFORM=num_pci_segments=x /arguments /nixos-wrapped </dev/null'
         stop watched
         result stdout cat /seen/stdout\n",
        prologue(std::str::from_utf8(&canary).unwrap()),
        notify(),
        guest.kernel
    );
    let names: Vec<String> = secrets.keys().map(|name| format!("{name}=smbios-creds.{name}")).collect();
    let results = machine
        .file("child", "#!/bin/sh\n\"$@\"\nexit $?\n")
        .file(
            "nixos-wrapped",
            "#! /usr/bin/bash -e\nexport WRAPPED='yes'\nexec -a \"$0\" \"/nix/store/package/bin/cloud-hypervisor\"  \"$@\" \n",
        )
        .file(
            "arguments",
            format!(
                "#!/bin/sh\nexec \"$@\" --kernel $KERNEL --initramfs {} --cmdline '{}' --platform \"$PLATFORM\" \
                 --cpus boot=1 --memory size=512M --console off --serial tty\n",
                guest.image, guest.command_line
            ),
        )
        .file(
            "run-wrapped",
            format!(
                "#!/bin/sh\nexec /arguments /usr/bin/smbios-creds-host run --hypervisor cloud-hypervisor \
                 --credential {} -- \"$@\"\n",
                names.join(" ")
            ),
        )
        .boot(&script);

    assert_eq!(results["run"].code, 0, "{:?}", results["run"]);
    let sent = results_of(results["stdout"].text());
    assert!(sent.contains_key("@end"), "{}", results["stdout"].text());
    assert_eq!(sent["check"].code, 0, "{:?}", sent["check"]);
    secrets.insert(NOTIFY.0, NOTIFY.1.into());
    assert_eq!(digests(&sent, "sums"), expected(&secrets));
    for refused in ["no_kernel", "no_key", "no_value"] {
        let (ours, plain) = (&results[refused], &results[&format!("plain_{refused}")]);
        assert_eq!((ours.code, plain.code), (1, 1), "{ours:?} {plain:?}");
    }
    assert_unseen("real-wrappers", &results, &["run", "stdout", "no_kernel", "no_key", "no_value"], &canary);
}
