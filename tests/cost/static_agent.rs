//! The static agent, which goes into an initrd, as `./tests/run` has built it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use testkit::static_agent;
use testkit::syscalls::{allowed, calls_of};

use crate::linear::instructions;

const SIZE_MAX: u64 = 1_150_000;

#[test]
fn it_needs_no_library_and_is_position_independent() {
    let bytes = std::fs::read(static_agent()).unwrap();
    // e_type (System V ABI, figure 4-3): 3 is a shared object or a position-independent executable.
    assert_eq!(bytes.get(16..18), Some(&[3, 0][..]));
    let libraries = Command::new("ldd").arg(static_agent()).output().unwrap();
    let text = [libraries.stdout, libraries.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("statically linked") || text.contains("not a dynamic executable"), "{text}");
}

#[test]
fn it_has_at_most_1_150_000_bytes() {
    let bytes = std::fs::read(static_agent()).unwrap();
    // If the agent is built with glibc, the static parts of glibc alone are larger than `SIZE_MAX`.
    let musl = testkit::static_agent_is_small();
    let size = bytes.len() as u64;
    assert!(size <= if musl { SIZE_MAX } else { 2 * SIZE_MAX }, "{size} bytes, musl: {musl}");
}

/// The linker puts the functions that an import executes into a separate section. If the section gets smaller, names
/// of functions have changed, and `./do order` must write the list of names again.
#[test]
fn functions_of_an_import_are_next_to_each_other() {
    if !testkit::static_agent_is_small() {
        return;
    }
    let sections =
        Command::new("readelf").args(["--sections", "--wide"]).arg(static_agent()).output().unwrap();
    let sections = testkit::stdout(&sections);
    // "[10] .text.import PROGBITS address offset size ..."
    let size = |name: &str| {
        let words = sections.lines().filter_map(|line| line.split_once(']'));
        let mut words = words
            .map(|(_, line)| line.split_whitespace())
            .find(|words| words.clone().next() == Some(name))?;
        u64::from_str_radix(words.nth(4)?, 16).ok()
    };
    let (import, rest) = (size(".text.import").unwrap(), size(".text").unwrap());
    assert!((300_000..400_000).contains(&import) && rest > import, "{import} and {rest} bytes");
}

#[test]
fn it_lists_a_recorded_table() {
    let output = Command::new(static_agent())
        .args(["list", "--no-legend", "--from"])
        .arg(testkit::testdata("qemu-7.2-pc"))
        .output()
        .unwrap();
    assert_eq!(testkit::code(&output), 0);
    assert!(testkit::stdout(&output).starts_with("foo "));
}

/// Returns strace's log of the system calls of a whole import of `count` credentials of 256 bytes by this agent.
/// `is_relative` says whether the path of the destination is relative.
fn log_of_import(agent: &Path, count: usize, options: &[&str], is_relative: bool) -> String {
    let value = smbios_creds::format::base64::encode(&[7; 256]);
    let strings: Vec<_> =
        (0..count).map(|i| format!("io.systemd.credential.binary:credential-{i}={}", *value)).collect();
    let strings: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
    let source = testkit::recording(&testkit::table(&strings));
    // Use memory: on a disk, the import would also sync its files.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let log = folder.path().join("log");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&log).arg(agent).args(["import", "--from"]).arg(source.path());
    let into = if is_relative { "./creds".into() } else { folder.path().join("creds") };
    strace.args(options).arg("--into").arg(into).current_dir(folder.path());
    let output = strace.stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(testkit::code(&output), 0, "{}", testkit::stderr(&output));
    std::fs::read_to_string(log).unwrap()
}

/// Returns the number of system calls of such an import, without those for messages.
fn system_calls(count: usize) -> usize {
    log_of_import(&static_agent(), count, &["--log-level=error"], false).lines().count()
}

/// Returns the names of the system calls in a log of strace, which has lines such as `1234 openat(AT_FDCWD, …) = 3`.
fn names(log: &str) -> BTreeSet<String> {
    let calls = log.lines().filter_map(|line| line.split_once('(')?.0.split_whitespace().nth(1));
    calls.filter(|name| *name != "<...").map(str::to_owned).collect()
}

/// The virtual machines of `tests/machine` run only the static agent in the units. This test also runs an agent that
/// loads glibc, as a distribution may build it.
#[test]
fn units_allow_every_system_call_of_an_import() {
    let unit = std::fs::read_to_string(testkit::project("integration/systemd/smbios-creds.service")).unwrap();
    let mut allowed = allowed(&unit);
    allowed.extend(calls_of("@default"));
    for agent in [static_agent(), testkit::program("smbios-creds")] {
        let log = log_of_import(&agent, 3, &["--log-level=trace"], true);
        let made = names(&log);
        assert!(made.len() > 20 && made.contains("seccomp") && made.contains("getcwd"), "{log}");
        let refused: Vec<_> = made.difference(&allowed).collect();
        assert!(refused.is_empty(), "{}: the units refuse {refused:?}", agent.display());
    }
}

/// Like the C floor of the benchmarks (a C program that makes only the calls that it cannot do without), an import
/// takes 3 system calls for each credential. With 16 credentials, it may take as many calls as an empty program (17),
/// 1.3 times the other calls of the C floor (59), and these calls, whose number does not grow with the number of
/// credentials:
///
/// * 5 calls check that no other user can change the path: they look at `/`, `/dev`, `/dev/shm`, the directory in it,
///   and the directory that was opened.
/// * 2 calls block signals, so that no signal ends the import while a staging directory exists.
/// * 3 calls before `main`, where the verb is not known yet, find out whether `SIGPIPE` is ignored. A program that
///   `exec` executes inherits this setting.
/// * 1 call finds that there are no `fw_cfg` items, which are read before SMBIOS.
/// * 1 call finds that there is no directory of trusted keys. With trusted keys, only signed sets are imported.
/// * 1 call finds that the path of `--from` is not a file but a directory.
/// * 2 calls install the seccomp filter of an import.
/// * 5 calls open the path of the directory of trusted keys part by part, because the filter refuses `openat2`.
#[test]
fn an_import_takes_three_system_calls_a_credential_and_few_besides() {
    if !testkit::static_agent_is_small() {
        return;
    }
    let (few, many) = (system_calls(16), system_calls(116));
    assert!(few <= 17 + 59 * 13 / 10 + 5 + 2 + 3 + 1 + 1 + 1 + 2 + 5, "{few}");
    // 100 more credentials take 300 calls, and a few calls that allocate memory, 64 KiB at a time: for each
    // credential, 390 bytes of the table and 256 bytes of the value are in a few places.
    assert!((300..310).contains(&(many - few)), "{few}, {many}");
}

/// Returns the instructions for each byte of the table in an import of `count` credentials of `size` bytes and their
/// manifest.
fn instructions_a_byte(count: usize, size: usize) -> u64 {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let [sent, table, into] = ["sent", "table", "into"].map(|name| directory.path().join(name));
    std::fs::create_dir(&sent).unwrap();
    std::fs::create_dir(&table).unwrap();
    for number in 0..count {
        std::fs::write(sent.join(format!("credential-{number}")), vec![number.to_le_bytes()[0]; size])
            .unwrap();
    }
    let made = Command::new(testkit::example("vmm")).arg(sent).arg(&table).output().unwrap();
    assert_eq!(testkit::code(&made), 0, "{}", testkit::stderr(&made));
    let mut import = Command::new(static_agent());
    import.args(["import", "--log-level=error", "--manifest=require", "--from"]).arg(&table);
    let instructions = instructions(import.arg("--into").arg(&into));
    assert_eq!(std::fs::read_dir(into).unwrap().count(), count);
    instructions / std::fs::metadata(table.join("DMI")).unwrap().len()
}

/// Returns the instructions of a verb that finds no table, with as many options as people usually give. Nearly all of
/// these instructions start the program.
fn instructions_of_a_start(verb: &[&str]) -> u64 {
    let nothing = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut start = Command::new(static_agent());
    start.arg(verb[0]).args(["--log-level=off", "--require", "db-password", "--manifest=require", "--from"]);
    instructions(start.arg(nothing.path()).args(&verb[1..]))
}

/// Of the instructions of a start, 30,000 relocate the position-independent program, and clap executes 25,000 for
/// each of the four options. If clap had to define all options of all verbs, each verb would take 400,000
/// instructions more.
#[test]
fn start_defines_only_the_options_that_are_given() {
    if !testkit::static_agent_is_small() {
        return;
    }
    let (import, exec) =
        (instructions_of_a_start(&["import"]), instructions_of_a_start(&["exec", "--", "/bin/true", "-h"]));
    assert!(import <= 242_000 && exec <= 278_000, "{import} and {exec} instructions");
}

/// Returns the instructions of an import of a signed set, with these options.
fn instructions_of_a_signed_set(options: &[&str]) -> u64 {
    let strings = std::fs::read_to_string(testkit::testdata("signed/good.strings")).unwrap();
    let strings: Vec<&[u8]> = strings.lines().map(str::as_bytes).collect();
    let table = testkit::recording(&testkit::table(&strings));
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let into = directory.path().join("into");
    let mut import = Command::new(static_agent());
    import.args(["import", "--log-level=error", "--from"]).arg(table.path()).args(options);
    let instructions = instructions(import.arg("--into").arg(&into));
    assert_eq!(std::fs::read_dir(into).unwrap().count(), 2);
    instructions
}

/// To verify a signature takes 1.5 million instructions (x86-64), which is 0.2 ms: two Ed25519 verifications and a
/// digest.
#[test]
fn signature_costs_less_than_a_millisecond() {
    if !testkit::static_agent_is_small() {
        return;
    }
    let key = std::fs::read_to_string(testkit::testdata("signed/owner.pub")).unwrap();
    let key = key.lines().nth(1).unwrap();
    let (without, with) =
        (instructions_of_a_signed_set(&[]), instructions_of_a_signed_set(&["--trust", key]));
    assert!((1_000_000..1_700_000).contains(&(with - without)), "{without}, {with}");
}

/// Valgrind emulates a CPU without SHA instructions. So for each byte, SHA-256 takes 39 instructions with the large
/// values and 36 with the small ones (docs/decisions/0003-instructions.md).
#[test]
fn import_touches_each_byte_of_the_table_few_times() {
    if !testkit::static_agent_is_small() {
        return;
    }
    let (large, small) = (instructions_a_byte(100, 4096), instructions_a_byte(255, 256));
    assert!(large <= 55 && small <= 88, "{large} and {small} instructions a byte");
}
