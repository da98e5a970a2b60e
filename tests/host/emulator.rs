//! `smbios-creds-host` as the `<emulator>` of a libvirt domain: it starts QEMU with the credentials of the domain's
//! directory in `/run`.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use testkit::{code, program, run, stderr};

const QEMU: &str = "/usr/bin/qemu-system-x86_64";

/// Makes a link to the program, under the name that libvirt executes.
fn emulator() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("qemu-with-credentials-x86_64");
    symlink(program("smbios-creds-host"), &link).unwrap();
    (directory, link)
}

/// Starts a guest of this name that QEMU ends at once, with a `/run` of its own that a shell has prepared. In a user
/// namespace, the program would have the capability to lock memory, but the kernel does not honor it there, so
/// `setpriv` removes it.
fn start(name: &str, prepare: &str) -> Output {
    let (_directory, link) = emulator();
    let script = format!(
        "mount -t tmpfs -o mode=755 tmpfs /run && cd /run && {prepare} && echo quit | setpriv --bounding-set=-ipc_lock \"$0\" -name \"$1\" -M q35 -S \
         -nodefaults -display none -monitor stdio"
    );
    run(Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(link).arg(name))
}

const WEB: &str = "mkdir -p smbios-creds/domains/web && printf secret >smbios-creds/domains/web/db";

#[test]
fn domain_gets_what_its_directory_holds() {
    let output = start("guest=web,debug-threads=on", WEB);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("starts qemu with 1 credential: db\n"), "{}", stderr(&output));
}

#[test]
fn domain_gets_what_its_unit_has_loaded() {
    let unit = r"credentials/smbios-creds-domain@a\\x2db\\x2cc.service";
    let prepare = format!("mkdir -p \"$(printf '{unit}')\" && printf secret >\"$(printf '{unit}')/key\"");
    let output = start("guest=a-b,,c,debug-threads=on", &prepare);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).contains("starts qemu with 1 credential: key\n"), "{}", stderr(&output));
}

#[test]
fn domain_without_its_credentials_is_refused_by_name() {
    for (name, prepare, message) in [
        ("guest=mail", WEB, "domain 'mail' has no credentials"),
        ("guest=../domains/web", WEB, "the domain's name, '../domains/web', cannot be"),
        ("process=web", WEB, "the domain has no name"),
        ("guest=web", "mkdir -p smbios-creds/domains/web", "so nothing would be sent"),
        (
            "guest=web",
            "mkdir -p smbios-creds/domains/web && : >smbios-creds/domains/web/db",
            "credential db: ",
        ),
        (
            "guest=web",
            "mkdir -p smbios-creds/domains/web && ln -s /x smbios-creds/domains/web/db",
            "credential db: ",
        ),
    ] {
        let output = start(name, prepare);
        assert_eq!(code(&output), 3, "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains(message), "{name}: {}", stderr(&output));
        assert!(!stderr(&output).contains("secret"), "{name}");
    }
}

#[test]
fn directory_that_others_can_change_or_that_is_on_a_disk_is_refused() {
    let others = format!("{WEB} && chmod 777 smbios-creds/domains");
    let output = start("guest=web", &others);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("other users can change /run/smbios-creds/domains"),
        "{}",
        stderr(&output)
    );
    let disk = format!(
        "mkdir -p smbios-creds/domains/web && mount --bind '{}' smbios-creds/domains/web",
        env!("CARGO_MANIFEST_DIR")
    );
    let output = start("guest=web", &disk);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("is not in memory only"), "{}", stderr(&output));
}

#[test]
fn probe_gets_the_answer_of_qemu() {
    let (_directory, link) = emulator();
    for question in [&["-version"][..], &["-M", "none,help"], &["-cpu", "help"]] {
        let ask = |program: &std::ffi::OsStr| run(Command::new(program).args(question).stdin(Stdio::null()));
        let (ours, own) = (ask(link.as_os_str()), ask(QEMU.as_ref()));
        assert_eq!((code(&ours), ours.stdout), (code(&own), own.stdout), "{question:?}");
    }
}

#[test]
fn qemu_next_to_the_emulator_is_preferred() {
    let (directory, link) = emulator();
    let beside = directory.path().join("qemu-system-x86_64");
    for (program, answer) in [("/bin/echo", "-version\n"), ("/nonexistent", "QEMU emulator version")] {
        symlink(program, &beside).unwrap();
        let output = run(Command::new(&link).arg("-version"));
        assert!(testkit::stdout(&output).starts_with(answer), "{program}: {output:?}");
        std::fs::remove_file(&beside).unwrap();
    }
}
