//! Boots one machine twice a round, with and without our unit, in turns, and prints a line for each boot: how many
//! microseconds after its start the kernel came to what. `boot ROUNDS WHEN`, where WHEN is `when.c` as a static program.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the machine is a test's"
)]

use testkit::machine::{Machine, Release};

const SCRIPT: &str = "
result probe systemctl show probe.service --property=ExecMainStartTimestampMonotonic
result manager systemctl show --property=UserspaceTimestampMonotonic
result unit systemctl show smbios-creds.service --property=ExecMainStartTimestampMonotonic \\
    --property=ExecMainExitTimestampMonotonic --property=ExecMainStatus
result files when /run/credentials/@system/c0 /run/credentials/@system/large
result size stat -c size=%s /run/credentials/@system/large
";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, when] = arguments.as_slice() else { panic!("two arguments: ROUNDS WHEN") };
    for round in 0..rounds.parse::<usize>().unwrap() {
        // Each of the two is the first one as often as the other.
        for with_unit in [round % 2 == 0, round % 2 != 0] {
            boot(with_unit, when);
        }
    }
}

/// Fifteen credentials of 44 bytes, and one behind them that systemd 254 cuts.
fn boot(with_unit: bool, when: &str) {
    let mut machine = Machine::new("bench")
        .release(Release::Backports)
        .program("usr/bin/when", when)
        .systemd("")
        // A busy host makes the check of the timer fail, and with it the boot, and gives the TSC a wrong frequency.
        .kernel_arguments("no_timer_check clocksource=acpi_pm");
    for n in 0..15 {
        machine = machine.oem_string(&format!("io.systemd.credential:c{n}={}", "x".repeat(44)));
    }
    machine = machine.oem_string(&format!("io.systemd.credential:large={}", "x".repeat(6000)));
    if with_unit {
        machine = machine.import("");
    }
    let results = machine.boot(SCRIPT);
    let text = ["probe", "manager", "unit", "files", "size"].map(|name| {
        let lines = results[name].text().lines().map(|line| match name {
            "probe" | "unit" => format!("{name}.{line}"),
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join(" ")
    });
    println!("unit={} {}", u8::from(with_unit), text.join(" "));
}
