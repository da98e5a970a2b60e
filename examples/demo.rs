//! Boots a virtual machine with credentials. Prints the output of `smbios-creds list` and of `systemd-creds --system
//! list` in the guest next to each other: first as systemd 254 imported the credentials, then after `smbios-creds
//! import`.
//!
//! `./tests/demo` prepares the virtual machine and runs this example.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the machine is a test's"
)]

use testkit::machine::{Machine, Outcome, Release};

fn main() {
    let results = Machine::new("demo")
        .release(Release::Backports)
        .oem_string(&format!("io.systemd.credential:tls-key={}", "k".repeat(6000)))
        .oem_string("io.systemd.credential.binary:db-password=aHVudGVyMg==")
        .systemd("")
        .boot(
            "result ours smbios-creds list --log-level off
             result theirs systemd-creds --system list
             result import smbios-creds import --log-level info
             result ours_after smbios-creds list --log-level off
             result theirs_after systemd-creds --system list",
        );
    println!(
        "The host sent tls-key (6000 bytes) and db-password (7 bytes). systemd 254 has imported them by itself:\n"
    );
    side_by_side(&results["ours"], &results["theirs"]);
    println!("\n# smbios-creds import\n{}", results["import"].stderr);
    side_by_side(&results["ours_after"], &results["theirs_after"]);
}

fn side_by_side(ours: &Outcome, theirs: &Outcome) {
    let with_title = |title, outcome: &Outcome| {
        let lines =
            outcome.text().lines().chain(outcome.stderr.lines()).map(|line| line.trim_end().to_owned());
        std::iter::once(format!("# {title}")).chain(lines).collect::<Vec<_>>()
    };
    let (ours, theirs) =
        (with_title("smbios-creds list", ours), with_title("systemd-creds --system list", theirs));
    let width = ours.iter().map(String::len).max().unwrap_or(0);
    for line in 0..ours.len().max(theirs.len()) {
        let cell = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
        println!("{:width$}   │ {}", cell(&ours), cell(&theirs));
    }
}
