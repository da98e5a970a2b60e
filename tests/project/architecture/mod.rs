//! Checks the rules of `docs/architecture.md` for every path that the source names. A room is a directory right below
//! `src/`, and a storey is a layer of rooms.
//!
//! * An import is a `use`, or a path in code or in the arguments of a macro. `#[cfg(test)]` is left out.
//! * An import leads to the file that defines the name. A `pub use` on the way is followed, and is not an import
//!   itself.
//! * `mod` and `pub use` in a `mod.rs` import nothing if they name what is below it: the `mod.rs` only re-exports it.
//! * A method has no path. A file system call by a method of `Path` is therefore not seen.

mod checker;
mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use house::House;

/// The storeys, lowest first. A room imports only itself and rooms of lower storeys.
const STOREYS: [&[&str]; 6] =
    [&["text", "sys"], &["format"], &["trust"], &["guest", "host"], &["cli"], &["bin"]];

/// Rooms that do no input or output.
const PURE: [&str; 3] = ["format", "text", "trust"];

/// Crates and modules that do input or output, or ask the running system.
const IMPURE: [&str; 10] = [
    "libc",
    "nix",
    "rustix",
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "tracing",
];

/// Names of `std::io` that a room without input and output may use, because they only work on the memory of their
/// caller.
const PURE_IO: [&str; 8] = ["BufRead", "Cursor", "Error", "ErrorKind", "Read", "Result", "Seek", "Write"];

/// The file system calls of rustix and nix, and rustix's error number, which only `sys` may name. `sys` has one type
/// for error numbers.
const FILES: [&str; 9] = [
    "nix::dir",
    "nix::fcntl",
    "nix::mount",
    "nix::sys::stat",
    "nix::sys::statfs",
    "nix::sys::statvfs",
    "rustix::fs",
    "rustix::io::Errno",
    "rustix::mount",
];

/// Further file system calls of `nix::unistd`, which has other calls as well.
const UNISTD: [&str; 22] = [
    "access",
    "chown",
    "chroot",
    "eaccess",
    "faccessat",
    "fchown",
    "fchownat",
    "fdatasync",
    "fsync",
    "ftruncate",
    "link",
    "linkat",
    "lseek",
    "mkdir",
    "mkfifo",
    "mkstemp",
    "readlinkat",
    "symlinkat",
    "sync",
    "truncate",
    "unlink",
    "unlinkat",
];

/// Names of `rustix::fs` that every room may use: they are for sealed memfds, which are memory and not files of a
/// file system.
const MEMORY: [&str; 4] = [
    "rustix::fs::MemfdFlags",
    "rustix::fs::SealFlags",
    "rustix::fs::fcntl_add_seals",
    "rustix::fs::memfd_create",
];

/// Files outside `sys` that may name some of these calls, each with its reason.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    ("guest/place/mount.rs", "nix::mount", "a set is placed by one mount, which is no access to files"),
    (
        "cli/agent/init.rs",
        "nix::mount",
        "PID 1 mounts /proc, /sys, /run and /dev before anything can be opened",
    ),
];

/// Names that at most one type each may have.
const ONCE: [&str; 7] = ["Delivery", "Kind", "Refusal", "Report", "Severity", "SourceError", "State"];

const LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 60;

/// Every breach of a rule, each with its place.
fn breaches(house: &House) -> Vec<String> {
    let mut breaches = Vec::new();
    for (path, file) in &house.files {
        for import in &file.imports {
            if let Some(rule) = forbids(path, import) {
                breaches.push(format!("src/{path} imports src/{import}: {rule}"));
            }
        }
        let named = file.foreign.iter().filter_map(|name| Some((name, forbids_foreign(path, name)?)));
        let named: Vec<(&String, &str)> = named.collect();
        // A name that `use` imports is reported once, not again for each path below it.
        let is_part = |name: &String| named.iter().any(|(whole, _)| name.starts_with(&format!("{whole}::")));
        for (name, rule) in named.iter().filter(|(name, _)| !is_part(name)) {
            breaches.push(format!("src/{path} names {name}: {rule}"));
        }
        if file.lines > LINES_MAX {
            breaches.push(format!("src/{path} has {} lines: at most {LINES_MAX}", file.lines));
        }
        for (name, lines) in file.functions.iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX) {
            breaches.push(format!("src/{path}: fn {name} has {lines} lines: at most {FUNCTION_LINES_MAX}"));
        }
    }
    for name in ONCE {
        let places = house.files.iter().flat_map(|(path, file)| {
            file.types.iter().filter(|defined| *defined == name).map(move |_| format!("src/{path}"))
        });
        let places: Vec<String> = places.collect();
        if places.len() > 1 {
            breaches.push(format!("{name} is defined in {}: one word names one thing", places.join(" and ")));
        }
    }
    breaches.extend(cycles(house));
    breaches
}

/// The room of a file: the directory right below `src/`. `lib.rs` is in none.
fn room(path: &str) -> Option<&str> {
    path.split_once('/').map(|(room, _)| room)
}

fn storey(room: &str) -> usize {
    STOREYS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| {
        panic!("src/{room}/ is on no storey: add it to docs/architecture.md and to STOREYS")
    })
}

/// The rule that forbids a file of this crate to import another one, if any does.
fn forbids(path: &str, import: &str) -> Option<&'static str> {
    let from = room(path)?;
    let Some(to) = room(import) else { return Some("no room imports the crate's root") };
    if from == to && from != "bin" {
        return None;
    }
    match (storey(from), storey(to)) {
        _ if from == "bin" && to != "cli" => Some("a program imports cli only"),
        (above, below) if above > below => None,
        (above, below) if above < below => Some("no room imports a higher one"),
        _ => Some("rooms on one storey do not import each other"),
    }
}

/// The rule that forbids a file to name something of another crate, if any does.
fn forbids_foreign(path: &str, foreign: &str) -> Option<&'static str> {
    let room = room(path)?;
    let is_in = |prefix: &&str| {
        foreign.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    if PURE.contains(&room) {
        let io = foreign.strip_prefix("std::io::").and_then(|rest| rest.split("::").next());
        if IMPURE.iter().any(&is_in) || io.is_some_and(|name| !PURE_IO.contains(&name)) {
            return Some("this room does no input or output");
        }
    }
    let unistd = foreign.strip_prefix("nix::unistd::").is_some_and(|name| UNISTD.contains(&name));
    let is_excepted = EXCEPTIONS.iter().any(|(file, prefix, _)| *file == path && is_in(prefix));
    let is_memory = MEMORY.iter().any(&is_in);
    if room != "sys" && !is_excepted && !is_memory && (unistd || FILES.iter().any(&is_in)) {
        return Some("only sys names file system calls");
    }
    None
}

/// Every cycle between files, and between the rooms and files of each directory.
fn cycles(house: &House) -> Vec<String> {
    let mut cycles = Vec::new();
    let files = house.files.iter().map(|(path, file)| (path.clone(), file.imports.clone())).collect();
    for cycle in cycles_of(&files) {
        cycles.push(format!("a cycle between files: src/{}", cycle.join(" -> src/")));
    }
    let directories: BTreeSet<&str> = house
        .files
        .keys()
        .flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..=at]))
        .chain([""])
        .collect();
    for directory in directories {
        let child = |path: &str| {
            let rest = path.strip_prefix(directory)?;
            rest.split_once('/')
                .map(|(room, _)| format!("{directory}{room}/"))
                .or_else(|| Some(path.to_owned()))
        };
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, file) in &house.files {
            let Some(from) = child(path) else { continue };
            let to = file.imports.iter().filter_map(|import| child(import)).filter(|to| *to != from);
            graph.entry(from.clone()).or_default().extend(to);
        }
        // Cycles of files only are reported above. Here, report only cycles that contain a directory.
        for cycle in
            cycles_of(&graph).into_iter().filter(|cycle| cycle.iter().any(|node| node.ends_with('/')))
        {
            cycles.push(format!("a cycle between rooms: src/{}", cycle.join(" -> src/")));
        }
    }
    cycles
}

/// The shortest cycle through each node that is not part of one found before.
fn cycles_of(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let mut cycles: Vec<Vec<String>> = Vec::new();
    for start in graph.keys() {
        if cycles.iter().any(|cycle| cycle.contains(start)) {
            continue;
        }
        // Search breadth first. Each entry is the way to a node.
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        let mut next = 0;
        while let Some(way) = ways.get(next).cloned() {
            next += 1;
            let Some(targets) = way.last().and_then(|last| graph.get(last)) else { continue };
            if targets.contains(start) {
                cycles.push([way, vec![start.clone()]].concat());
                break;
            }
            ways.extend(
                targets
                    .iter()
                    .filter(|target| seen.insert((*target).clone()))
                    .map(|target| [&way[..], std::slice::from_ref(target)].concat()),
            );
        }
    }
    cycles
}

#[test]
fn source_keeps_the_rules_of_the_architecture() {
    let house = House::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(house.files.len() > 50 && house.files.values().any(|file| !file.imports.is_empty()));
    let breaches = breaches(&house);
    assert!(
        breaches.is_empty(),
        "{} breaches of docs/architecture.md:\n{}",
        breaches.len(),
        breaches.join("\n")
    );
}

#[test]
fn every_rule_is_in_the_architecture_document() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = std::fs::read_to_string(path).unwrap();
    for room in STOREYS.into_iter().flatten() {
        assert!(text.contains(&format!("`{room}/`")), "{room}");
    }
    for (file, _, reason) in EXCEPTIONS {
        assert!(text.contains(&format!("`{file}`")), "{file}: {reason}");
    }
    for name in ONCE {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn every_path_in_the_architecture_document_is_there_and_every_directory_is_on_its_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let quoted: Vec<_> = text.split('`').skip(1).step_by(2).collect();
    let is_path =
        |word: &&&str| word.ends_with('/') || Path::new(word).extension().is_some_and(|kind| kind == "rs");
    let named: Vec<_> = quoted.iter().filter(is_path).collect();
    let mut directory = "";
    for path in &named {
        if path.ends_with('/') {
            directory = path;
        } else if let Some((parent, _)) = path.rsplit_once('/') {
            directory = parent;
        }
        // A file without a directory is in the one that was named last.
        let found =
            [root.join(path), root.join("src").join(path), root.join("src").join(directory).join(path)];
        assert!(
            found.iter().any(|path| path.exists()),
            "docs/architecture.md names {path}, which is not there"
        );
    }
    let house = House::read(&root.join("src"));
    for file in house.files.keys() {
        let Some((parent, _)) = file.rsplit_once('/') else { continue };
        // A directory counts as named if the page names something in it.
        let is_named = named.iter().any(|path| {
            let inner = path.trim_end_matches('/').contains('/') && path.ends_with('/');
            path.starts_with(&format!("{parent}/")) || inner && format!("{parent}/").starts_with(**path)
        });
        assert!(is_named, "docs/architecture.md names nothing in {parent}/");
    }
}
