//! The program that goes into an initrd, as `./tests/run` has built it.

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
    // Where only glibc can be had, its own static parts take more than that.
    let musl = testkit::static_agent_is_small();
    let size = bytes.len() as u64;
    assert!(size <= if musl { SIZE_MAX } else { 2 * SIZE_MAX }, "{size} bytes, musl: {musl}");
}

/// The linker puts the functions of an import into a section of their own. If fewer are found there than before, their names
/// have changed: `./do order` writes the list of them.
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

/// The system calls of an import of so many credentials of 256 bytes by this agent, from start to end, as strace logs them.
/// The directory is named by its full path, or by a relative one.
fn log_of_import(agent: &Path, count: usize, options: &[&str], is_relative: bool) -> String {
    let value = smbios_creds::format::base64::encode(&[7; 256]);
    let strings: Vec<_> =
        (0..count).map(|i| format!("io.systemd.credential.binary:credential-{i}={}", *value)).collect();
    let strings: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
    let source = testkit::recording(&testkit::table(&strings));
    // What goes to a disk is synced besides.
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

/// How many these are, without messages.
fn system_calls(count: usize) -> usize {
    log_of_import(&static_agent(), count, &["--log-level=error"], false).lines().count()
}

/// What a log of strace names: `1234  openat(AT_FDCWD, …) = 3`.
fn names(log: &str) -> BTreeSet<String> {
    let calls = log.lines().filter_map(|line| line.split_once('(')?.0.split_whitespace().nth(1));
    calls.filter(|name| *name != "<...").map(str::to_owned).collect()
}

/// Machines of `tests/machine` run the static agent in the units; this also runs one that loads glibc, as a distribution
/// may build it.
#[test]
fn units_allow_every_system_call_of_an_import() {
    let unit = std::fs::read_to_string(testkit::project("integration/systemd/smbios-creds.service")).unwrap();
    let mut allowed = allowed(&unit);
    allowed.extend(calls_of("@default"));
    for agent in [static_agent(), testkit::program("smbios-creds")] {
        let log = log_of_import(&agent, 3, &["--log-level=trace"], true);
        let made = names(&log);
        assert!(made.len() > 20 && made.contains("openat2") && made.contains("getcwd"), "{log}");
        let refused: Vec<_> = made.difference(&allowed).collect();
        assert!(refused.is_empty(), "{}: the units refuse {refused:?}", agent.display());
    }
}

/// 3 for each credential, as the C floor of the benchmark has, and few besides: with 16, what an empty program (17) has
/// not is 1.3 times what the floor has (59), and the price of three promises that the floor does not make. No other user
/// can change the path: 5 calls, which look at `/`, `/dev`, `/dev/shm`, the directory in it, and what was opened. No
/// signal ends the import while something is staged: 2 calls. Before `main`, where no verb is known yet, 3 calls ask what a
/// program that `exec` executes must find of `SIGPIPE`. `fw_cfg` comes before SMBIOS: 1 call, which finds that nothing
/// came that way. A machine with trusted keys takes only signed sets: 1 call, which finds that there is no directory of
/// them. `--from` may name a file: 1 call, which finds a directory. The filter of an import takes 2 calls. It refuses
/// `openat2`, so the directory of trusted keys takes 5 more: its path is opened part by part. None of these grows with the number of credentials.
#[test]
fn an_import_takes_three_system_calls_a_credential_and_few_besides() {
    if !testkit::static_agent_is_small() {
        return;
    }
    let (few, many) = (system_calls(16), system_calls(116));
    assert!(few <= 17 + 59 * 13 / 10 + 5 + 2 + 3 + 1 + 1 + 1 + 2 + 5, "{few}");
    // Memory is taken 64 KiB at a time: 390 bytes of the table and 256 of the value, each in a few places.
    assert!((300..310).contains(&(many - few)), "{few}, {many}");
}

/// Instructions of an import of so many credentials of so many bytes, and their manifest, for each byte of the table.
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

/// Instructions of a verb that finds no table, with as many options as people give it: nearly all that it does is to start.
fn instructions_of_a_start(verb: &[&str]) -> u64 {
    let nothing = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut start = Command::new(static_agent());
    start.arg(verb[0]).args(["--log-level=off", "--require", "db-password", "--manifest=require", "--from"]);
    instructions(start.arg(nothing.path()).args(&verb[1..]))
}

/// Of these, 30,000 are the relocation of a position-independent program, and each of the four options takes clap 25,000.
/// If clap is told all options of all verbs, both verbs take 400,000 more.
#[test]
fn start_defines_only_the_options_that_are_given() {
    if !testkit::static_agent_is_small() {
        return;
    }
    let (import, exec) =
        (instructions_of_a_start(&["import"]), instructions_of_a_start(&["exec", "--", "/bin/true", "-h"]));
    assert!(import <= 242_000 && exec <= 278_000, "{import} and {exec} instructions");
}

/// Instructions of an import of a signed set, with these options.
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

/// A signature takes 1.5 million instructions (x86-64), which is 0.2 ms: two Ed25519 verifications and a digest.
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

/// Valgrind shows the program a CPU without SHA instructions: SHA-256 takes 39 of the first, and 36 of the second
/// (docs/decisions/0003-instructions.md).
#[test]
fn import_touches_each_byte_of_the_table_few_times() {
    if !testkit::static_agent_is_small() {
        return;
    }
    let (large, small) = (instructions_a_byte(100, 4096), instructions_a_byte(255, 256));
    assert!(large <= 55 && small <= 93, "{large} and {small} instructions a byte");
}
