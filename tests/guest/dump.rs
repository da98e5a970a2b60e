//! `--from FILE`: a file of `dmidecode --dump-bin`.

use std::path::{Path, PathBuf};

use smbios_creds::guest::source::dmi::{TABLE_SIZE_MAX, read};
use smbios_creds::guest::source::{Input, SourceError};
use smbios_creds::guest::verify::policy::Policy;
use smbios_creds::guest::verify::set::verify_table;
use testkit::{code, run_on, stderr, stdout, testdata};

/// Recordings with a 32-bit and a 64-bit entry point, and a credential of each.
const CASES: [(&str, &str); 2] = [("qemu-7.2-two-structures", "g1"), ("cloud-hypervisor-53-api", "blob")];

/// Returns the path of the file that dmidecode itself wrote for a recording.
fn dump(case: &str) -> PathBuf {
    testdata("dmidecode").join(format!("{case}.bin"))
}

#[test]
fn dump_of_dmidecode_reads_as_its_recording_in_every_verb() {
    for (case, name) in CASES {
        let folder = tempfile::tempdir().unwrap();
        for arguments in [
            &["list"][..],
            &["list", "--json"],
            &["check", "--map"],
            &["check", "--json"],
            &["cat", name],
            &["import", "--into", folder.path().join("credentials").to_str().unwrap()],
        ] {
            let said = |from: &Path| {
                let output = run_on(from, arguments);
                (code(&output), output.stdout.clone(), stderr(&output))
            };
            let recording = said(&testdata(case));
            assert_eq!(recording.0, 0, "{case} {arguments:?}: {}", recording.2);
            _ = std::fs::remove_dir_all(folder.path().join("credentials"));
            assert_eq!(said(&dump(case)), recording, "{case} {arguments:?}");
        }
        let made = folder.path().join("recording");
        let output = run_on(&dump(case), &["record", "--with-secrets", made.to_str().unwrap()]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let table = |folder: &Path| std::fs::read(folder.join("DMI")).unwrap();
        assert_eq!(table(&made), table(&testdata(case)));
        assert_eq!(stdout(&run_on(&made, &["list"])), stdout(&run_on(&testdata(case), &["list"])));
    }
}

#[test]
fn cut_dump_never_passes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    for (case, _) in CASES {
        let whole = std::fs::read(dump(case)).unwrap();
        for size in 0..=whole.len() {
            std::fs::write(&file, &whole[..size]).unwrap();
            let passed = match read(Input::named(&file)) {
                Ok(raw) => verify_table(&raw.parse(), &Policy::default()).passed(),
                Err(SourceError::NotADump { .. }) if size <= 32 => false,
                Err(error) => panic!("{case}, {size} bytes: {error}"),
            };
            assert_eq!(passed, size == whole.len(), "{case}, {size} bytes");
        }
    }
    // The message names the file and says what is wrong with it.
    std::fs::write(&file, &std::fs::read(dump(CASES[0].0)).unwrap()[..400]).unwrap();
    let output = run_on(&file, &["check"]);
    assert!(code(&output) == 3 && stdout(&output).contains("the SMBIOS table is cut: "), "{output:?}");
    assert_eq!(code(&run_on(&file, &["import", "--strict", "--into", "./never-made"])), 3);
    std::fs::write(&file, &std::fs::read(dump(CASES[0].0)).unwrap()[..32]).unwrap();
    let said = stderr(&run_on(&file, &["check"]));
    assert!(
        said.contains("dump is not a file of 'dmidecode --dump-bin': it has 32 bytes, but the table"),
        "{said}"
    );
}

#[test]
fn file_of_another_kind_is_refused_without_a_byte_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let recording = testdata(CASES[0].0);
    let other = |name: &str| std::fs::read(recording.join(name)).unwrap();
    let neither = "it starts with neither '_SM_' nor '_SM3_'";
    let cases = [
        (b"S3cret=S3cret\n".to_vec(), 1, neither),
        (other("DMI"), 1, neither),
        (Vec::new(), 1, neither),
        // The kernel's own entry point, which has the address of the table in memory.
        ([other("smbios_entry_point"), vec![0; 64]].concat(), 1, "the table is at 0x"),
        (vec![b'S'; TABLE_SIZE_MAX + 33], 3, "is larger than 1114144 bytes"),
    ];
    for (content, exit, message) in cases {
        std::fs::write(&file, content).unwrap();
        for arguments in [
            &["list"][..],
            &["check"],
            &["import", "--dry-run"],
            &["cat", "a"],
            &["record", "/nonexistent/a"],
        ] {
            let output = run_on(&file, arguments);
            let said = stderr(&output);
            assert_eq!((code(&output), stdout(&output).as_str()), (exit, ""), "{arguments:?}: {said}");
            assert!(said.contains(message) && !said.contains("S3cret"), "{arguments:?}: {said}");
        }
    }
    std::fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(
        stderr(&run_on(&file, &["check"])).contains("it is not a regular file"),
        "a FIFO does not hang it"
    );
}

#[test]
fn damaged_entry_point_of_a_dump_is_a_finding_and_the_table_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    let mut damaged = std::fs::read(dump(CASES[1].0)).unwrap();
    damaged[5] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let output = run_on(&file, &["check"]);
    assert!(
        stdout(&output).contains("the SMBIOS entry point is damaged: its checksum is wrong"),
        "{output:?}"
    );
    assert_eq!(code(&output), 3);
    assert!(stdout(&run_on(&file, &["list"])).contains("blob"), "nothing that can be read is lost");
}
