//! Measures how long the project's units take in a boot, by QEMU's instruction clock: each instruction takes one
//! nanosecond, and QEMU skips the time in which the machine waits. Other load on the host changes nothing, and a boot
//! with the same seed takes exactly the same time.
//!
//! `boot stages SEED RELEASE...` boots each release with the unit of each stage, without the unit, and with parts of the
//! unit in its place. It prints a line for each boot. `boot directives SEED RELEASE...` boots each release once. It prints
//! two lines for each directive of the sandbox: one for a unit that has only this directive, and one for the unit
//! without this directive. Times are microseconds.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the machine is a test's"
)]

use std::fmt::Write as _;

use testkit::machine::{Machine, Outcome, Release};

/// Stages and their units.
const STAGES: [(&str, &str); 2] =
    [("initrd", "smbios-creds-initrd.service"), ("host", "smbios-creds.service")];

/// Directives that say what runs, and when. All others of a service are the sandbox.
const PLAIN: [&str; 6] =
    ["Type", "RemainAfterExit", "Environment", "EnvironmentFile", "ExecStart", "StandardError"];

/// How often each service of `directives` starts in its boot.
const TURNS: usize = 5;

/// What takes the place of the unit in a boot, and whether systemd cuts a credential.
#[derive(Clone, Copy, PartialEq)]
enum Variant {
    /// No unit.
    Without,
    /// `/bin/true` in a unit without a sandbox: what systemd takes to start and to reap a process.
    Bare,
    /// `/bin/true` in the sandbox of the unit, without the list of system calls.
    NoList,
    /// `/bin/true` in the sandbox of the unit.
    Sandbox,
    /// The unit itself. systemd has imported every credential complete.
    Unit,
    /// The unit itself. systemd has cut one credential, which the unit repairs.
    Repair,
}

const VARIANTS: [Variant; 6] =
    [Variant::Without, Variant::Bare, Variant::NoList, Variant::Sandbox, Variant::Unit, Variant::Repair];

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Without => "without",
            Self::Bare => "bare",
            Self::NoList => "no-list",
            Self::Sandbox => "sandbox",
            Self::Unit => "unit",
            Self::Repair => "repair",
        }
    }

    /// Returns the text of the unit for this variant, made from the text of the project's unit.
    fn of(self, text: &str) -> String {
        match self {
            Self::Without => String::new(),
            Self::Bare => only_true(&with_directives(text, |_| false)),
            Self::NoList => {
                only_true(&with_directives(text, |directive| !directive.starts_with("SystemCall")))
            }
            Self::Sandbox => only_true(text),
            Self::Unit | Self::Repair => text.to_owned(),
        }
    }
}

const USAGE: &str = "arguments: stages or directives, a seed, and releases: bookworm, backports, newest";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, seed, names @ ..] = arguments.as_slice() else { panic!("{USAGE}") };
    let measure = match mode.as_str() {
        "stages" => stages,
        "directives" => directives,
        _ => panic!("{USAGE}"),
    };
    let seed = seed.parse().unwrap_or_else(|_| panic!("{USAGE}"));
    // If SMBIOS_CREDS_TEST_NEWEST is set, `newest` is the systemd of Debian sid.
    let releases =
        [("bookworm", Release::Bookworm), ("backports", Release::Backports), ("newest", Release::Newest)];
    for (_, release) in releases.into_iter().filter(|(name, _)| names.iter().any(|one| one == name)) {
        measure(release, seed);
    }
}

fn text_of(unit: &str) -> String {
    std::fs::read_to_string(testkit::project("integration/systemd").join(unit)).unwrap()
}

/// Returns a unit with only those directives of its sandbox for which `kept` returns true.
fn with_directives(text: &str, kept: impl Fn(&str) -> bool) -> String {
    let mut section = "";
    let mut left = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let directive = line.split_once('=').filter(|_| section == "[Service]" && !line.starts_with('#'));
        if directive.is_none_or(|(directive, _)| PLAIN.contains(&directive) || kept(directive)) {
            writeln!(left, "{line}").unwrap();
        }
    }
    left
}

fn only_true(text: &str) -> String {
    let only = |line| if str::starts_with(line, "ExecStart=") { "ExecStart=/bin/true" } else { line };
    text.lines().fold(String::new(), |text, line| text + only(line) + "\n")
}

const TIMES: &str = "--property=ExecMainStartTimestampMonotonic --property=ActiveEnterTimestampMonotonic \
                     --property=ExecMainStatus";

/// A number that `systemctl show` printed.
fn property(outcome: &Outcome, name: &str) -> i64 {
    let value = outcome.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {outcome:?}")).parse().unwrap()
}

/// Microseconds from the start of a unit's process until the unit is active. systemd records the start of the unit
/// only after it has started the process, so the process may have run before this record.
fn taken(outcome: &Outcome) -> i64 {
    assert_eq!(property(outcome, "ExecMainStatus"), 0, "{outcome:?}");
    property(outcome, "ActiveEnterTimestampMonotonic") - property(outcome, "ExecMainStartTimestampMonotonic")
}

fn version(outcome: &Outcome) -> &str {
    outcome.text().split_whitespace().nth(1).unwrap()
}

fn stages(release: Release, seed: u32) {
    for (stage, unit) in STAGES {
        for variant in VARIANTS {
            if variant != Variant::Repair || release.cuts() {
                boot(release, seed, stage, unit, variant);
            }
        }
    }
}

/// Returns the name of a machine. Machines boot at the same time, so a machine with the newest of all releases needs
/// another name than the same machine with [`Release::Newest`].
fn named(name: &str) -> String {
    let moving = if std::env::var_os("SMBIOS_CREDS_TEST_NEWEST").is_some() { "-moving" } else { "" };
    format!("{name}{moving}")
}

/// Boots with sixteen credentials of 44 bytes. For a repair, the last one has 6000 bytes, which is more than a page.
fn boot(release: Release, seed: u32, stage: &str, unit: &str, variant: Variant) {
    let mut machine = Machine::new(&named(&format!("bench-{stage}-{release:?}-{seed}")))
        .release(release)
        .instruction_clock(seed)
        .systemd("");
    let last = if variant == Variant::Repair { 6000 } else { 44 };
    for size in [44; 15].into_iter().chain([last]).enumerate() {
        machine = machine.oem_string(&format!("io.systemd.credential:c{}={}", size.0, "x".repeat(size.1)));
    }
    if stage == "initrd" {
        let target = "rd.systemd.unit=probe.target";
        machine = machine.file("etc/initrd-release", "ID=debian\n").kernel_arguments(target);
    }
    if variant != Variant::Without {
        let text = variant.of(&text_of(unit));
        machine = machine.require(unit).file(&format!("etc/systemd/system/{unit}"), text);
    }
    let results = machine.boot(&format!(
        "result unit systemctl show {TIMES} {unit}
         result probe systemctl show {TIMES} probe.service
         result version systemctl --version
         result size stat -c %s /run/credentials/@system/c15\n"
    ));
    assert_eq!(results["size"].text().trim(), last.to_string(), "what was sent is there");
    println!(
        "systemd={} stage={stage} variant={} unit={} boot={}",
        version(&results["version"]),
        variant.name(),
        if variant == Variant::Without { 0 } else { taken(&results["unit"]) },
        property(&results["probe"], "ExecMainStartTimestampMonotonic"),
    );
}

fn directives(release: Release, seed: u32) {
    let text = text_of(STAGES[1].1);
    let mut names: Vec<&str> = Vec::new();
    let service = text.split_once("\n[Service]\n").unwrap().1.split_once("[Install]").unwrap().0;
    for line in service.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, _)) = line.split_once('=') else { continue };
        if !PLAIN.contains(&name) && !names.contains(&name) {
            names.push(name);
        }
    }
    let mut services =
        vec![("none".to_owned(), Variant::Bare.of(&text)), ("all".to_owned(), only_true(&text))];
    for name in names {
        services.push((
            format!("only-{name}"),
            only_true(&with_directives(&text, |directive| directive == name)),
        ));
        services.push((
            format!("less-{name}"),
            only_true(&with_directives(&text, |directive| directive != name)),
        ));
    }
    let mut machine = Machine::new(&named(&format!("bench-directives-{release:?}-{seed}")))
        .release(release)
        .instruction_clock(seed)
        .systemd("");
    for (name, text) in &services {
        let service = text.split_once("\n[Service]\n").unwrap().1.split_once("[Install]").unwrap().0;
        let unit = format!("[Unit]\nDefaultDependencies=no\n[Service]\n{service}");
        machine = machine.file(&format!("etc/systemd/system/{name}.service"), unit);
    }
    let mut script = "result version systemctl --version\n".to_owned();
    for turn in 0..TURNS {
        for (name, _) in &services {
            // The sleep executes no instructions, and lets systemd finish other work before the measured start.
            writeln!(
                script,
                "sleep 0.1; systemctl start {name}
                 result {name}.{turn} systemctl show {TIMES} {name}
                 systemctl stop {name}"
            )
            .unwrap();
        }
    }
    let results = machine.boot(&script);
    for (name, _) in &services {
        let turns = (0..TURNS).map(|turn| taken(&results[&format!("{name}.{turn}")]).to_string());
        let turns = turns.collect::<Vec<_>>().join(",");
        println!("systemd={} service={name} taken={turns}", version(&results["version"]));
    }
}
