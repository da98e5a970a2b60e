//! The instructions of the host's program for command lines of hypervisors and for credentials directories.

use std::path::Path;
use std::process::Command;

use super::{Work, assert_linear};
use testkit::host::{directory, host, host_with};
use testkit::oem;

/// Returns the command that runs `plan` for a hypervisor with these arguments.
fn plan(hypervisor: &str, credentials: &[(&str, &[u8])], arguments: &[String]) -> Work {
    let folder = directory(credentials);
    let mut command = host_with(folder.path(), &["plan", "--all", "--hypervisor", hypervisor, "--", "true"]);
    command.args(arguments);
    (command, vec![folder])
}

/// Like `plan`, with one credential, the arguments `first`, and then `arguments(n)` for each number below `size`.
fn each(hypervisor: &str, first: &[&str], size: usize, arguments: impl Fn(usize) -> Vec<String>) -> Work {
    let first = first.iter().map(|&argument| argument.to_owned());
    let arguments: Vec<String> = first.chain((0..size).flat_map(arguments)).collect();
    plan(hypervisor, &[("db", b"secret")], &arguments)
}

/// A function that makes the arguments of one option from its number.
type Arguments = fn(usize) -> Vec<String>;

fn pair(option: &str, value: impl Into<String>) -> Vec<String> {
    vec![option.to_owned(), value.into()]
}

#[test]
fn options_of_qemu() {
    let cases: [(&str, Arguments); 7] = [
        ("other options", |n| pair("-device", format!("virtio-rng,id=rng{n}"))),
        ("machines", |n| pair("-machine", format!("q35,x{n}=on"))),
        ("OEM strings", |n| pair("-smbios", format!("type=11,value=foreign {n}"))),
        ("credentials", |n| pair("--smbios", format!("type=11,value=io.systemd.credential:c{n}=x"))),
        ("other structures", |n| pair("-smbios", format!("type=1,serial={n}"))),
        ("fw_cfg files", |n| pair("-fw_cfg", format!("name=opt/x{n},string=x"))),
        ("empty arguments", |_| vec![String::new()]),
    ];
    for (what, arguments) in cases {
        assert_linear(what, 400, |size| each("qemu", &[], size, arguments));
    }
}

#[test]
fn values_in_one_option_of_qemu() {
    for (what, part) in [("values", ",value=x"), ("commas", ",,"), ("flags", ",x"), ("machines", ",type=q35")]
    {
        assert_linear(&format!("{what} in one option"), 1500, |size| {
            let option = if what == "machines" { "-M" } else { "-smbios" };
            plan("qemu", &[("db", b"secret")], &pair(option, format!("type=11,value=x{}", part.repeat(size))))
        });
    }
}

#[test]
fn fw_cfg_files_beside_as_many_credentials() {
    assert_linear("fw_cfg files and credentials", 250, |size| {
        let names: Vec<String> = (0..size).map(|n| format!("credential-{n:05}")).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"x".as_slice())).collect();
        let arguments: Vec<String> = (0..size)
            .flat_map(|n| {
                pair("-fw_cfg", format!("name=opt/io.systemd.credentials/something-{n:05},string=x"))
            })
            .collect();
        let files = if files.is_empty() { vec![("db", b"secret".as_slice())] } else { files };
        plan("qemu", &files, &arguments)
    });
}

#[test]
fn handles_that_are_taken_beside_as_many_structures() {
    assert_linear("structures in a file, and of ours", 50, |size| {
        let taken: Vec<u8> = (0..size * 20)
            .flat_map(|n| {
                let handle = u16::try_from(0x8b00 + n % 0x7000).unwrap().to_le_bytes();
                [1, 4, handle[0], handle[1], 0, 0]
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("structures");
        std::fs::write(&file, if taken.is_empty() { oem(&[b"x"]) } else { taken }).unwrap();
        let names: Vec<String> = (0..=size).map(|n| format!("credential-{n:05}")).collect();
        let files: Vec<(&str, &[u8])> =
            names.iter().map(|name| (name.as_str(), [b'x'; 2500].as_slice())).collect();
        let (command, mut folders) =
            plan("qemu", &files, &pair("-smbios", format!("file={}", file.display())));
        folders.push(folder);
        (command, folders)
    });
}

#[test]
fn options_of_cloud_hypervisor() {
    let first = ["--kernel=k"];
    let cases: [(&str, Arguments); 3] = [
        ("other options", |n| pair("--disk", format!("path=disk{n}"))),
        ("API sockets", |n| vec![format!("--api-socket=path=s{n}")]),
        ("empty arguments", |_| vec![String::new()]),
    ];
    for (what, arguments) in cases {
        assert_linear(what, 1000, |size| each("cloud-hypervisor", &first, size, arguments));
    }
    for (what, before, part, behind) in [
        ("OEM strings", "oem_strings=[a", ",a", "]"),
        ("keys", "uuid=x", ",serial_number=x", ""),
        ("brackets", "uuid=", "[", ""),
        ("pairs of brackets", "uuid=", "[]", ""),
        ("quotes", "serial_number=", "\"\"", ""),
    ] {
        // As many as fit into the largest argument that Linux allows (128 KiB).
        assert_linear(&format!("{what} in --platform"), 16_000 / part.len(), |size| {
            let value = format!("{before}{}{behind}", part.repeat(size));
            plan("cloud-hypervisor", &[("db", b"secret")], &["--kernel=k".into(), "--platform".into(), value])
        });
    }
}

#[test]
fn options_of_crosvm() {
    assert_linear("other options", 1000, |size| {
        each("crosvm", &["run"], size, |n| pair("--block", format!("disk{n}")))
    });
    for (what, before, part, behind) in [
        ("OEM strings", "oem-strings=[\"a\"", ",\"a\"", "]"),
        ("keys", "bios-vendor=x", ",serial-number=x", ""),
        ("brackets", "bios-vendor=", "[", ""),
        ("escapes", "oem-strings=[\"a", "\\\\", "\"]"),
    ] {
        // As many as fit into the largest argument that Linux allows (128 KiB).
        assert_linear(&format!("{what} in --smbios"), 16_000 / part.len(), |size| {
            let value = format!("{before}{}{behind}", part.repeat(size));
            plan("crosvm", &[("db", b"secret")], &["run".into(), "--smbios".into(), value])
        });
    }
}

/// Makes a credentials directory with `size` small files, and returns their names.
fn many_files(size: usize) -> (tempfile::TempDir, Vec<String>) {
    let names: Vec<String> = (0..size).map(|n| format!("credential-{n:05}")).collect();
    let folder = directory(&[("db", b"secret")]);
    for name in &names {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    (folder, names)
}

fn emit(folder: &Path, select: &[&str]) -> Command {
    let mut command = host(&["emit", "--format", "strings", "--credentials"]);
    command.arg(folder).args(select);
    command
}

#[test]
fn files_in_a_credentials_directory() {
    assert_linear("files", 50, |size| {
        let (folder, _) = many_files(size);
        (emit(folder.path(), &["--all"]), vec![folder])
    });
    assert_linear("files that are expected", 50, |size| {
        let (folder, names) = many_files(size);
        let mut command = emit(folder.path(), &["--all", "--expect", "db"]);
        command.args(&names);
        (command, vec![folder])
    });
    assert_linear("files that are named, and may be empty", 50, |size| {
        let (folder, names) = many_files(size);
        for name in &names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let mut command = emit(folder.path(), &["--credential", "db"]);
        command.args(&names).args(["--allow-empty", "db"]).args(&names);
        (command, vec![folder])
    });
}
