//! The units and drop-ins that the modules make, as this machine's systemd reads them.

use std::fs::{create_dir_all, read_to_string, write};
use std::process::Command;

use crate::nix::{Route, output, project, routes};

/// Returns what `systemd-analyze verify` says of a unit with a drop-in. Leaves out messages about missing
/// programs, which are in the Nix store and may not be built.
fn said_of(name: &str, unit: &str, drop_in: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    // The unit of an instance is a template, and its drop-in is in the directory of the instance.
    let template =
        name.split_once('@').map_or(name.to_owned(), |(template, _)| format!("{template}@.service"));
    write(directory.path().join(&template), unit.replace("/usr/bin/smbios-creds", "/bin/true")).unwrap();
    let overrides = directory.path().join(format!("{name}.d"));
    create_dir_all(&overrides).unwrap();
    write(overrides.join("overrides.conf"), drop_in).unwrap();
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["verify", "--man=no"]).arg(directory.path().join(name));
    let output = output(&mut analyze);
    let said = String::from_utf8(output.stderr).unwrap();
    said.lines().filter(|line| !line.contains("is not executable")).collect::<Vec<_>>().join("\n")
}

/// The drop-ins of a guest's own units, and those of a host's units for virtual machines: name, unit and drop-in.
fn drop_ins(route: &Route) -> Vec<(&'static str, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut all = Vec::new();
    for guest in [
        route.value("values.options"),
        route.value("values.receipt.guest"),
        route.value("values.trust.options"),
    ] {
        for (name, units) in [
            ("smbios-creds.service", &guest["units"]),
            ("smbios-creds-initrd.service", &guest["initrd"]["units"]),
        ] {
            let unit = read_to_string(project("integration/systemd").join(name)).unwrap();
            all.push((name, unit, text(&units[name]["text"])));
        }
    }
    let host = &route.value("values.drop-in")["units"];
    let template = text(&host["microvm@.service"]["text"]);
    let name = "microvm@web.service";
    all.push((name, template.clone(), text(&host[name]["text"])));
    for value in ["declarative", "imperative", "sealed", "receipt.drop-in", "receipt.imperative"] {
        all.push((name, template.clone(), text(&route.value(&format!("values.{value}")))));
    }
    all
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_of_the_modules() {
    for route in routes() {
        let all = drop_ins(&route);
        assert_eq!(all.len(), 12);
        for (name, unit, drop_in) in all {
            assert_eq!(said_of(name, &unit, &drop_in), "", "{}: {name}: {drop_in}", route.name);
        }
    }
}

#[test]
fn damaged_drop_in_of_the_modules_is_found() {
    let all = drop_ins(&routes()[0]);
    let mut damaged = 0;
    for (name, unit, drop_in) in all {
        for (right, wrong) in [("LoadCredential=", "LoadCredentials="), ("Before=initrd", "Befor=initrd")] {
            if drop_in.contains(right) {
                let said = said_of(name, &unit, &drop_in.replace(right, wrong));
                assert!(said.contains("Unknown key"), "{name}: {wrong}: {said}");
                damaged += 1;
            }
        }
    }
    assert!(damaged >= 6, "{damaged}");
}
