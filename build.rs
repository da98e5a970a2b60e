//! Links the static programs for size and for a fast start: they leave out unwind tables, pack their relocations, and
//! have the functions of an import next to each other.
//!
//! A `.cargo/config.toml` could say so only for builds that start in this repository. A build script also does so for
//! `cargo install` and for the crate from a registry. It changes nothing for programs that use the library.

use std::env::{var, var_os};
use std::ffi::{OsStr, OsString};
use std::fs::write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Each linker of GNU ld's family knows these, except those whose command is not that of a C compiler.
const RELOCATIONS: &str = "-Wl,--no-eh-frame-hdr,-z,pack-relative-relocs";

/// Additions to GNU ld's own linker script. lld reads them, and mold refuses them. `./do order` makes the second one.
const SCRIPTS: [&str; 2] = ["link/no-unwind-tables.ld", "link/import.ld"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for script in SCRIPTS {
        println!("cargo::rerun-if-changed={script}");
    }
    // A panic of these programs aborts in the release profile only.
    let applies = var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl")
        && var("PROFILE").is_ok_and(|profile| profile == "release")
        && var_os("CARGO_FEATURE_CLI").is_some();
    let (Some(package), Some(out)) = (var_os("CARGO_MANIFEST_DIR"), var_os("OUT_DIR")) else { return };
    let [tables, order] =
        SCRIPTS.map(|script| Path::new(&package).join(script).to_string_lossy().into_owned());
    if !applies {
        return;
    }
    // The first that the linker takes. With none, the programs work and are larger by a tenth.
    for arguments in
        [&["-T", &tables, "-T", &order, RELOCATIONS][..], &["-T", &tables, RELOCATIONS], &[RELOCATIONS]]
    {
        if links(arguments, Path::new(&out)) {
            for argument in arguments {
                println!("cargo::rustc-link-arg-bins={argument}");
            }
            return;
        }
    }
}

/// Whether a program links with these arguments, by the linker and flags of this build.
fn links(arguments: &[&str], out: &Path) -> bool {
    let source = out.join("probe.rs");
    if write(&source, "fn main() {}").is_err() {
        return false;
    }
    let rustc = var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let mut rustc = Command::new(rustc);
    rustc.arg("--edition=2024").arg("--target").arg(var_os("TARGET").unwrap_or_default());
    if let Some(linker) = var_os("RUSTC_LINKER") {
        rustc.arg([OsStr::new("-Clinker="), &linker].into_iter().collect::<OsString>());
    }
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    rustc.args(arguments.iter().map(|argument| format!("-Clink-arg={argument}")));
    rustc.arg(&source).arg("-o").arg(out.join("probe"));
    rustc
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
