//! The examples of nixos-module/README.md, evaluated as they are there.

use std::collections::BTreeMap;

use crate::nix::{NIX, output, project, routes};

/// What is between ```KIND and ```.
fn blocks(kind: &str) -> Vec<String> {
    let text = std::fs::read_to_string(project("nixos-module/README.md")).unwrap();
    let open = format!("```{kind}\n");
    text.split(&open).skip(1).map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// The examples by the file name in their first line.
fn examples() -> BTreeMap<String, String> {
    let named = |block: String| {
        let name = block.lines().next().unwrap().strip_prefix("# ").unwrap().to_owned();
        (name, block)
    };
    blocks("nix").into_iter().map(named).collect()
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
    std::fs::copy(project("tests/nixos/keys/owner.pub"), folder.join("owner.pub")).unwrap();
    // What the examples refer to beside each other.
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
        let service = value("service");
        assert!(service.contains("Requires=smbios-creds.service\n"), "{service}");
        assert!(service.contains("ImportCredential=db-password\n"), "{service}");
        if !route.is_upstream() {
            let flake = route.value("examples.flake");
            assert!(flake["drop-in"].as_str().unwrap().contains(sources[0].1), "{flake}");
            assert_eq!(flake["runner"], "microvm-cloud-hypervisor-web");
            assert_eq!(flake["service"].as_str().unwrap(), service);
        }
    }
}

/// The six checks of the page are for a running host. These can be tried without one.
#[test]
fn the_documented_checks_find_what_they_look_for() {
    let checks: Vec<String> =
        blocks("sh").iter().flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
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
    // 5, on a recorded table with a manifest.
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
