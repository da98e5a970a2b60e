//! The Nix examples of the documentation, evaluated exactly as the pages show them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::nix::{NIX, output, project, routes};

/// The page of the modules, with complete examples.
const MODULES: &str = "nixos-module/README.md";

/// Returns the code blocks of one language (```KIND) in a page.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let text = std::fs::read_to_string(project(page)).unwrap();
    let open = format!("```{kind}\n");
    text.split(&open).skip(1).map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// Returns the examples of the page of the modules, by the file name in their first line.
fn examples() -> BTreeMap<String, String> {
    let named = |block: String| {
        let name = block.lines().next().unwrap().strip_prefix("# ").unwrap().to_owned();
        (name, block)
    };
    blocks(MODULES, "nix").into_iter().map(named).collect()
}

/// Returns the blocks of the other pages, which are parts of modules: for each a file name, module arguments and text.
fn parts() -> [(&'static str, &'static str, String); 3] {
    let [host, guest] =
        blocks("docs/nixos.md", "nix").try_into().expect("a block for the host and one for the guest");
    let [libvirt] = blocks("integration/libvirt/README.md", "nix").try_into().expect("one block");
    [
        ("page-host.nix", "{ smbios-creds }: { config, ... }:", host),
        ("page-guest.nix", "{ smbios-creds }: { ... }:", guest),
        ("page-libvirt.nix", "{ smbios-creds, smbiosCreds }: { lib, pkgs, ... }:", libvirt),
    ]
}

/// Pages with Nix blocks. A test evaluates every block of these pages.
const PAGES: [&str; 3] = ["docs/nixos.md", "integration/libvirt/README.md", MODULES];

#[test]
fn no_other_page_has_nix_that_no_test_evaluates() {
    let mut pages = Vec::new();
    let mut directories = vec![project("")];
    while let Some(directory) = directories.pop() {
        for path in std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && name != "target" {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                if text.contains("```nix") {
                    pages.push(path.strip_prefix(project("")).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
    }
    pages.sort();
    assert_eq!(pages, PAGES);
}

#[test]
fn every_documented_example_is_evaluated_as_it_is_written() {
    let examples = examples();
    let names: Vec<&str> = examples.keys().map(String::as_str).collect();
    let expected = [
        "flake.nix",
        "guest-signed.nix",
        "guest.nix",
        "host-agenix.nix",
        "host-clan.nix",
        "host-encrypted.nix",
        "host-sops.nix",
        "service.nix",
    ];
    assert_eq!(names, expected);
    let folder = NIX.path("documented");
    for (name, text) in &examples {
        std::fs::write(folder.join(name), text).unwrap();
    }
    for (name, arguments, text) in parts() {
        std::fs::write(folder.join(name), format!("{arguments}\n{{\n{text}\n}}\n")).unwrap();
    }
    std::fs::copy(project("tests/nixos/keys/owner.pub"), folder.join("owner.pub")).unwrap();
    // Files that the examples refer to.
    std::fs::write(folder.join("host.nix"), &examples["host-clan.nix"]).unwrap();
    for encrypted in ["web-db-password.age", "web-db-password.cred"] {
        std::fs::write(folder.join(encrypted), "encrypted").unwrap();
    }

    for route in routes() {
        let value = |name: &str| route.value(&format!("examples.{name}")).as_str().unwrap().to_owned();
        let sources = [
            (
                "clan",
                "LoadCredential=smbios-creds.db-password:/run/secrets/vars/per-machine/h/web/db-password\n",
            ),
            ("sops", "LoadCredential=smbios-creds.db-password:/run/secrets/web-db-password\n"),
            ("agenix", "LoadCredential=smbios-creds.db-password:/run/agenix/web-db-password\n"),
            ("encrypted", "LoadCredentialEncrypted=smbios-creds.db-password:/"),
        ];
        for (name, line) in sources {
            let unit = value(name);
            assert!(unit.contains(line), "{}, {name}: {unit}", route.name);
            assert!(unit.contains("Environment=\"SMBIOS_CREDS=db-password\"\n"), "{unit}");
        }
        assert!(value("agenix").contains("X-Restart-Triggers=/"));
        let signed = value("signed");
        assert!(signed.contains("OPTIONS=--audience web01 --min-serial=7\""), "{signed}");
        let page = route.value("examples.page");
        assert!(page["host"].as_str().unwrap().contains(sources[1].1.replace("web-", "").as_str()), "{page}");
        assert_eq!(page["runner"], "microvm-cloud-hypervisor-web", "{}", route.name);
        assert_eq!(page["wantedBy"], serde_json::json!(["sysinit.target"]));
        let service = value("service");
        assert!(service.contains("Requires=smbios-creds.service\n"), "{service}");
        assert!(service.contains("ImportCredential=db-password\n"), "{service}");
        if !route.is_upstream() {
            let flake = route.value("examples.flake");
            assert!(flake["drop-in"].as_str().unwrap().contains(sources[0].1), "{flake}");
            assert_eq!(flake["runner"], "microvm-cloud-hypervisor-web");
            assert_eq!(flake["service"].as_str().unwrap(), service);
            let libvirt = route.value("examples.libvirt");
            let hook = libvirt["hook"].as_str().unwrap();
            assert!(hook.contains("\nowner=root\n") && !hook.contains("owner=libvirt-qemu"), "{hook}");
            let script = libvirt["script"].as_str().unwrap();
            assert!(script.contains("/bin/qemu-with-credentials /run/libvirt/nix-emulators/"), "{script}");
        }
    }
}

/// The six checks of the page are for a running host. This test runs the checks that work without one.
#[test]
fn the_documented_checks_find_what_they_look_for() {
    let checks: Vec<String> = blocks(MODULES, "sh")
        .iter()
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let commands: Vec<&String> = checks.iter().filter(|line| !line.starts_with('#')).collect();
    let find = |start: &str| commands.iter().find(|command| command.starts_with(start)).unwrap().as_str();
    let shell = |command: &str| {
        let output = output(NIX.command("sh").args(["-c", command]));
        String::from_utf8(output.stdout).unwrap()
    };
    for route in routes() {
        let first = find("grep -o");
        let on = |runner: &str| {
            let runner = route.build(runner);
            shell(&first.replace("/var/lib/microvms/web/current", runner.to_str().unwrap()))
        };
        assert!(
            on("runners.cloud-hypervisor")
                .contains("-smbios-creds-cloud-hypervisor-99.0/bin/cloud-hypervisor")
        );
        assert!(on("runners.qemu").contains("/bin/qemu-system-"));
        assert_eq!(on("runners.plain"), "");
    }
    let older = routes()[0].build("runners.older");
    assert!(
        shell(&find("grep -o").replace("/var/lib/microvms/web/current", older.to_str().unwrap()))
            .contains("smbios-creds-launch")
    );
    // Check 5 of the page, on a recorded table with a manifest.
    let fifth = find("smbios-creds list");
    let agent = env!("CARGO_BIN_EXE_smbios-creds");
    let table = project("testdata/cloud-hypervisor-53-api");
    let options = format!("--from {}", table.display());
    let command = fifth
        .replace("smbios-creds list", &format!("{agent} list {options}"))
        .replace("smbios-creds check", &format!("{agent} check {options}"));
    assert!(shell(&command).contains("NAME"), "{command}");
    assert_eq!(checks.iter().filter(|line| line.starts_with("# ")).count(), 6);
}

/// Makes stand-ins for systemctl, journalctl and systemd-run, which the checks of the page run. The stand-ins answer
/// with this unit, journal, process ID and credentials directory.
fn asked(unit: &str, journal: &str, process: u32, credentials: &Path) -> tempfile::TempDir {
    let programs = tempfile::tempdir().unwrap();
    for (name, text) in [("unit", unit), ("journal", journal)] {
        std::fs::write(programs.path().join(name), text).unwrap();
    }
    let (at, credentials) = (programs.path().display(), credentials.display());
    for (name, script) in [
        (
            "systemctl",
            format!(
                "case \"$*\" in\n'cat microvm@web.service') cat {at}/unit ;;\n'show -P MainPID microvm@web.service') echo {process} ;;\n*) exit 1 ;;\nesac"
            ),
        ),
        ("journalctl", format!("[ \"$*\" = '-b -u microvm@web.service' ] && cat {at}/journal")),
        (
            "systemd-run",
            format!(
                "[ \"$1 $2 $3 $4\" = '--pipe --wait -p LoadCredential=db-password' ] && shift 4 && \
                     CREDENTIALS_DIRECTORY={credentials} exec \"$@\""
            ),
        ),
    ] {
        testkit::write_program(&programs.path().join(name), format!("#!/bin/sh\n{script}\n"), 0o755);
    }
    programs
}

/// Runs the command of the documentation page that begins with `start`, and returns its output.
fn printed(programs: &Path, start: &str) -> String {
    let commands = blocks(MODULES, "sh").concat();
    let command = commands.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}"));
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = output(std::process::Command::new("sh").args(["-c", command]).env("PATH", path));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn checks_of_the_unit_its_journal_its_process_and_a_service_find_a_loss() {
    let directory = crate::runners::credentials();
    for route in routes() {
        let units = &route.value("values.drop-in")["units"];
        let unit = &units["microvm@web.service"]["text"];
        let variables = [crate::runners::declared(), ("CREDENTIALS_DIRECTORY", directory.path())];
        let running = crate::runners::start(&route, "runners.cloud-hypervisor", &variables).unwrap();
        let programs = asked(unit.as_str().unwrap(), "", running.child.id(), directory.path());
        let found = printed(programs.path(), "systemctl cat");
        assert!(
            found.contains("LoadCredential=smbios-creds.api-key:")
                && found.contains("SMBIOS_CREDS=a+b:api-key:tls-key"),
            "{found}"
        );
        let found = printed(programs.path(), "tr ");
        assert_eq!(found.matches("OEM-strings-that-only-the-hypervisor-sees").count(), 1, "{found}");
        let found = printed(programs.path(), "systemd-run");
        assert!(found.contains("smbios-creds.db-password") && !found.contains("Canary"), "{found}");
        let (_, journal) = running.end();
        std::fs::write(programs.path().join("journal"), journal).unwrap();
        let found = printed(programs.path(), "journalctl");
        for name in ["api-key", "db-password", "tls-key"] {
            assert!(found.contains(name), "{name}: {found}");
        }

        let qemu = crate::runners::start(&route, "runners.qemu", &variables).unwrap();
        let programs = asked("", "", qemu.child.id(), directory.path());
        let found = printed(programs.path(), "tr ");
        assert!(found.contains("file=/proc/self/fd/"), "{found}");
        qemu.end();

        // A machine whose runner and unit know nothing of credentials.
        let plain = crate::runners::start(&route, "runners.plain", &[]).unwrap();
        let programs =
            asked("[Service]\n", "cloud-hypervisor: started\n", plain.child.id(), directory.path());
        for check in ["systemctl cat", "journalctl", "tr "] {
            assert_eq!(printed(programs.path(), check), "", "{check}");
        }
        plain.end();
    }
}
