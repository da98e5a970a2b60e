//! Configurations of guests and hosts that import the modules: the units and options that result.

use serde_json::{Value, json};

use crate::nix::{NIX, output, project, routes};

const INITRD: &str = "smbios-creds-initrd.service";
const HOST_STAGE: &str = "smbios-creds.service";

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// Lines of the drop-in that a unit gets.
fn drop_in<'a>(units: &'a Value, name: &str) -> Vec<&'a str> {
    let unit = &units[name];
    assert_eq!(unit["overrideStrategy"], "asDropin", "{name} in {units}");
    let lines = unit["text"].as_str().unwrap().lines();
    // Newer releases of NixOS write wantedBy into the text too.
    lines.filter(|line| !line.is_empty() && *line != "[Install]" && !line.starts_with("WantedBy=")).collect()
}

#[test]
fn every_nix_file_is_parsed() {
    let mut files = vec![project("default.nix"), project("flake.nix")];
    for folder in ["nixos-module", "tests/nixos", "tests/nixos/stand-in"] {
        let found = std::fs::read_dir(project(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(found.filter(|path| path.extension().is_some_and(|extension| extension == "nix")));
    }
    assert!(files.len() >= 16, "{files:?}");
    for file in files {
        let output = output(NIX.command("nix-instantiate").arg("--parse").arg(&file));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_agent_runs_in_the_initrd_before_activation_and_again_in_the_host_stage() {
    for route in routes() {
        let guest = route.value("values.guest");
        let package = route.value("values.package");
        let package = package.as_str().unwrap();
        let initrd = &guest["initrd"];
        assert!(strings(&initrd["packages"]).contains(&package), "{}", route.name);
        assert!(strings(&guest["packages"]).contains(&package));
        // NixOS does not put the program of ExecStart= into the initrd, so the module adds it.
        assert!(strings(&initrd["storePaths"]).contains(&format!("{package}/bin/smbios-creds").as_str()));
        assert!(strings(&initrd["availableKernelModules"]).contains(&"dmi_sysfs"));
        assert_eq!(
            drop_in(&initrd["units"], INITRD),
            ["[Unit]", "Before=initrd-nixos-activation.service", "[Service]"]
        );
        assert_eq!(initrd["units"][INITRD]["wantedBy"], json!(["sysinit.target"]));
        assert_eq!(drop_in(&guest["units"], HOST_STAGE), ["[Unit]", "[Service]", "X-RestartIfChanged=false"]);
        assert_eq!(guest["units"][HOST_STAGE]["wantedBy"], json!(["sysinit.target"]));
        assert_eq!(guest["warnings"], json!([]));
    }
}

#[test]
fn the_package_has_the_units_of_the_project_with_its_own_path() {
    let package = routes()[0].build("package");
    for unit in [INITRD, HOST_STAGE] {
        let own = std::fs::read_to_string(project("integration/systemd").join(unit)).unwrap();
        let path = package.join("bin/smbios-creds");
        let expected = own.replace("/usr/bin/smbios-creds", path.to_str().unwrap());
        assert!(expected.contains(&format!("ExecStart={} import --allow-none $OPTIONS\n", path.display())));
        assert!(expected.contains("initrd-switch-root.target") == (unit == INITRD));
        assert_eq!(std::fs::read_to_string(package.join("lib/systemd/system").join(unit)).unwrap(), expected);
    }
    let mut programs: Vec<_> =
        std::fs::read_dir(package.join("bin")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    programs.sort();
    assert_eq!(programs, ["qemu-with-credentials", "smbios-creds", "smbios-creds-host"]);
    let link = std::fs::read_link(package.join("bin/qemu-with-credentials")).unwrap();
    assert_eq!(link.to_str(), Some("smbios-creds-host"));
    assert!(package.join("share/man/man1/qemu-with-credentials.1").exists());
    let version = output(NIX.command(package.join("bin/smbios-creds").to_str().unwrap()).arg("--version"));
    assert!(package.to_str().unwrap().ends_with(&format!("-{}", env!("CARGO_PKG_VERSION"))), "{package:?}");
    assert!(String::from_utf8(version.stdout).unwrap().contains(env!("CARGO_PKG_VERSION")));
    assert!(package.join("share/man/man7/smbios-creds-format.7").exists());
}

/// NixOS's own code makes the units if the environment names nixpkgs and microvm.nix.
#[test]
fn nixos_puts_the_packages_unit_and_the_drop_in_together() {
    for route in routes().iter().filter(|route| route.is_upstream()) {
        let units = route.build("initrd-units");
        let read = |path: &str| std::fs::read_to_string(units.join(path)).unwrap();
        let own = std::fs::read_to_string(project("integration/systemd").join(INITRD)).unwrap();
        let package = route.value("values.package");
        let path = format!("{}/bin/smbios-creds", package.as_str().unwrap());
        assert_eq!(read(INITRD), own.replace("/usr/bin/smbios-creds", &path));
        assert_eq!(read(&format!("sysinit.target.wants/{INITRD}")), read(INITRD));
        let addition = read(&format!("{INITRD}.d/overrides.conf"));
        assert!(addition.contains("Before=initrd-nixos-activation.service\n"), "{addition}");
    }
}

#[test]
fn options_reach_both_units() {
    let line = "Environment=\"OPTIONS=--require db-password tls-key --manifest=require --strict --confidential=allow \
                --close\"";
    for route in routes() {
        let guest = route.value("values.options");
        assert!(drop_in(&guest["initrd"]["units"], INITRD).contains(&line), "{}", route.name);
        assert!(drop_in(&guest["units"], HOST_STAGE).contains(&line), "{}", route.name);
    }
    agent_takes(line);
}

const IMPORTS_NOTHING: &str = "CREDENTIALS_DIRECTORY=/run/credentials/@system";

#[test]
fn trusted_keys_are_in_the_system_and_in_its_initrd_and_systemd_imports_nothing() {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
    let file = std::fs::read_to_string(project("tests/nixos/keys/owner.pub")).unwrap();
    for route in routes() {
        let trust = route.value("values.trust");
        let guest = &trust["file"];
        assert_eq!(guest["etc"], json!({"smbios-creds/trusted/owner.pub": file}), "{}", route.name);
        assert_eq!(guest["initrd"]["contents"], json!({"/etc/smbios-creds/trusted/owner.pub": file}));
        assert!(strings(&guest["kernelParams"]).contains(&IMPORTS_NOTHING));
        assert!(strings(&trust["no-initrd"]["kernelParams"]).contains(&IMPORTS_NOTHING));
        assert_eq!(trust["no-initrd"]["etc"], guest["etc"]);
        assert_eq!(trust["own-runner"], "coreutils");

        let text = &trust["text"];
        for files in [text["etc"].as_object().unwrap(), text["initrd"]["contents"].as_object().unwrap()] {
            assert_eq!(files.len(), 2, "{files:?}");
            assert!(
                files.keys().all(|name| name.contains("smbios-creds/trusted/") && name.strip_suffix(".pub").is_some())
            );
            assert!(files.values().any(|text| text == key) && files.values().any(|text| *text == file));
        }

        // A guest without a trusted key has no key files and no such kernel parameter.
        let other = route.value("values.guest");
        assert!(!strings(&other["kernelParams"]).contains(&IMPORTS_NOTHING), "{}", route.name);
        assert_eq!((&other["etc"], &other["initrd"]["contents"]), (&json!({}), &json!({})));
    }
}

#[test]
fn options_of_a_signed_set_reach_both_units_and_the_agent_takes_them() {
    let line = "Environment=\"OPTIONS=--manifest=signed --confidential=refuse --audience web01 @machine-id \
                --min-serial=7\"";
    for route in routes() {
        let trust = route.value("values.trust");
        let guest = &trust["options"];
        assert!(drop_in(&guest["initrd"]["units"], INITRD).contains(&line), "{}: {guest}", route.name);
        assert!(drop_in(&guest["units"], HOST_STAGE).contains(&line), "{}", route.name);
    }
    agent_takes(line);
}

/// Asserts that the agent accepts the options in this line of a unit.
fn agent_takes(line: &str) {
    let text = line.strip_prefix("Environment=\"OPTIONS=").unwrap().strip_suffix('"').unwrap();
    let options =
        [["import", "--root", "/nonexistent"].as_slice(), &text.split(' ').collect::<Vec<_>>()].concat();
    let output = output(NIX.command(env!("CARGO_BIN_EXE_smbios-creds")).args(options));
    assert_ne!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn table_stays_open_and_no_sandbox_forbids_closing_it_unless_asked() {
    for route in routes() {
        let guest = route.value("values.guest");
        for units in [&guest["units"][HOST_STAGE], &guest["initrd"]["units"][INITRD]] {
            assert!(!units["text"].as_str().unwrap().contains("--close"), "{}: {units}", route.name);
        }
        // ProtectKernelTunables= or ProtectSystem= would make /sys read-only for the unit, so `--close` could not
        // change modes.
        let unit = std::fs::read_to_string(project("integration/systemd").join(HOST_STAGE)).unwrap();
        let options = route.value("values.options");
        for text in [unit.as_str(), options["units"][HOST_STAGE]["text"].as_str().unwrap()] {
            assert!(
                !text.contains("\nProtectKernelTunables=") && !text.contains("\nProtectSystem="),
                "{text}"
            );
        }
    }
}

#[test]
fn a_scripted_initrd_has_hooks_and_no_unit_that_would_be_dropped() {
    for route in routes() {
        let guest = route.value("values.scripted");
        let initrd = &guest["initrd"];
        let package = route.value("values.package");
        let copied = format!("copy_bin_and_libs {}/bin/smbios-creds", package.as_str().unwrap());
        assert_eq!(initrd["extraUtilsCommands"].as_str().unwrap().trim_end(), copied, "{}", route.name);
        let hook = initrd["preDeviceCommands"].as_str().unwrap();
        assert!(
            hook.starts_with("smbios-creds import --allow-none --into initrd --require db-password ||"),
            "{hook}"
        );
        assert_eq!(initrd["units"].get(INITRD), None);
        assert!(strings(&initrd["availableKernelModules"]).contains(&"dmi_sysfs"));
        assert!(guest["units"].get(HOST_STAGE).is_some());
        // NixOS refuses these hooks in a systemd initrd, so the module must not set them there.
        let guest = route.value("values.guest");
        assert_eq!(guest["initrd"]["extraUtilsCommands"], "");
        assert_eq!(guest["initrd"]["preDeviceCommands"], "");
    }
}

#[test]
fn a_guest_of_the_machine_microvm_loads_the_module_of_fw_cfg_before_each_import() {
    for route in routes() {
        let machines = route.value("values.microvm-machine");
        let loads = |modules: &Value| strings(modules).contains(&"qemu_fw_cfg");
        for initrd in ["systemd", "scripted"] {
            let guest = &machines[initrd];
            assert_eq!(guest["assertions"], json!(vec![true; guest["assertions"].as_array().unwrap().len()]));
            assert!(loads(&guest["initrd"]["kernelModules"]), "{}, {initrd}", route.name);
            assert!(loads(&guest["kernelModules"]), "{}, {initrd}", route.name);
            let after = "After=systemd-modules-load.service";
            assert!(drop_in(&guest["units"], HOST_STAGE).contains(&after), "{}, {initrd}", route.name);
            if initrd == "systemd" {
                assert!(drop_in(&guest["initrd"]["units"], INITRD).contains(&after), "{}", route.name);
            }
        }
        // The machine q35 gets nothing by fw_cfg, so its guest does not load the module.
        assert!(!loads(&machines["q35"]["initrd"]["kernelModules"]), "{}", route.name);
        assert!(!loads(&machines["q35"]["kernelModules"]), "{}", route.name);
    }
}

#[test]
fn a_release_that_loses_what_the_initrd_imports_gets_the_host_stage_alone_and_a_warning() {
    for route in routes() {
        let guest = route.value("values.old-release");
        assert_eq!(guest["initrd"]["units"].get(INITRD), None, "{}", route.name);
        assert!(!strings(&guest["initrd"]["availableKernelModules"]).contains(&"dmi_sysfs"));
        assert!(guest["units"].get(HOST_STAGE).is_some());
        assert!(guest["warnings"].to_string().contains("#421388"));
    }
}

#[test]
fn a_guest_without_an_initrd_has_the_host_stage_alone() {
    for route in routes() {
        let guest = route.value("values.no-initrd");
        assert_eq!(guest["initrd"]["units"].get(INITRD), None, "{}", route.name);
        assert!(!guest["initrd"]["storePaths"].to_string().contains("smbios-creds"));
        assert!(guest["units"].get(HOST_STAGE).is_some());
        assert_eq!(guest["warnings"], json!([]));
    }
}

#[test]
fn a_module_that_is_not_enabled_changes_nothing_at_all() {
    for route in routes() {
        let machines = route.value("values.disabled");
        assert!(machines["without"]["runner"].as_str().unwrap().contains("-microvm-cloud-hypervisor-"));
        for module in ["guest", "microvm", "default"] {
            assert_eq!(machines[module], machines["without"], "{}, {module}", route.name);
        }
        assert_eq!(machines["host"], machines["host-without"], "{}", route.name);
    }
}

#[test]
fn the_hosts_unit_gets_a_drop_in_with_names_and_files_and_no_value() {
    for route in routes() {
        let units = &route.value("values.drop-in")["units"];
        let lines = drop_in(units, "microvm@web.service");
        let encrypted = lines.iter().find(|line| line.starts_with("LoadCredentialEncrypted=")).unwrap();
        assert!(encrypted.starts_with("LoadCredentialEncrypted=smbios-creds.tls-key:/"), "{encrypted}");
        for line in [
            "Environment=\"SMBIOS_CREDS=a+b:api-key:tls-key\"",
            "LoadCredential=smbios-creds.a+b:/run/secrets/x",
            "LoadCredential=smbios-creds.api-key:/run/secrets/vars/per-machine/h/g/api-key",
        ] {
            assert!(lines.contains(&line), "{}: {line} in {lines:?}", route.name);
        }
        assert!(lines.iter().any(|line| line.starts_with("X-Restart-Triggers=")), "{lines:?}");
        // NixOS puts a PATH into a whole unit. A whole unit of this name, instead of a drop-in, would hide the
        // template.
        assert!(!lines.iter().any(|line| line.contains("PATH=")), "{lines:?}");
        let template = units["microvm@.service"]["text"].as_str().unwrap();
        assert!(template.contains("\nPrivateMounts=true\n"), "{template}");
        assert!(template.contains("\nExecStart=/var/lib/microvms/%i/current/bin/microvm-run\n"));

        let imperative = route.value("values.imperative");
        assert!(
            imperative.as_str().unwrap().contains("LoadCredential=smbios-creds.api-key:/run/secrets/100%%\n")
        );
        // For a machine that microvm.nix declares, one drop-in contains the lines of microvm.nix's module and the lines of
        // our module.
        let declarative = route.value("values.declarative");
        let declarative = declarative.as_str().unwrap();
        assert!(declarative.contains("LoadCredential=smbios-creds.api-key:/run/secrets/api-key\n"));
        assert!(declarative.contains("Type=notify\n"), "{declarative}");
    }
}

#[test]
fn what_only_the_guest_can_decrypt_is_loaded_as_it_is_and_named_apart() {
    for route in routes() {
        let unit = route.value("values.sealed");
        let unit = unit.as_str().unwrap();
        for line in [
            "Environment=\"SMBIOS_CREDS=api-key:tls-key\"\n",
            "Environment=\"SMBIOS_CREDS_SEALED=db-password:token\"\n",
            "LoadCredential=smbios-creds.api-key:/run/secrets/api-key\n",
            "LoadCredential=smbios-creds.db-password:/",
            "LoadCredential=smbios-creds.token:/srv/token.cred\n",
            "LoadCredentialEncrypted=smbios-creds.tls-key:/run/tls-key.cred\n",
        ] {
            assert!(unit.contains(line), "{}: {line} in {unit}", route.name);
        }
        // This host cannot decrypt the credentials of the guest, so LoadCredentialEncrypted= has tls-key only.
        assert_eq!(unit.matches("LoadCredentialEncrypted=").count(), 1, "{unit}");
        let drop_in = route.value("values.drop-in").to_string();
        assert!(!drop_in.contains("SMBIOS_CREDS_SEALED"), "{drop_in}");
    }
}

#[test]
fn unit_of_a_machine_awaits_its_receipt_and_fails_without_it() {
    for route in routes() {
        let receipt = route.value("values.receipt");
        let package = route.value("values.package");
        let host = format!("exec {}/bin/smbios-creds-host await", package.as_str().unwrap());
        for drop_in in ["drop-in", "imperative"] {
            let drop_in = receipt[drop_in].as_str().unwrap();
            let start = "ExecStartPost=/var/lib/microvms/web/current/bin/smbios-creds-await\n";
            // With Type=notify, systemd would start smbios-creds-await only after the guest has sent its receipt.
            assert!(drop_in.contains(start) && drop_in.contains("Type=exec\n"), "{}: {drop_in}", route.name);
            assert!(!drop_in.contains("Type=notify"), "{drop_in}");
        }
        let declarative = route.value("values.declarative");
        assert!(!declarative.as_str().unwrap().contains("smbios-creds-await"), "it is off by default");
        for (machine, options) in [
            (
                "cloud-hypervisor",
                "--listen unix:notify.vsock_8889 --verifier smbios-creds.verifier --timeout 90",
            ),
            ("qemu", "--listen vsock:8892 --guest-cid 3 --verifier smbios-creds.verifier --timeout 90"),
            ("chosen", "--listen vsock:5000 --guest-cid 3 --verifier smbios-creds.verifier --timeout 30"),
        ] {
            assert_eq!(receipt[machine].as_str().unwrap().trim_end(), format!("{host} {options}"));
        }
        let guest = &receipt["guest"];
        let transport = &"vmw_vsock_virtio_transport";
        assert!(strings(&guest["kernelModules"]).contains(transport), "{}", route.name);
        assert!(strings(&guest["initrd"]["kernelModules"]).contains(transport));
        let after = "After=systemd-modules-load.service";
        assert!(drop_in(&guest["units"], HOST_STAGE).contains(&after));
        assert!(drop_in(&guest["initrd"]["units"], INITRD).contains(&after));
        let other = route.value("values.guest");
        assert!(!strings(&other["kernelModules"]).contains(transport));
    }
}

#[test]
fn another_credential_or_file_changes_the_hosts_unit_and_rebuilds_no_guest() {
    for route in routes() {
        let rotation = route.value("values.rotation");
        assert_ne!(rotation[0]["drop-in"], rotation[1]["drop-in"], "{}", route.name);
        assert_eq!(rotation[0]["runner"], rotation[1]["runner"]);
    }
}

#[test]
fn the_default_package_and_a_chosen_one_are_wrapped_and_keep_what_they_have() {
    for route in routes() {
        let wrapped = route.value("values.wrapped");
        assert_eq!(wrapped["name"], "smbios-creds-cloud-hypervisor-99.0", "{}", route.name);
        assert_eq!(wrapped["version"], "99.0");
        assert_eq!(wrapped["unwrapped"], "kept");
        assert_eq!(wrapped["mark"], "kept");
        assert_eq!(wrapped["chosen"], "mine");
        // QEMU is overridden by microvm.nix, and stays wrapped.
        assert_eq!(wrapped["qemu"], "overridden");
        assert_eq!(wrapped["attributes"], "overridden");
        assert_eq!(wrapped["flags"], json!(["--enable-seccomp"]));
        assert_eq!(wrapped["off"], "cloud-hypervisor-99.0");
        for passthru in ["passthru", "older"] {
            assert_eq!(wrapped[passthru]["supportsNotifySocket"], true);
            assert_eq!(wrapped[passthru]["canShutdown"], true);
            assert_eq!(wrapped[passthru]["tapMultiQueue"], false);
        }
        assert_eq!(wrapped["program"], "microvm-run");
    }
}

#[test]
fn the_flake_has_the_package_its_modules_and_machines_to_test() {
    for route in routes() {
        let flake = route.value("values.flake");
        let outputs = ["checks", "devShells", "formatter", "nixosModules", "overlays", "packages"];
        assert_eq!(strings(&flake["outputs"]), outputs);
        let name = format!("smbios-creds-static-{}", env!("CARGO_PKG_VERSION"));
        for system in ["x86_64-linux", "aarch64-linux"] {
            assert_eq!(
                flake["packages"][system],
                json!({"default": name, "smbios-creds": name}),
                "{}",
                route.name
            );
        }
        assert_eq!(flake["overlay"].as_str().unwrap(), name);
        assert_eq!(flake["modules"], json!({"default": true, "guest": true, "host": true, "microvm": true}));
        let checks = ["credential-arrives", "missing-credential-is-reported", "smbios-creds"];
        assert_eq!(strings(&flake["checks"]), checks);
        // The machines of the checks need nixpkgs to run. This test only evaluates their configuration.
        assert!(flake["script"].as_str().unwrap().contains("wait_for_unit"));
        assert!(
            flake["options"].to_string().contains("type=11,value=io.systemd.credential.binary:db-password=")
        );
        assert!(flake["reader"].as_str().unwrap().contains("Requires=smbios-creds.service"));
    }
}
