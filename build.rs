//! Links the static programs so that they are small and start fast: without unwind tables, with packed relocations,
//! and with the functions that an import executes next to each other.
//!
//! A `.cargo/config.toml` could set these linker options only for builds that start in this repository. This build
//! script also sets them for `cargo install` and for the crate from a registry. It changes nothing for other programs
//! that use the library.

use std::env::{var, var_os};
use std::ffi::{OsStr, OsString};
use std::fs::write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Linker options that every linker compatible with GNU ld knows. A linker that rustc does not call through a C
/// compiler refuses them, because of `-Wl,`.
const RELOCATIONS: &str = "-Wl,--no-eh-frame-hdr,-z,pack-relative-relocs";

/// Additions to GNU ld's default linker script. lld reads these files, and mold refuses them. `./do order` writes the
/// second file.
const SCRIPTS: [&str; 2] = ["link/no-unwind-tables.ld", "link/import.ld"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for script in SCRIPTS {
        println!("cargo::rerun-if-changed={script}");
    }
    // Only in the release profile does a panic abort these programs, so that they need no unwind tables.
    let applies = var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl")
        && var("PROFILE").is_ok_and(|profile| profile == "release")
        && var_os("CARGO_FEATURE_CLI").is_some();
    let (Some(package), Some(out)) = (var_os("CARGO_MANIFEST_DIR"), var_os("OUT_DIR")) else { return };
    let [tables, order] =
        SCRIPTS.map(|script| Path::new(&package).join(script).to_string_lossy().into_owned());
    if !applies {
        return;
    }
    // Use the first set of arguments that the linker takes. If it takes none, the programs work, but are larger by a
    // tenth.
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
