//! Runners that nix has built, executed with a stand-in for the hypervisor.

use std::path::Path;
use std::process::Command;

use crate::nix::{NIX, Route, Running, output, routes};
use testkit::host::{ch_list, crosvm_list, delivered, directory, one_structure};
use testkit::{intact, is_root};

/// Returns secrets of 44 and 88 bytes with characters that break command lines.
fn secrets() -> [(&'static str, Vec<u8>); 3] {
    let value = |size: usize, start: &[u8]| {
        [start, &b"Canary,[\"= \n"[..]].concat().into_iter().cycle().take(size).collect::<Vec<u8>>()
    };
    [("api-key", value(44, b"one")), ("db-password", value(44, b"two")), ("tls-key", value(88, b"three"))]
}

/// Makes a credentials directory like that of the host's unit. One credential in it is not for the guest.
pub(crate) fn credentials() -> tempfile::TempDir {
    let secrets = secrets();
    let mut files: Vec<(String, &[u8])> =
        secrets.iter().map(|(name, value)| (format!("smbios-creds.{name}"), value.as_slice())).collect();
    files.push(("other".into(), b"Canary of the host"));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    directory(&files)
}

/// Returns a command that starts a runner in `folder`, as the runner's unit does. microvm.nix's own runner opens the
/// device of a macvtap interface: a FIFO stands in for the device.
fn runner(route: &Route, runner: &Path, folder: &Path) -> Command {
    let run = runner.join("bin/microvm-run");
    let mut command = NIX.command("unshare");
    if route.is_upstream() {
        assert!(is_root(), "microvm.nix's own runners are executed by root alone");
        command.args(["--mount", "bash", "-euc"]);
        command.arg(
            "mount -t tmpfs dev \"$PWD\"; for name in null random urandom; do touch \"$PWD/$name\"; \
             mount --bind /dev/$name \"$PWD/$name\"; done; mkfifo \"$PWD/tap1\"; mount --rbind \"$PWD\" /dev; exec \"$0\"",
        );
        command.arg(run);
    } else {
        command = NIX.command(run.to_str().unwrap());
    }
    command.current_dir(folder);
    command
}

pub(crate) fn start(
    route: &Route,
    attribute: &str,
    variables: &[(&str, &Path)],
) -> Result<Running, (String, Option<i32>)> {
    start_in(tempfile::tempdir().unwrap().path(), route, attribute, variables)
}

fn start_in(
    folder: &Path,
    route: &Route,
    attribute: &str,
    variables: &[(&str, &Path)],
) -> Result<Running, (String, Option<i32>)> {
    let mut command = runner(route, &route.build(attribute), folder);
    command.envs(variables.iter().copied());
    Running::start(&mut command)
}

const DECLARED: (&str, &str) = ("SMBIOS_CREDS", "api-key:db-password:tls-key");

pub(crate) fn declared() -> (&'static str, &'static Path) {
    (DECLARED.0, Path::new(DECLARED.1))
}

/// Asserts that a structure delivers the secrets complete, `others`, and no further credential of the host.
fn assert_secrets(structure: Vec<u8>, others: &[(&str, &[u8])]) {
    let delivery = delivered(&[structure]);
    assert!(delivery.proof.is_proven());
    let secrets = secrets();
    let mut expected: Vec<(&str, &[u8])> = others.to_vec();
    expected.extend(secrets.iter().map(|(name, value)| (*name, value.as_slice())));
    assert!(intact(&delivery) == expected, "what arrived is not what was sent");
}

fn assert_unseen(running: Running) -> String {
    let (seen, errors) = running.end();
    for canary in ["Canary", "b25lQ2FuYXJ5", "io.systemd.credential.binary"] {
        assert!(!seen.contains(canary) && !errors.contains(canary), "{canary} in {seen}\n{errors}");
    }
    errors
}

#[test]
fn sealed_credential_is_sent_sealed_also_if_the_guest_requires_it_or_it_is_the_only_one() {
    let blob = std::fs::read(crate::nix::project("tests/nixos/keys/sealed.cred")).unwrap();
    let text = String::from_utf8(blob.trim_ascii().to_vec()).unwrap();
    for route in routes() {
        for (plain, count) in [("api-key", 1), ("", 0)] {
            let directory =
                directory(&[("smbios-creds.db-password", &blob), ("smbios-creds.api-key", b"Canary")]);
            let variables = [
                ("SMBIOS_CREDS", Path::new(plain)),
                ("SMBIOS_CREDS_SEALED", Path::new("db-password")),
                ("CREDENTIALS_DIRECTORY", directory.path()),
            ];
            let running = start(&route, "runners.required", &variables).unwrap();
            let strings = ch_list(&running.option("--platform"), "oem_strings", true).unwrap();
            let sealed = format!("io.smbios-creds.encrypted:db-password={text}");
            assert!(strings.contains(&sealed), "{}: {strings:?}", route.name);
            let plain = strings.iter().filter(|string| string.starts_with("io.systemd.credential.binary:"));
            assert_eq!(plain.count(), count, "{strings:?}");
            assert_unseen(running);
        }
    }
}

#[test]
fn cloud_hypervisor_gets_every_secret_byte_for_byte_and_nobody_sees_one() {
    let directory = credentials();
    for route in routes() {
        let variables = [declared(), ("CREDENTIALS_DIRECTORY", directory.path())];
        let running = start(&route, "runners.cloud-hypervisor", &variables).unwrap();
        // microvm.nix's own string is kept: it names the socket on which the guest reports that it has booted.
        let strings = ch_list(&running.option("--platform"), "oem_strings", true).unwrap();
        assert_eq!(
            strings[0], "io.systemd.credential:vmm.notify_socket=vsock-stream:2:8888",
            "{}",
            route.name
        );
        assert_secrets(one_structure(&strings), &[("vmm.notify_socket", b"vsock-stream:2:8888")]);
        assert_eq!(running.option("--vsock"), "cid=3,socket=notify.vsock");
        assert_eq!(running.all("argument")[0], "microvm@web");
        assert!(running.all("cmdline")[0].starts_with("microvm@web --"), "{:?}", running.all("cmdline"));
        // The runner passes the descriptor of a macvtap interface to the hypervisor.
        assert_eq!(running.option("--net"), "fd=[3],mac=02:00:00:00:00:01");
        assert!(running.all("descriptor").contains(&"3".into()));
        // The hypervisor runs in the process that was started as the runner, which systemd watches.
        assert_eq!(running.all("pid"), [running.child.id().to_string()]);
        let errors = assert_unseen(running);
        assert!(errors.contains("starts cloud-hypervisor with 4 credentials"), "{errors}");
    }
}

#[test]
fn runner_asks_for_a_receipt_and_leaves_its_verifier() {
    let directory = credentials();
    for route in routes() {
        let folder = tempfile::tempdir().unwrap();
        let variables = [declared(), ("CREDENTIALS_DIRECTORY", directory.path())];
        let running = start_in(folder.path(), &route, "runners.receipt", &variables).unwrap();
        let strings = ch_list(&running.option("--platform"), "oem_strings", true).unwrap();
        let asks = |string: &String| string == "io.smbios-creds.receipt:vsock-stream:2:8889";
        assert!(strings.iter().any(asks), "{}: {strings:?}", route.name);
        running.end();
        let verifier = std::fs::read_to_string(folder.path().join("smbios-creds.verifier")).unwrap();
        assert!(verifier.starts_with("sha256:"), "{verifier}");
    }
}

#[test]
fn the_runner_is_microvm_nixs_own_but_for_the_secrets() {
    for route in routes() {
        let plain = start(&route, "runners.plain", &[]).unwrap();
        let directory = credentials();
        let variables = [declared(), ("CREDENTIALS_DIRECTORY", directory.path())];
        let ours = start(&route, "runners.cloud-hypervisor", &variables).unwrap();
        let without = |running: &Running| {
            let mut arguments = running.all("argument");
            let at = arguments.iter().position(|argument| argument == "--platform").unwrap();
            arguments.remove(at + 1);
            // Only one guest's closure contains the agent, so the store paths after `init=` differ.
            arguments
                .iter()
                .map(|argument| argument.split("init=").next().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(without(&plain), without(&ours), "{}", route.name);
        plain.end();
        ours.end();
    }
}

#[test]
fn crosvm_gets_them_and_its_other_commands_are_left_alone() {
    let directory = credentials();
    for route in routes() {
        let variables = [declared(), ("CREDENTIALS_DIRECTORY", directory.path())];
        let running = start(&route, "runners.crosvm", &variables).unwrap();
        assert_eq!(running.all("argument")[..2], ["microvm@web", "run"], "{}", route.name);
        let option = running.option("--smbios");
        let strings = crosvm_list(option.strip_prefix("oem-strings=").unwrap()).unwrap();
        assert_secrets(one_structure(&strings), &[]);
        assert_unseen(running);
    }
    let crosvm = routes()[0].build("hypervisors.crosvm").join("bin/crosvm");
    let mut command = NIX.command(crosvm.to_str().unwrap());
    command
        .args(["powerbtn", "socket"])
        .env(DECLARED.0, DECLARED.1)
        .env("CREDENTIALS_DIRECTORY", directory.path());
    let running = Running::start(&mut command).unwrap();
    assert_eq!(running.all("argument")[1..], ["powerbtn", "socket"]);
    assert_eq!(running.end().1, "");
}

#[test]
fn qemu_gets_them_in_a_file_that_exists_in_memory_alone() {
    let directory = credentials();
    for route in routes() {
        let variables = [declared(), ("CREDENTIALS_DIRECTORY", directory.path())];
        let running = start(&route, "runners.qemu", &variables).unwrap();
        assert_eq!(running.all("argument")[0], "microvm@web", "{}", route.name);
        // microvm.nix passes a -smbios option too, so this test looks for the option with a file.
        let arguments = running.all("argument");
        let descriptor =
            arguments.iter().find_map(|argument| argument.strip_prefix("file=/proc/self/fd/")).unwrap();
        let file = format!("/proc/{}/fd/{descriptor}", running.child.id());
        assert_secrets(std::fs::read(file).unwrap(), &[]);
        assert_unseen(running);
    }
}

#[test]
fn qemu_machine_microvm_gets_them_and_a_manifest_by_fw_cfg_and_nobody_sees_one() {
    let directory = credentials();
    for route in routes() {
        let variables = [declared(), ("CREDENTIALS_DIRECTORY", directory.path())];
        let running = start(&route, "runners.qemu-microvm", &variables).unwrap();
        let machine = running.option("-M");
        assert!(machine.starts_with("microvm,") && machine.contains("acpi=on"), "{}: {machine}", route.name);
        let arguments = running.all("argument");
        let mut items: Vec<(String, Vec<u8>)> = arguments
            .iter()
            .filter_map(|argument| {
                let item = argument.strip_prefix("name=opt/io.systemd.credentials/")?;
                let (name, descriptor) = item.split_once(",file=/proc/self/fd/").unwrap();
                let file = format!("/proc/{}/fd/{descriptor}", running.child.id());
                Some((name.to_owned(), std::fs::read(file).unwrap()))
            })
            .collect();
        items.sort();
        let sent: Vec<_> = secrets().map(|(name, value)| (name.to_owned(), value)).into();
        assert!(items == sent, "{}: what is passed is not what was declared", route.name);
        let manifests = arguments.iter().filter(|argument| argument.contains("manifest")).count();
        assert_eq!(manifests, 1, "{}: {arguments:?}", route.name);
        assert_unseen(running);
    }
}

#[test]
fn a_microvm_nix_without_package_options_gets_its_own_runner_with_the_launcher() {
    let directory = credentials();
    let route = &routes()[0];
    let variables = [declared(), ("CREDENTIALS_DIRECTORY", directory.path())];
    let running = start(route, "runners.older", &variables).unwrap();
    let strings = ch_list(&running.option("--platform"), "oem_strings", true).unwrap();
    assert_secrets(one_structure(&strings), &[]);
    assert_eq!(running.all("argument")[0], "microvm@web");
    assert!(running.all("descriptor").contains(&"3".into()));
    assert_unseen(running);
    let running = start(route, "runners.older-qemu", &variables).unwrap();
    assert!(running.option("-smbios").starts_with("file=/proc/self/fd/"));
    assert_unseen(running);
    // Other programs read files next to the runner, which must still exist.
    let runner = route.build("runners.older");
    assert_eq!(
        std::fs::read_to_string(runner.join("share/microvm/hypervisor")).unwrap(),
        "cloud-hypervisor\n"
    );
}

#[test]
fn what_else_is_in_the_package_stays() {
    let package = routes()[0].build("hypervisors.cloud-hypervisor");
    let remote = output(NIX.command(package.join("bin/ch-remote").to_str().unwrap()).arg("resize"));
    assert_eq!(String::from_utf8(remote.stdout).unwrap(), "other resize\n");
    // A command that starts no virtual machine needs no credentials.
    let mut command = NIX.command(package.join("bin/cloud-hypervisor").to_str().unwrap());
    let running = Running::start(command.arg("--version").env(DECLARED.0, DECLARED.1)).unwrap();
    assert_eq!(running.all("argument")[1..], ["--version"]);
    assert_eq!(running.end().1, "");
}

/// Returns the message of a start that must be refused.
fn refusal(route: &Route, attribute: &str, variables: &[(&str, &Path)]) -> String {
    let Err((message, code)) = start(route, attribute, variables) else {
        panic!("{attribute} is started");
    };
    assert_eq!(code, Some(3), "{message}");
    message
}

#[test]
fn a_machine_that_has_to_get_credentials_is_not_started_by_hand() {
    for route in routes() {
        let message = refusal(&route, "runners.required", &[]);
        for part in [
            "web is not started: it has to get db-password",
            "$CREDENTIALS_DIRECTORY is not set",
            "'systemctl start microvm@VM.service'",
            "(VM is its name on the host)",
        ] {
            assert!(message.contains(part), "{}: {message}", route.name);
        }
        let message = refusal(&route, "runners.cloud-hypervisor", &[declared()]);
        assert!(message.contains("it has to get api-key, db-password, tls-key, and"), "{message}");
    }
}

#[test]
fn messages_name_the_unit_where_the_host_name_is_another_one() {
    let state = tempfile::tempdir().unwrap();
    for route in routes() {
        // microvm.nix keeps the runner of a machine at /var/lib/microvms/VM/current.
        let folder = state.path().join(format!("vm-of-{}", route.name.len()));
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(route.build("runners.required"), folder.join("current")).unwrap();
        let vm = folder.file_name().unwrap().to_str().unwrap();
        let Err((message, Some(3))) = start_in(&folder, &route, "runners.required", &[]) else {
            panic!("{}: it is started", route.name);
        };
        for part in [
            "web is not started: it has to get db-password".to_owned(),
            format!("'systemctl start microvm@{vm}.service'"),
            format!("services.smbios-creds.vms.{vm}.credentials"),
        ] {
            assert!(message.contains(&part) && !message.contains("VM"), "{}: {message}", route.name);
        }
        let running = start_in(&folder, &route, "runners.cloud-hypervisor", &[]).unwrap();
        let (_, errors) = running.end();
        assert!(
            errors.contains(&format!("services.smbios-creds.vms.{vm}.credentials on the host)")),
            "{errors}"
        );
    }
}

#[test]
fn a_machine_without_credentials_is_started_and_it_is_said() {
    for route in routes() {
        let running = start(&route, "runners.cloud-hypervisor", &[]).unwrap();
        let platform = running.option("--platform");
        assert_eq!(platform, "oem_strings=[io.systemd.credential:vmm.notify_socket=vsock-stream:2:8888]");
        assert_eq!(running.all("argument")[0], "microvm@web");
        let (_, errors) = running.end();
        assert!(errors.contains("web is started without credentials"), "{}: {errors}", route.name);
    }
}

#[test]
fn a_missing_or_an_empty_secret_starts_nothing() {
    for route in routes() {
        let folder = directory(&[("smbios-creds.api-key", b"")]);
        let directory = ("CREDENTIALS_DIRECTORY", folder.path());
        let variables = [("SMBIOS_CREDS", Path::new("api-key")), directory];
        let message = refusal(&route, "runners.cloud-hypervisor", &variables);
        assert!(message.contains("credential api-key: "), "{}: {message}", route.name);
        assert!(message.contains("smbios-creds.api-key is empty"), "{message}");
        assert!(message.contains("nothing is started"), "{message}");
        // The guest requires db-password, but the host has no such credential.
        let message = refusal(&route, "runners.required", &[directory]);
        assert!(message.contains("smbios-creds.db-password is missing; nothing is started"), "{message}");
        assert!(message.contains("help: add it to LoadCredential= in the unit"), "{message}");
    }
}
