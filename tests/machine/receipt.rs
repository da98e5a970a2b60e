//! Receipts over `AF_VSOCK`, within one machine: Linux connects the host's CID to itself where there is no host
//! (`vsock_use_local_transport()`, Linux `net/vmw_vsock/af_vsock.c`).

use std::collections::BTreeMap;
use std::path::Path;

use testkit::code;
use testkit::host::host;
use testkit::machine::{Machine, Results, prepared};
use testkit::sent::{directory, sent};
use testkit::{run, stderr};

/// Shell functions. `awaiting` starts `smbios-creds-host await` on port 8889 with further options, and waits until it
/// listens. `ended NAME` waits until `await` ends, and sends its log with its exit code as the result NAME.
const AWAIT: &str = "
    awaiting() {
        (smbios-creds-host --log-level=debug await --listen vsock:8889 \"$@\" 2>/tmp/await; echo exit $? >>/tmp/await) &
        until grep -q 'listening on' /tmp/await 2>/dev/null; do sleep 0.1; done
    }
    ended() {
        until grep -q '^exit ' /tmp/await; do sleep 0.1; done
        result $1 cat /tmp/await
        rm /tmp/await
    }
    ";

/// Returns a machine that is sent three secrets and a port for the receipt, and that has the secrets' verifier, a
/// file for `await`.
fn machine(name: &str) -> Machine {
    let secrets = BTreeMap::from([
        ("a-44", vec![b'a'; 44]),
        ("every-byte", (0..=255).collect()),
        ("hunter", b"hunter2".to_vec()),
    ]);
    let secrets = directory(&secrets);
    let verifier = secrets.path().join(".verifier");
    // The verifier is for the salt of this `emit`, so the machine is sent exactly the strings that this `emit`
    // prints.
    let emit = ["emit", "--all", "--format=strings", "--receipt=8889", "--credentials"];
    let output = run(host(&emit).arg(secrets.path()).arg("--verifier").arg(&verifier));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let strings = std::str::from_utf8(&output.stdout).unwrap();
    let machine = strings.lines().fold(Machine::new(name), Machine::oem_string);
    machine
        .modules()
        .program("usr/bin/smbios-creds-host", prepared("smbios-creds-host"))
        .file("verifier", std::fs::read_to_string(verifier).unwrap())
        .file("other", format!("sha256:{}\n", "0".repeat(64)))
}

#[track_caller]
fn assert_awaited(results: &Results, name: &str, exit: i32, text: &str) {
    let log = results[name].text();
    assert!(log.ends_with(&format!("exit {exit}\n")) && log.contains(text), "{name}: {log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn unit_tells_the_host_how_its_import_ended() {
    // The unit imports before any program listens for a receipt. A service that required the unit would be stopped
    // when the unit is restarted.
    let wants = "[Unit]\nWants=smbios-creds.service\nAfter=smbios-creds.service\n";
    let machine = machine("receipt-unit").systemd("").unit("smbios-creds.service", "");
    let results = machine.file("etc/systemd/system/probe.service.d/wants.conf", wants).boot(&format!(
        "{AWAIT}
         result early systemctl show -P ExecMainStatus smbios-creds.service
         modprobe vsock_loopback
         result none sh -c 'time -p smbios-creds import'
         awaiting --guest-cid 1 --verifier /verifier
         result restart systemctl restart smbios-creds.service
         ended proven
         awaiting --guest-cid 1 --verifier /other
         result restart systemctl restart smbios-creds.service
         ended other
         awaiting --guest-cid 1 --verifier /verifier
         result import-failed smbios-creds import --require absent
         ended failed
         awaiting --guest-cid 1 --no-proof
         result program smbios-creds exec -- true
         ended exec
         result looks sh -c 'smbios-creds list; smbios-creds check; smbios-creds import --dry-run'
         smbios-creds record /tmp/recorded
         result replayed smbios-creds import --from /tmp/recorded --into /tmp/credentials
         awaiting --guest-cid 7 --no-proof --timeout 15
         result import smbios-creds import
         ended stranger"
    ));
    assert_eq!(results["early"].text(), "0\n");
    let none = &results["none"];
    assert_eq!(none.code, 0, "{none:?}");
    assert!(none.stderr.contains("the host may not know how the import ended: cannot connect"), "{none:?}");
    let real = none.stderr.lines().find_map(|line| line.strip_prefix("real ")).unwrap();
    assert!(real.parse::<f64>().unwrap() < 5.0, "it waits a second at most, and QEMU is slow: {none:?}");
    assert_awaited(&results, "proven", 0, "the guest has every credential that was sent (proven, boot ");
    assert_awaited(&results, "proven", 0, "reports: smbios-creds: 3 of 3 credentials verified");
    assert_awaited(&results, "other", 3, "the guest's proof is wrong");
    assert_eq!((results["restart"].code, results["import-failed"].code), (0, 3));
    assert_awaited(&results, "failed", 3, "the guest's import ended with exit code 3");
    assert_awaited(&results, "failed", 3, "reports: smbios-creds: credential absent: missing: required");
    assert_eq!(results["program"].code, 0);
    for told in ["import-failed", "program"] {
        assert!(
            results[told].stderr.contains("the result of the import was sent to the host"),
            "{:?}",
            results[told]
        );
    }
    assert_awaited(&results, "exec", 0, "the guest has every credential that was sent (unproven, boot ");
    // In this step, `await` expects the receipt of a guest with another CID than this machine has.
    assert_awaited(&results, "stranger", 1, "within 15 seconds (1 connection sent no receipt)");
    assert_awaited(&results, "stranger", 1, "the connection is from another machine");
    for quiet in ["looks", "replayed"] {
        let log = &results[quiet].stderr;
        assert!(!log.contains("the host") && !log.contains("warning"), "{log}");
    }
}

/// The unit that microvm.nix makes for a machine: socat relays the guest's messages to systemd.
const RELAY: &str = "[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nNotifyAccess=all\nTimeoutStartSec=infinity\n\
    ExecStart=/bin/sh -c 'exec socat -t0 -T1 VSOCK-LISTEN:8889,fork UNIX-SENDTO:$NOTIFY_SOCKET'\n";

#[test]
fn notify_socket_gets_one_status_line_which_a_relay_shows_in_the_unit_and_never_ready() {
    let secrets = directory(&BTreeMap::from([("a", b"hunter2".to_vec())]));
    let socket = "io.systemd.credential:vmm.notify_socket=vsock-stream:2:8889";
    let machine = Machine::new("receipt-notify").modules().systemd("").oem_string(socket);
    let machine = machine
        .program("usr/bin/smbios-creds-host", prepared("smbios-creds-host"))
        .program_apart("usr/bin/socat", Path::new("/usr/bin/socat"))
        .file("etc/systemd/system/vm.service", RELAY);
    let results = sent(machine, secrets.path()).boot(&format!(
        "{AWAIT}
         modprobe vsock_loopback
         awaiting --guest-cid 1 --no-proof --timeout 15
         result import strace -f -s 200 -e trace=connect,sendto,shutdown smbios-creds import
         ended await
         systemctl start --no-block vm.service
         result relayed sh -c '
             for try in $(seq 100); do
                 smbios-creds --log-level=off import >/dev/null
                 status=$(systemctl show -P StatusText vm.service)
                 [ -z \"$status\" ] || break
                 sleep 0.2
             done
             echo \"$status\"; systemctl show -P SubState vm.service'"
    ));
    let import = &results["import"];
    assert_eq!(import.code, 0, "{import:?}");
    let sent: Vec<_> = import.stderr.lines().filter(|line| line.contains("sendto(")).collect();
    let message = r#""STATUS=smbios-creds: 2 of 2 credentials verified\n""#;
    assert!(sent.len() == 1 && sent[0].contains(message), "{import:?}");
    assert!(
        import.stderr.contains("the result of the import was sent to the host (vsock-stream:2:8889)"),
        "{import:?}"
    );
    assert_awaited(&results, "await", 1, "it has no X_SMBIOS_CREDS_EXIT");
    // Without READY=1, the unit stays in the state of starting.
    let relayed = &results["relayed"];
    assert_eq!(relayed.text(), "smbios-creds: 2 of 2 credentials verified\nstart\n", "{relayed:?}");
}
