//! The crate as users get it from a registry: packed, unpacked in another directory, and built with different linkers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use testkit::{code, project, run, stderr, stdout};

/// Directory of the unpacked crate, which the workspace excludes.
static CRATE: LazyLock<PathBuf> = LazyLock::new(unpacked_crate);

/// Packs the crate and returns the directory in which it is unpacked.
fn unpacked_crate() -> PathBuf {
    let built = project("target/packed");
    fs::create_dir_all(&built).unwrap();
    // Each test has a process of its own. Only one of them may pack and unpack at a time.
    let lock = fs::File::create(built.join("lock")).unwrap();
    lock.lock().unwrap();
    let package =
        ["package", "--quiet", "--no-verify", "--offline", "--locked", "--allow-dirty", "--target-dir"];
    ran(cargo().args(package).arg(&built).current_dir(project("")));
    let name = concat!("smbios-creds-", env!("CARGO_PKG_VERSION"));
    unpack(&built.join("package").join(format!("{name}.crate")), &built.join("unpacked"));
    built.join("unpacked").join(name)
}

/// Unpacks an archive in place of the archive that was unpacked there before. If that was the same one, its files stay
/// as they are, because another process may be building them.
fn unpack(archive: &Path, unpacked: &Path) {
    let kept = unpacked.join("archive");
    if fs::read(&kept).ok() == Some(fs::read(archive).unwrap()) {
        return;
    }
    let _ = fs::remove_dir_all(unpacked);
    fs::create_dir_all(unpacked).unwrap();
    ran(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(unpacked));
    fs::copy(archive, kept).unwrap();
}

/// Returns a cargo command without the variables that the cargo of this test has set.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(name);
    }
    cargo
}

#[track_caller]
fn ran(command: &mut Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    stdout(&output)
}

/// Name of each linker for -fuse-ld=, and the word that the linker writes into a linked file, or nothing.
const LINKERS: [(&str, &str); 3] = [("bfd", ""), ("lld", "LLD"), ("mold", "mold")];

/// Returns the section `.comment` of a program, in which compilers and linkers write their names.
fn comment(program: &Path) -> String {
    ran(Command::new("readelf").args(["--string-dump=.comment"]).arg(program))
}

#[test]
fn unpacked_crate_is_not_removed_while_another_process_builds_it() {
    let open = fs::File::open(&*CRATE).unwrap();
    assert_eq!(unpacked_crate(), *CRATE);
    // A directory that was removed has no links.
    assert_ne!(open.metadata().unwrap().nlink(), 0);
}

#[test]
fn archive_that_changed_is_unpacked_again() {
    let place = tempfile::tempdir().unwrap();
    let [file, archive, unpacked] = ["file", "archive.tar", "unpacked"].map(|name| place.path().join(name));
    for content in ["one", "two"] {
        fs::write(&file, content).unwrap();
        ran(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(place.path()).arg("file"));
        unpack(&archive, &unpacked);
        assert_eq!(fs::read_to_string(unpacked.join("file")).unwrap(), content);
    }
}

#[test]
fn packed_crate_installs_from_another_directory() {
    let elsewhere = tempfile::tempdir().unwrap();
    let root = elsewhere.path().join("root");
    let mut install = cargo();
    install
        .args(["install", "--quiet", "--offline", "--locked", "--debug", "--no-track", "--path"])
        .arg(&*CRATE);
    // Cargo.toml optimizes dependencies for the tests of the repository. This build does not need that.
    install.args(["--config", "profile.dev.package.\"*\".opt-level=0"]);
    install.arg("--root").arg(&root).arg("--target-dir").arg(project("target/packed"));
    ran(install.current_dir(elsewhere.path()));
    // This is the command that README.md says to try.
    let from = CRATE.join("testdata/cloud-hypervisor-53-api");
    let list = ran(Command::new(root.join("bin/smbios-creds")).args(["list", "--from"]).arg(from));
    assert!(list.contains("manifest") || list.lines().count() > 1, "{list}");
    let version = ran(Command::new(root.join("bin/smbios-creds-host")).arg("--version"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let mut programs: Vec<_> =
        fs::read_dir(root.join("bin")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    programs.sort();
    assert_eq!(programs, ["smbios-creds", "smbios-creds-host"]);
}

#[test]
fn program_with_the_library_links_with_bfd_lld_and_mold() {
    let user = tempfile::tempdir().unwrap();
    fs::create_dir(user.path().join("src")).unwrap();
    // The program is a copy of the example for VMMs, as users would copy it.
    fs::copy(CRATE.join("examples/vmm.rs"), user.path().join("src/main.rs")).unwrap();
    fs::copy(CRATE.join("Cargo.lock"), user.path().join("Cargo.lock")).unwrap();
    let manifest = format!(
        "[package]\nname = \"user\"\nedition = \"2024\"\n[dependencies]\n\
         smbios-creds = {{ path = {:?}, default-features = false }}\n",
        *CRATE
    );
    fs::write(user.path().join("Cargo.toml"), manifest).unwrap();
    let (credentials, out) = (user.path().join("credentials"), user.path().join("out"));
    for directory in [&credentials, &out] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(credentials.join("key"), "value").unwrap();
    for (linker, word) in LINKERS {
        let built = project("target/packed/user");
        let mut rustc = cargo();
        rustc.args(["rustc", "--quiet", "--offline", "--target-dir"]).arg(&built);
        ran(rustc.arg("--").arg(format!("-Clink-arg=-fuse-ld={linker}")).current_dir(user.path()));
        let program = built.join("debug/user");
        assert!(comment(&program).contains(word), "{linker}: {}", comment(&program));
        ran(Command::new(program).arg(&credentials).arg(&out));
        let check = testkit::run_on(&out, &["check", "--manifest=require"]);
        assert_eq!(code(&check), 0, "{linker}: {}", stderr(&check));
    }
}

/// Returns the size in bytes of a section of a program, or 0 if there is no such section.
fn section(program: &Path, name: &str) -> u64 {
    let sections = ran(Command::new("readelf").args(["--sections", "--wide"]).arg(program));
    // "[ 7] .eh_frame PROGBITS address offset size ..."
    let sizes = sections.lines().filter_map(|line| {
        let mut words = line.split_once(']')?.1.split_whitespace();
        (words.next()? == name).then(|| u64::from_str_radix(words.nth(3)?, 16).ok())?
    });
    sizes.sum()
}

/// Builds a static program with the crate's build script for the linker that a user's configuration names.
fn static_program(linker: &str, elsewhere: &Path) -> PathBuf {
    let package = elsewhere.join(linker);
    for directory in ["src", "link"] {
        fs::create_dir_all(package.join(directory)).unwrap();
    }
    for file in ["build.rs", "link/no-unwind-tables.ld", "link/import.ld"] {
        fs::copy(CRATE.join(file), package.join(file)).unwrap();
    }
    fs::write(package.join("src/main.rs"), "fn main() { print!(\"started\") }").unwrap();
    let manifest = "[package]\nname = \"program\"\nedition = \"2024\"\n[features]\ndefault = [\"cli\"]\ncli = []\n\
                    [profile.release]\npanic = \"abort\"\nstrip = \"debuginfo\"\n";
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    let target = "x86_64-unknown-linux-musl";
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "--offline", "--target", target, "--manifest-path"]);
    build.arg(package.join("Cargo.toml")).current_dir(elsewhere);
    // Set by --config, the flags are added to those of other configuration files, as for a user who chooses a linker.
    build.arg("--config").arg(format!("target.{target}.rustflags=['-Clink-arg=-fuse-ld={linker}']"));
    ran(&mut build);
    package.join("target").join(target).join("release/program")
}

#[test]
fn static_program_links_without_unwind_tables_where_the_linker_can() {
    if !testkit::static_agent_is_small() {
        return;
    }
    let elsewhere = tempfile::tempdir().unwrap();
    for (linker, word) in LINKERS {
        let program = static_program(linker, elsewhere.path());
        assert!(comment(&program).contains(word), "{linker}: {}", comment(&program));
        assert_eq!(ran(&mut Command::new(&program)), "started");
        assert_eq!(section(&program, ".eh_frame_hdr"), 0, "{linker}");
        // mold does not read linker scripts.
        let unwind = section(&program, ".eh_frame");
        assert!(unwind < 1024 || linker == "mold", "{linker}: {unwind} bytes of unwind tables");
    }
}

#[test]
fn static_agent_of_this_build_has_no_unwind_tables() {
    if testkit::static_agent_is_small() {
        let agent = testkit::static_agent();
        assert!(section(&agent, ".eh_frame") < 1024 && section(&agent, ".text") > 100_000);
        assert_eq!(section(&agent, ".gcc_except_table"), 0);
    }
}
