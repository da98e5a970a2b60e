//! The second promise: a value never appears where it should not.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use smbios_creds::format::base64;
use smbios_creds::format::credential::Credential;
use smbios_creds::format::manifest::Manifest;
use testkit::{agent, code, recording, run, table};

/// A text that is part of every value, as text or as base64, of every string that has or was meant to have a value.
const CANARY: &str = "CanaryCanary";

/// Returns OEM strings with values, one for each way in which a string can be accepted or refused.
fn strings() -> Vec<Vec<u8>> {
    let base64 = base64::encode(CANARY.as_bytes());
    let text = [
        format!("io.systemd.credential:text={CANARY}"),
        format!("io.systemd.credential:text={CANARY}2"),
        format!("io.systemd.credential.binary:binary={}", *base64),
        format!("io.systemd.credential.binary:spare={}Zh==", *base64),
        format!("io.systemd.credential.binary:pad={}Z", *base64),
        format!("io.systemd.credential.binary:bad={CANARY}!"),
        format!("io.systemd.credential.binary:{}Zg==", *base64),
        format!("io.systemd.credential:{CANARY}"),
        format!("io.systemd.credential:../bad={CANARY}"),
        format!("io.systemd.credentials:near={CANARY}"),
        format!(" IO.systemd.credential:near={CANARY}"),
        format!("io.systemd.stub.kernel-cmdline-extra={CANARY}"),
        CANARY.to_owned(),
        format!("io.smbios-creds.manifest:{}", *base64),
        format!("io.smbios-creds.manifest:{CANARY}?"),
        format!(
            "io.smbios-creds.manifest:{}",
            *base64::encode(format!(r#"{{"version":"{CANARY}"}}"#).as_bytes())
        ),
        "io.systemd.credential:empty=".to_owned(),
    ];
    text.map(String::into_bytes).into()
}

fn manifest(value: &str) -> Vec<u8> {
    let set: [Credential; 1] = [testkit::credential("text", value.as_bytes())];
    Manifest::new(&set, [1; 16]).unwrap().encode().into_bytes()
}

fn assert_clean(output: &[u8], what: &str) {
    let canaries = [CANARY, base64::encode(CANARY.as_bytes()).trim_end_matches('='), "43616e617279"]
        .map(str::to_lowercase);
    let text = String::from_utf8_lossy(output).to_lowercase();
    for canary in canaries {
        assert!(!text.contains(&canary), "{what}: {text}");
    }
}

fn sources() -> Vec<tempfile::TempDir> {
    let plain = strings();
    let mut sources = Vec::new();
    for extra in
        [None, Some(manifest(CANARY)), Some(manifest("Another value")), Some(manifest("same length!"))]
    {
        let mut strings: Vec<&[u8]> = plain.iter().map(Vec::as_slice).collect();
        strings.splice(0..0, extra.as_deref());
        let data = table(&strings);
        sources.push(recording(&data));
        // One table is cut in the middle of a value, and one has text where a structure should be.
        sources.push(recording(&data[..60]));
        sources.push(recording(&[&data[..data.len() - 6], CANARY.as_bytes()].concat()));
        let mut early = data.clone();
        early[5 + 20] = 0;
        early[5 + 21] = 0;
        sources.push(recording(&early));
    }
    sources
}

#[test]
fn no_verb_but_cat_prints_a_value_at_any_log_level() {
    let mut runs = 0;
    for source in sources() {
        for level in ["trace", "debug", "info", "warn", "error", "off"] {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
            let (new, blocked) = (path("new"), path("new/below/a/file/that/is/none"));
            let verbs: [&[&str]; 17] = [
                &["list"],
                &["list", "--json"],
                &["check", "--require", "text", "missing"],
                &["check", "--json=short", "--manifest=require"],
                &["check", "--map"],
                &["check", "text"],
                &["check", "bad", "--json"],
                &["import", "--into", &new],
                &["import", "--into", &new, "--strict"],
                &["import", "--into", &blocked],
                &["import", "--dry-run"],
                &["list", "--into", &new],
                &["exec", "--into", &new, "--", "env"],
                &["exec", "--into", &new, "--", "/nonexistent"],
                &["exec", "--strict", "--", "env"],
                &["cat", "missing", "bad", "pad", "near"],
                &["record", &path("recorded")],
            ];
            for verb in verbs {
                let mut command = agent(&[]);
                command.args([verb[0], "--log-level", level, "--from"]).arg(source.path()).args(&verb[1..]);
                let output = run(command.env("RUST_BACKTRACE", "full"));
                assert!(output.status.code().is_some_and(|code| code < 5), "{verb:?}");
                assert_clean(&output.stdout, &format!("{verb:?} --log-level {level}: stdout"));
                assert_clean(&output.stderr, &format!("{verb:?} --log-level {level}: stderr"));
                runs += 1;
            }
            assert_clean(&std::fs::read(folder.path().join("recorded/DMI")).unwrap(), "the recording");
        }
    }
    assert!(runs > 1000);
}

#[test]
fn debug_output_of_the_library_shows_no_value() {
    let strings = strings();
    let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
    let delivery = testkit::verdict(&table(&strings));
    assert_clean(format!("{delivery:?} {delivery:#?}").as_bytes(), "Delivery");
    for string in strings {
        let manifest = string.starts_with(b"io.smbios-creds.manifest:");
        let decoded = smbios_creds::format::oem_string::decode(string);
        assert!(manifest || !format!("{decoded:?}").contains(CANARY), "{decoded:?}");
    }
}

/// Starts the agent so that it waits while it holds the values, and looks at the process from outside.
#[test]
fn the_process_is_not_dumpable_and_has_no_core_limit() {
    // `cat` waits in the middle of a large value, since nobody reads its pipe.
    let value = [b"io.systemd.credential:big=".as_slice(), &vec![b'x'; 200_000]].concat();
    let source = recording(&table(&[&value]));
    for nobody in [false, testkit::is_root()] {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            r#"ulimit -Sc unlimited 2>/dev/null; exec "$@""#,
            "sh",
            env!("CARGO_BIN_EXE_smbios-creds"),
        ]);
        command.args(["cat", "big", "--from"]).arg(source.path()).stdout(Stdio::piped());
        if nobody {
            // The files in /proc of root's process belong to root in any case, so the test also uses another user.
            std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        }
        let mut child = command.spawn().unwrap();
        let proc = Path::new("/proc").join(child.id().to_string());
        // The process must be the agent already, and must sleep in write(2).
        let sleeps = || std::fs::read_to_string(proc.join("stat")).unwrap().contains("(smbios-creds) S ");
        while !sleeps() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let limits = std::fs::read_to_string(proc.join("limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        // The files in /proc of a process that is not dumpable belong to root.
        assert_eq!(std::fs::metadata(proc.join("environ")).unwrap().uid(), 0);
        let status = std::fs::read_to_string(proc.join("status")).unwrap();
        let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim();
        let capable = status.lines().any(|line| {
            let mask = line.strip_prefix("CapEff:\t").and_then(|mask| u64::from_str_radix(mask, 16).ok());
            mask.is_some_and(|mask| mask & (1 << 14) != 0)
        });
        assert!(!capable || locked != "0 kB", "memory is locked where that is allowed: {locked}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_value_is_in_no_argument_or_environment_of_what_exec_starts() {
    let source = recording(&table(&[format!("io.systemd.credential:text={CANARY}").as_bytes()]));
    let folder = tempfile::tempdir().unwrap();
    let script =
        "tr '\\0' '\\n' < /proc/self/cmdline; tr '\\0' '\\n' < /proc/self/environ; ls -l /proc/self/fd";
    let mut command = agent(&["exec", "--from"]);
    command.arg(source.path()).arg("--into").arg(folder.path().join("c")).args(["--", "sh", "-c", script]);
    let output = run(&mut command);
    assert_eq!(code(&output), 0);
    assert_clean(&output.stdout, "exec");
    let text = testkit::stdout(&output);
    assert!(text.contains("CREDENTIALS_DIRECTORY="));
    assert!(
        !text.contains(source.path().to_str().unwrap()) || !text.contains("/DMI"),
        "no descriptor is left open: {text}"
    );
}
