//! The agent as PID 1 where something is missing: a console, mount points, or a writable root file system.

use smbios_creds::format::credential::{Credential, Name};
use smbios_creds::format::manifest::Manifest;

use testkit::machine::{Machine, Results};

/// A program for the agent to start. It records the descriptors that it was started with, and executes the test's
/// script.
const FIRST: &str = "#!/bin/sh
    descriptors=$(for n in 0 1 2; do readlink /proc/$$/fd/$n; done)
    echo \"$descriptors\" >/tmp/descriptors
    exec /init";

const LOOK: &str = "result text cat $CREDENTIALS_DIRECTORY/text
    result descriptors cat /tmp/descriptors
    result log dmesg\n";

fn machine(name: &str) -> Machine {
    Machine::new(name).oem_string("io.systemd.credential:text=value").file("first", FIRST)
}

fn exec(machine: Machine, options: &str) -> (Results, String) {
    machine
        .kernel_arguments(&format!("rdinit=/bin/smbios-creds -- exec {options} /first"))
        .boot_to_console(LOOK)
}

#[test]
fn as_pid_1_without_an_openable_console_it_logs_to_the_kernel_and_starts_the_program() {
    // The kernel has no driver for the console that the command line names, so /dev/console cannot be opened.
    let (results, console) = exec(machine("pid-1-no-console").no_console(), "--require=text");
    assert!(console.contains("unable to open an initial console"), "{console}");
    assert!(results.contains_key("@end"), "{console}");
    assert_eq!(results["text"].text(), "value");
    assert_eq!(results["descriptors"].text(), "/dev/null\n/dev/null\n/dev/null\n");
    assert!(results["log"].text().contains("] imported into /run/credentials/@system: 1 credential"));
}

#[test]
fn as_pid_1_without_the_node_dev_console_it_finds_the_console_in_devtmpfs() {
    let (results, console) = exec(machine("pid-1-no-node").link("dev/console", "/nowhere"), "--require=text");
    assert!(console.contains("unable to open an initial console"), "{console}");
    assert!(results.contains_key("@end"), "{console}");
    assert_eq!(results["text"].text(), "value");
    assert_eq!(results["descriptors"].text(), "/dev/console\n/dev/console\n/dev/console\n");
    assert!(console.contains("smbios-creds: info: imported into /run/credentials/@system"), "{console}");
}

#[test]
fn as_pid_1_without_a_console_it_says_in_the_kernels_log_why_it_gives_up() {
    let (results, console) = exec(machine("pid-1-no-console-missing").no_console(), "--require=other");
    assert!(results.is_empty(), "{results:?}");
    for message in [
        "credential other: missing: required, but did not arrive",
        "the program is not started",
        "Attempted to kill init! exitcode=0x00000300",
    ] {
        assert!(console.contains(message), "{message}: {console}");
    }
    let (results, console) = machine("pid-1-no-console-no-program")
        .no_console()
        .kernel_arguments("rdinit=/bin/smbios-creds -- exec /nowhere/init")
        .boot_to_console(LOOK);
    assert!(results.is_empty() && console.contains("cannot execute /nowhere/init"), "{console}");
}

/// Returns a machine whose first script executes the agent on a root file system that is read-only and lacks these
/// directories.
fn read_only(name: &str, missing: &str, options: &str) -> Machine {
    let poor = format!(
        "#!/bin/sh
        mount -t tmpfs tmpfs /tmp
        rmdir {missing}
        mount -o remount,ro none /
        mkdir /new 2>/tmp/refused
        exec /bin/smbios-creds exec {options} /init"
    );
    Machine::new(name)
        .oem_string("io.systemd.credential:text=value")
        .file("poor", poor)
        .kernel_arguments("rdinit=/poor")
}

const LOOK_AROUND: &str = "result refused cat /tmp/refused
    result text cat ${CREDENTIALS_DIRECTORY-/unset}/text
    mkdir /tmp/proc
    mount -t proc proc /tmp/proc
    result mounts cat /tmp/proc/mounts\n";

/// Returns the message about a directory that a read-only root file system lacks.
fn missing(kind: &str, directory: &str, loss: &str) -> String {
    format!(
        "smbios-creds: error: cannot mount {kind} on {directory}: the directory is missing, and the root file system \
         is read-only. Without it, {loss}\nsmbios-creds: help: create the directory {directory} in the image of the \
         root file system\n"
    )
}

#[test]
fn as_pid_1_on_a_read_only_root_without_proc_it_mounts_the_rest_and_imports() {
    let (results, console) =
        read_only("pid-1-no-proc", "/proc", "--require=text").boot_to_console(LOOK_AROUND);
    assert!(results.contains_key("@end"), "{console}");
    assert!(results["refused"].text().contains("Read-only file system"), "{:?}", results["refused"]);
    let message =
        missing("proc", "/proc", "the program cannot see whether this is a container or a virtual machine");
    assert!(console.replace('\r', "").contains(&message), "{console}");
    assert_eq!(results["text"].text(), "value", "{console}");
    let mounts = results["mounts"].text();
    assert!(mounts.contains("sysfs /sys sysfs rw,nosuid,nodev,noexec"), "{mounts}");
    assert!(mounts.contains("tmpfs /run tmpfs rw,nosuid,nodev"), "{mounts}");
}

#[test]
fn as_pid_1_on_a_read_only_root_without_run_it_names_the_directory_and_starts_nothing_that_needs_credentials()
{
    let message = missing("tmpfs", "/run", "credentials cannot be stored");
    let (results, console) = read_only("pid-1-no-run", "/run", "").boot_to_console(LOOK_AROUND);
    assert!(console.replace('\r', "").contains(&message), "{console}");
    assert!(results.contains_key("@end") && results["text"].code != 0, "{console}");

    let (results, console) = read_only("pid-1-no-run-required", "/run", "--require=text").boot_to_console("");

    assert!(results.is_empty() && console.replace('\r', "").contains(&message), "{console}");
    assert!(console.contains("the program is not started"), "{console}");
}

#[test]
fn as_pid_1_on_a_read_only_root_with_nothing_at_all_it_names_every_directory() {
    let (results, console) =
        read_only("pid-1-nothing-there", "/proc /sys /run", "--require=text").boot_to_console("");

    assert!(results.is_empty(), "{results:?}");
    for (kind, directory, loss) in [
        ("proc", "/proc", "the program cannot see whether this is a container or a virtual machine"),
        ("sysfs", "/sys", "no credential can be received"),
        ("tmpfs", "/run", "credentials cannot be stored"),
    ] {
        let message = missing(kind, directory, loss);
        assert!(console.replace('\r', "").contains(&message), "{message}: {console}");
    }
    assert!(console.contains("the program is not started"), "{console}");
}

/// Returns the OEM strings of a set of one credential and its manifest.
fn proven() -> [String; 2] {
    let credential = Credential::new(Name::new("text").unwrap(), b"value".to_vec());
    let manifest = Manifest::new([&credential], [7; 16]).unwrap().encode();
    ["io.systemd.credential:text=value".to_owned(), manifest]
}

fn of_another_set() -> String {
    let credential = Credential::new(Name::new("text").unwrap(), b"other".to_vec());
    Manifest::new([&credential], [7; 16]).unwrap().encode()
}

/// Boots a machine with these OEM strings and the agent as PID 1, which requires a manifest.
fn requires_manifest(name: &str, strings: &[String]) -> (Results, String) {
    strings
        .iter()
        .fold(Machine::new(name), |machine, string| machine.oem_string(string))
        .kernel_arguments("rdinit=/bin/smbios-creds -- exec --manifest=require /init")
        .boot_to_console("result files ls -A $CREDENTIALS_DIRECTORY")
}

#[test]
fn as_pid_1_that_requires_a_manifest_it_starts_the_program_only_with_the_set_that_was_sent() {
    let (results, console) = requires_manifest("pid-1-proven", &proven());
    assert!(results.contains_key("@end"), "{console}");
    assert_eq!(results["files"].text(), "text\n", "{console}");

    for (name, added, message) in [
        (
            "pid-1-unlisted",
            "io.systemd.credential:added=value".to_owned(),
            "credential added: the manifest does not list this credential",
        ),
        ("pid-1-contradicted", of_another_set(), "a second, different manifest was sent"),
        ("pid-1-invalid-manifest", "io.smbios-creds.manifest:AAAA".to_owned(), "the manifest cannot be read"),
    ] {
        let [credential, manifest] = proven();
        let (results, console) = requires_manifest(name, &[credential, manifest, added]);
        assert!(results.is_empty(), "{name}: {results:?}");
        assert!(console.contains(message), "{name}: {console}");
        assert!(console.contains("error: the program is not started"), "{name}: {console}");
        assert!(console.contains("Attempted to kill init! exitcode=0x00000300"), "{name}: {console}");
    }
}
