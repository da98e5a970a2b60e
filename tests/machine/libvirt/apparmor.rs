//! The project's lines for `AppArmor`, in the profile that libvirt makes for a domain. Here, only `apparmor_parser`
//! reads these lines: the profile is not loaded into the kernel.

use std::fs;
use std::io::Write as _;
use std::process::{Output, Stdio};

use testkit::{code, stderr, stdout};

use super::host::{EMULATOR, Host, User};

const LOCAL: &str = "/etc/apparmor.d/local/abstractions/libvirt-qemu";

/// Runs a program on the host with this text as its standard input.
fn fed(host: &Host, words: &[&str], input: &str) -> Output {
    let mut command = host.command(User::System, words);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn libvirt_apparmor_profile_of_a_domain_takes_the_lines() {
    let Some(host) = Host::start() else { return };
    host.define(User::System, "web", "web", EMULATOR);
    let name = format!("libvirt-{}", host.asked(User::System, &["domuuid", "web"]).trim());
    let helper = ["/usr/lib/libvirt/virt-aa-helper", "--dryrun", "--create", "--uuid", &name];
    let rules = fed(&host, &helper, &host.asked(User::System, &["dumpxml", "web"]));
    assert_eq!(code(&rules), 0, "{}", stderr(&rules));
    let rules = stdout(&rules) + &stderr(&rules);
    assert!(rules.contains("/mnt/kernel") && !rules.contains("qemu-with-credentials"), "{rules}");

    let profile = format!(
        "#include <tunables/global>\nprofile {name} flags=(attach_disconnected) {{\n\
         #include <abstractions/libvirt-qemu>\n{}\n}}\n",
        rules.lines().filter(|line| line.trim_start().starts_with('"')).collect::<Vec<_>>().join("\n")
    );
    let parse = |option: &str| fed(&host, &["apparmor_parser", option, "--skip-cache"], &profile);
    let without = stdout(&parse("--preprocess"));

    let lines = fs::read_to_string(testkit::project("integration/libvirt/apparmor")).unwrap();
    fs::create_dir_all(host.path("/etc/apparmor.d/local/abstractions")).unwrap();
    fs::write(host.path(LOCAL), &lines).unwrap();
    let output = parse("--skip-kernel-load");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let with = stdout(&parse("--preprocess"));
    let rules: Vec<&str> = lines.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rules.len(), 4);
    for rule in rules {
        assert!(with.contains(rule) && !without.contains(rule), "{rule}");
    }

    // The parser reports an error in this file, which shows that it reads the file.
    fs::write(host.path(LOCAL), lines.replace(" r,", " nonsense,")).unwrap();
    assert_ne!(code(&parse("--skip-kernel-load")), 0);
}
