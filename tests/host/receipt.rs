//! Receipts: what a guest would send to `await` about an import, over a Unix socket like cloud-hypervisor's.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use smbios_creds::format::receipt::{Address, Receipt, Status};
use smbios_creds::guest::import::{Request, import};
use smbios_creds::guest::place::Place;
use smbios_creds::guest::place::choose::Into;
use smbios_creds::guest::report::receipt::{in_words, receipt};
use smbios_creds::guest::system::System;
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::host::plan::{Order, Plan};
use smbios_creds::host::strings::{Content, Existing, OemStrings};
use testkit::host::{
    CLOUD_HYPERVISOR, QEMU, QEMU_WORD, directory, host, host_with, order, program_with, render,
};
use testkit::{code, credential, recording, run, stderr, table};

const SET: [(&str, &[u8]); 3] = [("a", b"first"), ("db-password", b"hunter2"), ("tls-key", &[0, 10, 255])];

/// Imports these OEM strings, and returns the receipt that a guest would send.
fn said(strings: &[Vec<u8>]) -> Receipt {
    let folder = recording(&table(&strings.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    let target = tempfile::tempdir().unwrap();
    let request = Request {
        from: Some(folder.path().into()),
        into: Into::At(Place::Directory(target.path().join("credentials"))),
        policy: Policy::default(),
        close: false,
    };
    let imported = import(&System::running(), &request).unwrap();
    receipt(&System::running(), &imported, Status::new(&in_words(&imported)))
}

/// A machine on the host: the strings that it was sent, and what `await` needs.
struct Machine {
    directory: tempfile::TempDir,
    strings: Vec<Vec<u8>>,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let credentials = testkit::host::directory(&SET);
        let verifier = directory.path().join("verifier");
        let verifier = verifier.to_str().unwrap();
        let emit = ["emit", "--all", "--format=strings", "--receipt=8889", "--verifier", verifier];
        let output = run(&mut host_with(credentials.path(), &emit));
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let strings = output.stdout.split(|&byte| byte == b'\n').map(<[u8]>::to_vec);
        Self { directory, strings: strings.filter(|string| !string.is_empty()).collect() }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("vsock_8889")
    }

    fn verifier(&self) -> PathBuf {
        self.directory.path().join("verifier")
    }

    /// Starts `await` with these options, and waits until it listens.
    fn awaiting(&self, options: &[&str]) -> Child {
        let child = self.spawn(options);
        wait_for(|| UnixStream::connect(self.socket()).is_ok());
        child
    }

    fn spawn(&self, options: &[&str]) -> Child {
        let listen = format!("unix:{}", self.socket().display());
        let mut command = host(&["await", "--listen", &listen]);
        command.args(options).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn awaiting_proof(&self) -> Child {
        self.awaiting(&["--verifier", self.verifier().to_str().unwrap()])
    }

    /// Sends a message as a guest does, until the host has read it.
    fn send(&self, message: &[u8]) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        // The host may have stopped reading, so the write may fail.
        _ = stream.write_all(message);
        _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
}

fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come to that");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn ended(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

#[track_caller]
fn assert_ended(child: Child, expected: i32, text: &str) -> String {
    let output = ended(child);
    let said = stderr(&output);
    assert!(code(&output) == expected && said.contains(text), "{}: {said}", code(&output));
    said
}

#[test]
fn receipt_with_the_proof_of_every_value_ends_the_wait_with_0() {
    let machine = Machine::new();
    let awaiting = machine.awaiting_proof();
    assert_eq!(machine.socket().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let receipt = said(&machine.strings);
    let message = receipt.encode();
    machine.send(&message);
    let log = assert_ended(awaiting, 0, "the guest has every credential that was sent (proven");
    assert!(log.contains("reports: 3 of 3 credentials verified\n"), "{log}");
    assert!(!machine.socket().exists(), "the socket is left");
    let proof = str::from_utf8(&message).unwrap().lines().find(|line| line.contains("PROOF")).unwrap();
    assert!(!log.contains(proof.split_once('=').unwrap().1), "{log}");
}

#[test]
fn one_byte_of_a_value_that_differs_makes_await_exit_3() {
    let machine = Machine::new();
    // Another program has changed the value, and the manifest with it.
    let others = SET.map(|(name, value)| credential(name, if name == "a" { b"firsT" } else { value }));
    let existing = Existing { receipt: Some(Address::new(8889).unwrap()), ..Existing::default() };
    let strings = OemStrings::new(&others).unwrap().into_texts().len();
    let others = OemStrings::beside(existing, &others).unwrap();
    assert_eq!(others.texts().count(), strings + 1);
    let receipt = said(&others.texts().map(<[u8]>::to_vec).collect::<Vec<_>>());
    assert_eq!((receipt.exit, receipt.verified, receipt.proof.is_some()), (0, 3, true));
    let awaiting = machine.awaiting_proof();
    machine.send(&receipt.encode());
    assert_ended(awaiting, 3, "the guest's proof is wrong: at least one of its values");
}

#[test]
fn failed_import_makes_await_exit_3_with_the_guests_words() {
    let machine = Machine::new();
    let mut strings = machine.strings.clone();
    let cut =
        strings.iter().position(|string| string.starts_with(b"io.systemd.credential.binary:db-p")).unwrap();
    strings.remove(cut);
    let awaiting = machine.awaiting_proof();
    machine.send(&said(&strings).encode());
    let log = assert_ended(awaiting, 3, "the guest's import ended with exit code 3");
    let words = "reports: credential db-password: missing: sent with 7 bytes, but did not arrive";
    assert!(log.contains(words) && !log.contains("hunter2"), "{log}");
}

#[test]
fn guest_that_claims_success_without_a_proof_is_believed_only_if_asked_for() {
    let machine = Machine::new();
    let mut receipt = said(&machine.strings);
    receipt.proof = None;
    let awaiting = machine.awaiting_proof();
    machine.send(&receipt.encode());
    assert_ended(awaiting, 3, "the guest sent no proof");
    let awaiting = machine.awaiting(&["--no-proof"]);
    machine.send(&receipt.encode());
    assert_ended(awaiting, 0, "the guest has every credential that was sent (unproven");
    receipt.verified = 2;
    let awaiting = machine.awaiting(&["--no-proof"]);
    machine.send(&receipt.encode());
    assert_ended(awaiting, 3, "2 of 3 credentials arrived intact");
}

#[test]
fn hostile_messages_neither_end_the_wait_nor_reach_a_terminal() {
    let machine = Machine::new();
    let good = said(&machine.strings).encode();
    let awaiting = machine.awaiting_proof();
    machine.send(b"");
    machine.send(b"READY=1\nERRNO=5\nSTATUS=\x1b]0;owned\x07\n");
    machine.send(&[b"STATUS=a\n".repeat(2), good.to_vec()].concat());
    machine.send(&[good.to_vec(), vec![b'\n'; 5000]].concat());
    machine.send(&vec![0xff; 1 << 20]);
    // This connection never ends, so the host gives up on it after two seconds.
    let mut endless = UnixStream::connect(machine.socket()).unwrap();
    endless.write_all(&good[..100]).unwrap();
    endless.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(endless.read(&mut [0]).is_ok_and(|read| read == 0), "the host gives it up");
    machine.send(&good);
    let log = assert_ended(awaiting, 0, "the guest has every credential that was sent (proven");
    assert!(
        log.contains("the connection did not end in time") && log.contains("it has STATUS twice"),
        "{log}"
    );
    assert!(log.contains("longer than 4096 bytes") && log.contains("it has no X_SMBIOS_CREDS_EXIT"), "{log}");
    assert!(!log.contains('\x1b') && !log.contains("owned"), "{log}");

    let awaiting = machine.awaiting(&["--no-proof"]);
    let hostile = String::from_utf8(good.to_vec()).unwrap();
    machine.send(hostile.replace("STATUS=3 of", "STATUS=\x1b[31m\r\u{202e}3 of").as_bytes());
    let log = assert_ended(awaiting, 0, r"reports: \x1b[31m\r\xe2\x80\xae3 of 3");
    assert!(!log.contains(['\x1b', '\r', '\u{202e}']), "{log}");
}

#[test]
fn message_without_an_end_of_stream_is_read_at_its_blank_line() {
    let machine = Machine::new();
    let awaiting = machine.awaiting_proof();
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    stream.write_all(&said(&machine.strings).encode()).unwrap();
    assert_ended(awaiting, 0, "proven");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn flood_of_connections_does_not_fill_the_log() {
    let machine = Machine::new();
    let awaiting = machine.awaiting(&["--no-proof", "--timeout=3"]);
    for _ in 0..100 {
        machine.send(b"READY=1\n");
    }
    let log = assert_ended(awaiting, 1, "no receipt arrived at unix:");
    assert!(log.contains("within 3 seconds (101 connections sent no receipt)"), "{log}");
    assert_eq!(log.lines().count(), 10, "{log}");
    assert!(log.ends_with("\nsmbios-creds-host: help: read the guest's console\n"), "{log}");
}

/// Any program of the guest can open streams and send nothing.
#[test]
fn streams_without_an_end_do_not_keep_a_receipt_from_being_read() {
    let machine = Machine::new();
    let awaiting = machine.awaiting(&["--verifier", machine.verifier().to_str().unwrap(), "--timeout=20s"]);
    let open = || UnixStream::connect(machine.socket()).unwrap();
    let _idle: Vec<UnixStream> = (0..200).map(|_| open()).collect();
    let mut slow = open();
    slow.write_all(b"STATUS=").unwrap();
    let sent = Instant::now();
    machine.send(&said(&machine.strings).encode());
    assert_ended(awaiting, 0, "proven");
    assert!(sent.elapsed() < Duration::from_secs(10), "the guest waits a second only: {:?}", sent.elapsed());
}

#[test]
fn verifier_is_read_when_the_receipt_arrives() {
    let machine = Machine::new();
    let new = std::fs::read(machine.verifier()).unwrap();
    std::fs::write(machine.verifier(), format!("sha256:{}\n", "0".repeat(64))).unwrap();
    let awaiting = machine.awaiting_proof();
    std::fs::write(machine.verifier(), new).unwrap();
    machine.send(&said(&machine.strings).encode());
    assert_ended(awaiting, 0, "proven");
    for content in [None, Some("sha256:00\n")] {
        std::fs::remove_file(machine.verifier()).unwrap();
        if let Some(content) = content {
            std::fs::write(machine.verifier(), content).unwrap();
        }
        let awaiting = machine.awaiting_proof();
        machine.send(&said(&machine.strings).encode());
        let log = assert_ended(
            awaiting,
            1,
            "help: use --verifier with the file that 'run --verifier' or 'emit --verifier' wrote",
        );
        let file = machine.verifier().display().to_string();
        assert_eq!(log.matches(&file).count(), 1, "it is said once: {log}");
        std::fs::write(machine.verifier(), "").unwrap();
    }
}

#[test]
fn socket_of_a_killed_process_is_replaced_and_nothing_else_is() {
    let machine = Machine::new();
    let socket = machine.socket();
    let refused = |expected| assert_ended(machine.spawn(&["--no-proof", "--timeout=1"]), 1, expected);
    // `await` replaces no file of another program, no socket with another program's mode, and no socket in use.
    std::fs::write(&socket, "precious").unwrap();
    refused("exists, but is not a socket of this program");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
    std::fs::remove_file(&socket).unwrap();
    std::os::unix::fs::symlink("/dev/null", &socket).unwrap();
    refused("exists, but is not a socket of this program");
    std::fs::remove_file(&socket).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o755)).unwrap();
    refused("exists, but is not a socket of this program");
    std::fs::remove_file(&socket).unwrap();
    let mut first = machine.awaiting(&["--no-proof"]);
    refused("is in use: another process listens on it");
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(socket.exists(), "a killed process cannot remove it");
    refused("no receipt arrived at unix:");
    assert!(!socket.exists());
}

#[test]
fn await_without_a_proof_or_a_guest_is_a_usage_error() {
    for options in [
        &["--listen=unix:a"][..],
        &["--listen=unix:a", "--no-proof", "--verifier=v"],
        &["--listen=vsock:8889", "--no-proof"],
        &["--listen=unix:a", "--no-proof", "--guest-cid=3"],
        &["--listen=unix:a", "--no-proof", "--timeout=0"],
        &["--listen=/run/a", "--no-proof"],
    ] {
        let output = run(host(&["await"]).args(options));
        assert_eq!(code(&output), 2, "{options:?}: {}", stderr(&output));
    }
    let directory = directory(&[("a", b"1")]);
    let emit = ["emit", "--all", "--format=strings", "--verifier=v"];
    assert_eq!(code(&run(&mut host_with(directory.path(), &emit))), 2, "a verifier without a receipt");
}

#[test]
fn verifier_is_for_its_owner_and_replaces_only_a_verifier() {
    let machine = Machine::new();
    let first = std::fs::read(machine.verifier()).unwrap();
    assert_eq!(machine.verifier().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let credentials = directory(&SET);
    let emit = |path: &Path| {
        let options =
            ["emit", "--all", "--format=strings", "--receipt=1", "--verifier", path.to_str().unwrap()];
        run(&mut host_with(credentials.path(), &options))
    };
    assert_eq!(code(&emit(&machine.verifier())), 0);
    assert_ne!(std::fs::read(machine.verifier()).unwrap(), first, "each set has a salt of its own");
    let precious = machine.directory.path().join("precious");
    std::fs::write(&precious, "a file of another program\n").unwrap();
    let output = emit(&precious);
    assert_eq!((code(&output), output.stdout.len()), (1, 0), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "a file of another program\n");
    let left: Vec<_> =
        machine.directory.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn run_writes_the_verifier_before_the_hypervisor_starts() {
    let credentials = directory(&SET);
    let directory = tempfile::tempdir().unwrap();
    let verifier = directory.path().join("verifier");
    let (_program, path) = program_with("/bin/sh", QEMU_WORD);
    let mut command = host_with(credentials.path(), &["run", "--all", "--hypervisor=qemu", "--receipt=8889"]);
    command.arg("--verifier").arg(&verifier).arg("--").arg(path);
    // The shell stands in for QEMU: the options for QEMU become the shell's positional parameters.
    let output = run(command.args(["-c", r#"cat "$0""#]).arg(&verifier));
    assert!(testkit::stdout(&output).starts_with("sha256:"), "{}", stderr(&output));
}

#[test]
fn address_for_a_receipt_goes_by_every_channel_and_once() {
    let receipt = Some(Address::new(8889).unwrap());
    let plan = |hypervisor, arguments: &[&str], receipt| {
        Plan::new(Order { receipt, ..order(hypervisor, arguments, vec![credential("db", b"secret")]) })
    };
    let planned = plan(CLOUD_HYPERVISOR, &["--kernel", "k"], receipt).unwrap();
    let contents: Vec<_> = planned.strings.contents().map(|(content, _)| content).collect();
    assert!(matches!(contents[..], [Content::Credential { .. }, Content::Receipt, Content::Manifest]));
    let (arguments, files) = render(&plan(QEMU, &["-M", "microvm"], receipt).unwrap().arguments);
    let item =
        arguments.iter().position(|argument| argument.starts_with("name=opt/io.smbios-creds/receipt,file="));
    assert!(item.is_some() && files.contains(&b"vsock-stream:2:8889".to_vec()), "{arguments:?}");
    let own = ["--kernel", "k", "--platform", "oem_strings=[io.smbios-creds.receipt:vsock-stream:2:1]"];
    assert!(plan(CLOUD_HYPERVISOR, &own, None).is_ok());
    let error = plan(CLOUD_HYPERVISOR, &own, receipt).unwrap_err().to_string();
    assert!(error.contains("OEM string 1 asks for a receipt"), "{error}");
}
