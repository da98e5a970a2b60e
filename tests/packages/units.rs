//! Verifies the units that are installed, and those that the documentation shows, with the systemd of each release.

use std::fs::{create_dir_all, read_dir, read_to_string, write};
use std::path::Path;

use testkit::machine::prepared;
use testkit::{project, write_program};

use crate::debian::{as_root, ran};

/// Releases, and the version of systemd in each.
const RELEASES: [(&str, &str); 3] = [("bookworm", "252"), ("bookworm-backports", "254"), ("trixie", "257")];

/// A unit or a drop-in: its path below `/etc/systemd/system`, and its text.
type Unit = (String, String);

/// Returns the units of a directory of the project.
fn units_of(directory: &str) -> Vec<Unit> {
    let files = read_dir(project(directory)).unwrap().map(|entry| entry.unwrap().path());
    let units = files.filter(|path| path.extension().is_some_and(|extension| extension == "service"));
    units
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), read_to_string(path).unwrap()))
        .collect()
}

/// A service of a user, to which drop-ins are added.
const SERVICE: &str = "[Service]\nType=oneshot\nExecStart=/usr/bin/true\n";

/// Returns the units that a page shows. A block without `ExecStart=` is a drop-in.
fn units_on(page: &str) -> Vec<Unit> {
    let text = read_to_string(project(page)).unwrap();
    let blocks = text.split("```ini\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut units = Vec::new();
    for (number, block) in blocks.enumerate() {
        let name = format!("{}-{number}.service", page.rsplit('/').next().unwrap().replace('.', "-"));
        // A block without a heading is a part of the section [Service].
        let block = if block.starts_with('[') { block.to_owned() } else { format!("[Service]\n{block}") };
        if block.contains("ExecStart=") {
            units.push((name, block));
        } else {
            units.push((format!("{name}.d/page.conf"), block));
            units.push((name, SERVICE.to_owned()));
        }
    }
    units
}

/// Pages that show units.
const PAGES: [&str; 6] = [
    "README.md",
    "docs/host.md",
    "docs/systemd.md",
    "docs/trust/packing.md",
    "docs/trust/receipt.md",
    "docs/trust/signed.md",
];

/// Returns all units and drop-ins that the tests verify.
fn units() -> Vec<Unit> {
    let mut units = [units_of("integration/systemd"), units_of("integration/libvirt")].concat();
    assert_eq!(units.len(), 3, "{units:?}");
    let drop_in = read_to_string(project("integration/systemd/import-credential.conf")).unwrap();
    units.push(("app.service".to_owned(), SERVICE.to_owned()));
    units.push(("app.service.d/credentials.conf".to_owned(), drop_in));
    for page in PAGES {
        let on = units_on(page);
        assert!(!on.is_empty(), "{page}");
        units.extend(on);
    }
    units
}

/// Returns what `systemd-analyze verify` of a release says of units.
fn said_of(release: &str, units: &[Unit]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    create_dir_all(&root).unwrap();
    let unpack = "cd $1 && cpio --quiet -idm --no-absolute-filenames <$2";
    ran("unpacking", &as_root(unpack, &[&root, &prepared(release).join("image")]));
    let mut names: Vec<&str> = Vec::new();
    for (name, text) in units {
        let path = root.join("etc/systemd/system").join(name);
        create_dir_all(path.parent().unwrap()).unwrap();
        write(path, text).unwrap();
        // Collect the units, without drop-ins. For a template, its instance `web` is verified below.
        if name.strip_suffix(".service").is_some() {
            names.push(name);
        }
    }
    for program in ["smbios-creds", "smbios-creds-host"] {
        write_program(&root.join("usr/bin").join(program), "", 0o755);
    }
    let names: Vec<String> = names.iter().map(|name| name.replace('@', "@web")).collect();
    let verify = "mount -t proc proc $1/proc
        exec chroot $1 env -i PATH=/usr/bin:/bin sh -c \"systemd-analyze --version; systemd-analyze verify --man=no $2 2>&1 || echo failed\"";
    let output = ran("verifying", &as_root(verify, &[&root, Path::new(&names.join(" "))]));
    let (version, said) = output.split_once('\n').unwrap();
    let (_, expected) = RELEASES.iter().find(|(name, _)| *name == release).unwrap();
    assert!(version.starts_with(&format!("systemd {expected} ")), "{version}");
    // The second line names the options that systemd was built with.
    said.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn every_systemd_accepts_the_units_of_the_project_and_of_its_pages() {
    for (release, version) in RELEASES {
        let said = said_of(release, &units());
        // systemd 252 does not know ImportCredential=. The drop-in says in which versions it works.
        let known: Vec<&str> = said
            .lines()
            .filter(|line| !(version == "252" && line.contains("Unknown key 'ImportCredential'")))
            .collect();
        assert_eq!(known, Vec::<&str>::new(), "systemd {version}");
        assert_eq!(known.len() != said.lines().count(), version == "252", "{said}");
    }
}

#[test]
fn damaged_unit_is_found_by_every_systemd() {
    let (_, text) = units_of("integration/systemd").remove(0);
    let faults = [
        ("NoNewPrivileges=", "NoNewPrivilege=", "Unknown key"),
        ("Type=oneshot", "Type=once", "Failed to parse "),
        ("ExecStart=/usr/bin/smbios-creds", "ExecStart=/usr/bin/smbios-cred", "is not executable"),
    ];
    let damaged: Vec<Unit> = faults
        .iter()
        .enumerate()
        .map(|(number, (right, wrong, _))| {
            assert!(text.contains(right));
            (format!("damaged-{number}.service"), text.replace(right, wrong))
        })
        .collect();
    for (release, version) in RELEASES {
        let said = said_of(release, &damaged);
        for ((name, _), (_, _, words)) in damaged.iter().zip(faults) {
            let found = said.lines().any(|line| line.contains(name.as_str()) && line.contains(words));
            assert!(found, "systemd {version}: {name}: {words}: {said}");
        }
    }
}

#[test]
fn no_page_shows_a_unit_that_is_not_verified() {
    let mut pages = vec!["README.md".to_owned()];
    let mut directories = vec!["docs", "docs/engines", "docs/install", "docs/trust"];
    directories.extend([
        "integration/libvirt",
        "integration/proxmox",
        "integration/incus",
        "integration/kubevirt",
    ]);
    for directory in directories {
        let files = read_dir(project(directory)).unwrap().map(|entry| entry.unwrap().file_name());
        pages.extend(files.map(|file| format!("{directory}/{}", file.to_str().unwrap())));
    }
    pages.retain(|page| page.strip_suffix(".md").is_some() && !units_on(page).is_empty());
    pages.sort();
    assert_eq!(pages, PAGES);
}
