//! Tests of the architecture checker itself, on small source trees.

use std::collections::BTreeMap;

use super::breaches;
use super::house::House;

/// Returns the breaches of rules in a source tree, given as the path and the text of each file.
fn check(files: &[(&str, &str)]) -> Vec<String> {
    let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    breaches(&House::new(&texts.collect::<BTreeMap<_, _>>()))
}

/// Returns the breaches in a source tree that keeps every rule, after these files are added or replaced.
fn with(changes: &[(&str, &str)]) -> Vec<String> {
    let mut files = vec![
        ("bin/agent.rs", "use smbios_creds::cli::verbs::run; fn main() { run() }"),
        ("cli/mod.rs", "pub mod verbs;"),
        ("cli/verbs.rs", "use crate::guest; pub fn run() { guest::import::import() }"),
        ("format/mod.rs", "pub mod name; pub use name::Name;"),
        ("format/name.rs", "use std::io::Write; use crate::text::shown; pub struct Name;"),
        (
            "guest/import.rs",
            "use super::place::Place; use crate::format::Name; pub fn import() { Place::fill() }",
        ),
        ("guest/mod.rs", "pub mod import; pub mod place;"),
        ("guest/place/fill.rs", "use crate::sys::open; pub struct Place;"),
        ("guest/place/mod.rs", "mod fill; pub use fill::Place;"),
        ("guest/place/mount.rs", "use nix::mount::mount;"),
        ("host/mod.rs", "pub mod plan;"),
        ("host/plan.rs", "use crate::format::name::Name; pub struct Plan;"),
        ("lib.rs", "pub mod cli; pub mod format; pub mod guest; pub mod host; mod sys; pub mod text;"),
        ("sys/mod.rs", "use rustix::fs::openat; pub fn open() {}"),
        ("text/mod.rs", "pub fn shown() {}"),
    ];
    for (path, text) in changes {
        files.retain(|(name, _)| name != path);
        files.push((path, text));
    }
    check(&files)
}

/// Asserts that one change of the tree breaks one rule.
#[track_caller]
fn assert_breach(path: &str, text: &str, breach: &str) {
    let found = with(&[(path, text)]);
    assert!(found.len() == 1 && found[0].contains(breach), "{breach:?} is not {found:#?}");
}

#[test]
fn tree_that_keeps_the_rules_passes() {
    assert_eq!(with(&[]), [""; 0]);
}

#[test]
fn forbidden_import_is_found_however_it_is_written() {
    let breach =
        "src/guest/place/fill.rs imports src/host/plan.rs: rooms on one storey do not import each other";
    for text in [
        "use crate::host::plan::Plan;",
        "use crate::{format::Name, host::{plan::{self, Plan as Other}}};",
        "pub use crate::host::plan::*;",
        "use super::super::super::host::plan::Plan;",
        "use crate::host::plan; fn f() { plan::start() }",
        "use crate::host; fn f(plan: &host::plan::Plan) {}",
        "fn f() -> crate::host::plan::Plan { todo!() }",
        "fn f() { println!(\"{}\", crate::host::plan::WORD) }",
        "mod inner { use crate::host::plan::Plan; }",
        "impl A { fn f() { use crate::host::plan::Plan; } }",
        "#[cfg(not(test))] use crate::host::plan::Plan;",
    ] {
        let text = format!("pub struct Place; {text}");
        assert_breach("guest/place/fill.rs", &text, breach);
    }
}

#[test]
fn import_of_a_test_or_of_the_own_room_is_free() {
    for text in
        ["#[cfg(test)] mod tests { use crate::host::plan::Plan; }", "#[cfg(test)] use crate::cli::verbs;", ""]
    {
        assert_eq!(with(&[("guest/place/fill.rs", &format!("pub struct Place; {text}"))]), [""; 0]);
    }
}

#[test]
fn upward_import_is_found() {
    assert_breach(
        "host/plan.rs",
        "pub struct Plan; use crate::cli::verbs::run;",
        "no room imports a higher one",
    );
    assert_breach("text/mod.rs", "pub fn shown() {} use crate::sys::open;", "rooms on one storey");
    let breach = "src/bin/agent.rs imports src/guest/import.rs: a program imports cli only";
    for text in [
        "fn main() { smbios_creds::guest::import::import() }",
        "use smbios_creds::guest::import; fn main() { import::import() }",
    ] {
        assert_breach("bin/agent.rs", text, breach);
    }
}

#[test]
fn input_and_output_of_a_pure_room_is_found() {
    for (text, named) in [
        ("use std::fs::File;", "std::fs::File"),
        ("use std::fs; fn f() { fs::read(p) }", "std::fs"),
        ("fn f() { std::env::var(n) }", "std::env::var"),
        ("use std::io::{self, Read}; fn f() { io::stdin() }", "std::io::stdin"),
        ("fn f() { tracing::warn!(\"\") }", "tracing::warn"),
        ("use nix::unistd::getpid;", "nix::unistd::getpid"),
    ] {
        let found = with(&[("format/name.rs", &format!("pub struct Name; {text}"))]);
        let breach = format!("src/format/name.rs names {named}: this room does no input or output");
        assert!(found.contains(&breach), "{breach}: {found:#?}");
    }
}

#[test]
fn file_system_call_outside_sys_is_found() {
    let rule = "only sys names file system calls";
    for text in
        ["use rustix::fs::openat;", "fn f() { nix::sys::stat::fstat(x) }", "use nix::unistd::{fsync, Pid};"]
    {
        assert_breach("host/plan.rs", &format!("pub struct Plan; {text}"), rule);
    }
    // The exception holds for one file, and only for the calls that it needs.
    assert_breach("guest/place/fill.rs", "pub struct Place; use nix::mount::mount;", rule);
    assert_breach("guest/place/mount.rs", "use nix::mount::mount; use nix::fcntl::open;", rule);
}

#[test]
fn cycle_between_files_is_found() {
    let breach =
        "a cycle between files: src/guest/import.rs -> src/guest/place/fill.rs -> src/guest/import.rs";
    let found = with(&[("guest/place/fill.rs", "pub struct Place; use crate::guest::import::import;")]);
    assert!(found.iter().any(|found| found == breach), "{found:#?}");
    // A `mod.rs` that uses a file of its directory, and is used by this file.
    let found = with(&[
        ("guest/place/mod.rs", "mod fill; pub struct Error; fn f() { fill::Place }"),
        ("guest/place/fill.rs", "use super::Error; pub struct Place;"),
        ("guest/import.rs", ""),
        ("cli/verbs.rs", "pub fn run() {}"),
    ]);
    let breach =
        "a cycle between files: src/guest/place/fill.rs -> src/guest/place/mod.rs -> src/guest/place/fill.rs";
    assert_eq!(found, [breach]);
}

#[test]
fn cycle_between_rooms_without_one_between_files_is_found() {
    let found = with(&[
        ("guest/record/mod.rs", "pub mod a; pub mod b;"),
        ("guest/record/a.rs", "use crate::guest::place::fill::Place;"),
        ("guest/record/b.rs", "pub struct B;"),
        ("guest/place/mount.rs", "use crate::guest::record::b::B;"),
    ]);
    assert_eq!(found, ["a cycle between rooms: src/guest/place/ -> src/guest/record/ -> src/guest/place/"]);
}

#[test]
fn long_file_and_long_function_are_found() {
    let lines = |count: usize| "\n".repeat(count);
    assert_eq!(with(&[("host/plan.rs", &(lines(399) + "pub struct Plan;"))]), [""; 0]);
    assert_breach(
        "host/plan.rs",
        &(lines(400) + "pub struct Plan;"),
        "src/host/plan.rs has 401 lines: at most 400",
    );
    let function = |count: usize| format!("impl Plan {{\n/// Why.\nfn start() {{{}}}\n}}", lines(count - 1));
    assert_eq!(with(&[("host/plan.rs", &function(60))]), [""; 0]);
    assert_breach("host/plan.rs", &function(61), "fn start has 61 lines: at most 60");
}

#[test]
fn type_name_with_two_meanings_is_found() {
    let breach = "Report is defined in src/guest/import.rs and src/host/plan.rs";
    let found = with(&[
        ("guest/import.rs", "pub enum Report {} pub fn import() {}"),
        ("host/plan.rs", "struct Report;"),
    ]);
    assert!(found.len() == 1 && found[0].starts_with(breach), "{found:#?}");
}
