//! A host whose PID 1 is systemd: a unit with `LoadCredential=` starts a hypervisor through `smbios-creds-host run`.

use std::path::Path;
use std::process::Command;

use smbios_creds::format::base64;

use testkit::host::{QEMU_WORD, program_with};
use testkit::machine::{Machine, Outcome, Release, Results, prepared, unit_on_page};
use testkit::{canary, holds};

/// Builds a stand-in for a hypervisor, which prints what it was started with. The stand-in needs no library.
fn stand_in() -> tempfile::TempPath {
    let program = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/launch/private_argv/stand_in.c");
    let built = Command::new("cc").args(["-O1", "-static", "-o"]).arg(&program).arg(source).status();
    assert!(built.is_ok_and(|status| status.success()), "cc is needed, ./tests/prepare installs it");
    program
}

fn unit(user: &str) -> String {
    format!(
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=exec\n{user}\n\
         LoadCredential=a-44:/secrets/a-44\nLoadCredential=b-44:/secrets/b-44\nLoadCredential=c-88:/secrets/c-88\n\
         Environment=STAND_IN_STAYS=1\nStandardOutput=truncate:/seen\nStandardError=journal\n\
         ExecStart=/usr/bin/smbios-creds-host --log-level=trace run --all --expect a-44 b-44 c-88 \
         --argv0 microvm@test -- /usr/bin/cloud-hypervisor --kernel /kernel \
         --platform oem_strings=[io.systemd.credential:vmm.notify_socket=vsock-stream:2:8888]\n"
    )
}

/// Gives the machine the unit of docs/host.md, word for word, and the unit's user. A drop-in adapts the unit to the
/// stand-in for QEMU.
fn page(machine: Machine, qemu: &Path) -> Machine {
    machine
        .file("etc/systemd/system/vm-web.service", unit_on_page("docs/host.md"))
        .file(
            "etc/systemd/system/vm-web.service.d/test.conf",
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=exec\nEnvironment=STAND_IN_STAYS=1\n\
             StandardOutput=truncate:/seen\nStandardError=journal\n",
        )
        .file(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nvm-web:x:998:998::/:/bin/sh\n",
        )
        .file("etc/group", "root:x:0:\nsystemd-journal:x:101:\nnogroup:x:65534:\nkvm:x:107:\nvm-web:x:998:\n")
        .program("usr/bin/qemu-system-x86_64", qemu)
}

/// Encrypts two secrets as docs/host.md says, starts the unit of that page, and reads the unit's log. Only this test
/// machine needs `--with-key=host`, since its root file system is in memory. In systemd 262, the service of
/// `systemd-creds.socket` decrypts the credentials of units. A complete boot starts this socket, and older versions of
/// systemd do not have it.
const LOOK_AT_PAGE: &str = "rm -f /seen
    store=/etc/credstore.encrypted
    mkdir -p $store
    result encrypt_password systemd-creds encrypt --with-key=host --name=db-password /secrets/a-44 $store/db-password
    result encrypt_key systemd-creds encrypt --with-key=host --name=tls-key /secrets/b-44 $store/tls-key
    systemctl start systemd-creds.socket || :
    result start_page systemctl start vm-web.service
    sleep 2
    result seen_page cat /seen
    journalctl --sync
    result journal_page journalctl --no-pager -u vm-web.service
    systemctl stop vm-web.service
";

/// Asserts that the unit of docs/host.md delivers both secrets, from inside its sandbox, to a QEMU that runs as the
/// unit's user.
fn page_delivers(results: &Results, secrets: [&str; 2]) {
    for step in ["encrypt_password", "encrypt_key", "start_page"] {
        let (outcome, journal) = (&results[step], results["journal_page"].text());
        assert_eq!(outcome.code, 0, "{step}: {} {journal}", outcome.stderr);
    }
    let journal = results["journal_page"].text();
    assert!(journal.contains("starts qemu with 2 credentials: db-password, tls-key"), "{journal}");
    // The output contains structures, which are not text.
    let seen = String::from_utf8_lossy(&results["seen_page"].stdout);
    for (name, value) in ["db-password", "tls-key"].iter().zip(secrets) {
        let string = format!("io.systemd.credential.binary:{name}={}", *base64::encode(value.as_bytes()));
        assert!(seen.contains(&string), "{name}: {seen}");
    }
    assert!(seen.contains("\0uid=998\0"), "{seen}");
}

/// Returns a script that starts a unit with Yama's `ptrace_scope` set to `scope`, and collects everything that others
/// could see.
fn look(unit: &str, scope: u8) -> String {
    format!(
        "echo {scope} >/proc/sys/kernel/yama/ptrace_scope
         rm -f /seen
         result start_{unit}_{scope} systemctl start {unit}.service
         sleep 2
         result pid_{unit}_{scope} systemctl show --property=MainPID --value {unit}.service
         result seen_{unit}_{scope} cat /seen
         result status_{unit}_{scope} systemctl status --no-pager --full {unit}.service
         result show_{unit}_{scope} systemctl show {unit}.service
         result proc_{unit}_{scope} sh -c 'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ'
         journalctl --sync
         result journal_{unit}_{scope} journalctl --no-pager -o json
         systemctl stop {unit}.service
         "
    )
}

fn starts(name: &str, release: Release) {
    let canary = canary();
    let canary = String::from_utf8(canary).unwrap();
    let secrets = [
        ("a-44", format!("{canary}{}", "a".repeat(12))),
        ("b-44", format!("{}{canary}", "b".repeat(12))),
        ("c-88", format!("{canary}{canary}{}\n", "c".repeat(23))),
    ];
    let program = stand_in();
    let mut machine = Machine::new(name)
        .release(release)
        .systemd("")
        .program("usr/bin/smbios-creds-host", prepared("smbios-creds-host"))
        .program("usr/bin/cloud-hypervisor", program.to_path_buf())
        .file("etc/systemd/system/root.service", unit(""))
        .file("etc/systemd/system/user.service", unit("User=nobody\nGroup=nogroup\nNoNewPrivileges=yes"));
    for (name, value) in &secrets {
        machine = machine.file(&format!("secrets/{name}"), value.as_str());
    }
    let (_directory, qemu) = program_with(program.to_str().unwrap(), QEMU_WORD);
    let machine = page(machine, &qemu);
    let of_page = [secrets[0].1.as_str(), secrets[1].1.as_str()];
    let script = [
        "systemctl start systemd-journald.socket systemd-journald.service\n".to_owned(),
        LOOK_AT_PAGE.to_owned(),
        look("root", 1),
        look("user", 1),
        look("root", 2),
        look("user", 2),
        look("root", 3),
    ];
    let results = machine.boot(&script.concat());
    let of = |what: &str, unit: &str, scope: u8| &results[&format!("{what}_{unit}_{scope}")];

    for (name, Outcome { stdout, stderr, .. }) in &results {
        if !name.starts_with("seen_") {
            assert!(
                !holds(stdout, canary.as_bytes()) && !holds(stderr.as_bytes(), canary.as_bytes()),
                "{name}"
            );
        }
    }
    for (unit, scope) in [("root", 1), ("user", 1), ("root", 2)] {
        assert_eq!(of("start", unit, scope).code, 0, "{unit} {scope}: {:?}", of("start", unit, scope));
        let seen = of("seen", unit, scope).text();
        let lines: Vec<&str> = seen.split('\0').collect();
        let arguments: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("argument=")).collect();
        assert_eq!(arguments[..4], ["microvm@test", "--kernel", "/kernel", "--platform"], "{seen}");
        let strings =
            arguments[4].strip_prefix("oem_strings=[").and_then(|text| text.strip_suffix(']')).unwrap();
        let strings: Vec<&str> = strings.split(',').collect();
        assert_eq!(strings[0], "io.systemd.credential:vmm.notify_socket=vsock-stream:2:8888");
        for ((name, value), string) in secrets.iter().zip(&strings[1..]) {
            let prefix = format!("io.systemd.credential.binary:{name}=");
            let text = string.strip_prefix(&prefix).unwrap_or_else(|| panic!("{name}: {seen}"));
            assert_eq!(base64::decode(text.as_bytes()).unwrap().as_slice(), value.as_bytes(), "{name}");
        }
        assert!(strings[4].starts_with("io.smbios-creds.manifest:") && strings.len() == 5);
        assert!(lines.contains(&format!("pid={}", of("pid", unit, scope).text().trim()).as_str()), "{seen}");
        assert!(of("status", unit, scope).text().contains("microvm@test"), "{:?}", of("status", unit, scope));
        assert!(of("journal", unit, scope).text().contains("starts cloud-hypervisor with 4 credentials"));
    }
    page_delivers(&results, of_page);
    // Where Yama forbids tracing, the unit's log has the cause, and nothing is started.
    for (unit, scope, cause) in [
        ("user", 2, "kernel.yama.ptrace_scope is 2, so tracing needs CAP_SYS_PTRACE"),
        ("root", 3, "kernel.yama.ptrace_scope is 3, so not even root can trace"),
    ] {
        assert_eq!(of("seen", unit, scope).text(), "", "{unit} {scope}");
        assert!(of("status", unit, scope).text().contains("status=3"), "{:?}", of("status", unit, scope));
        assert!(of("journal", unit, scope).text().contains(cause), "{unit} {scope}");
    }
}

#[test]
fn a_unit_of_systemd_252_delivers_byte_for_byte_and_nobody_sees_a_secret() {
    starts("launcher-252", Release::Bookworm);
}

#[test]
fn a_unit_of_the_newest_systemd_delivers_byte_for_byte_and_nobody_sees_a_secret() {
    starts("launcher-newest", Release::Newest);
}
