//! Every limit, with sets that are exactly at the limit and sets that are one above the limit.

use smbios_creds::format::credential::{Credential, Secret};
use smbios_creds::format::smbios::write::{STRING_AREA_MAX, STRINGS_MAX, pack, structure_size};
use smbios_creds::host::capacity::{
    self, Excess, Limit, Route, Structures, Usage, check, lost_in_systemd_256,
};
use smbios_creds::host::hypervisor::{cloud_hypervisor, crosvm, incus, libvirt, qemu};
use smbios_creds::host::plan::Plan;
use smbios_creds::host::strings::{Existing, OemStrings, Origin};
use smbios_creds::text::help::Help as _;
use testkit::host::{CLOUD_HYPERVISOR, QEMU, directory, host_with, order};
use testkit::{code, run, stderr};

fn strings(foreign: &[usize], credentials: &[Credential]) -> OemStrings {
    let kept = foreign.iter().map(|&size| (Secret::from(vec![b'x'; size]), Origin::CommandLine)).collect();
    let existing = Existing { kept, ..Existing::default() };
    OemStrings::with_salt(existing, credentials, [7; 16]).unwrap()
}

fn usage(strings: &OemStrings, way: &Route, argument: Option<usize>, limit: &Limit) -> Usage {
    *check(strings, way, argument).iter().find(|usage| usage.limit == limit).unwrap()
}

/// Returns the use of a limit with one foreign string, whose size makes the use `wanted`.
fn with_filler(way: &Route, limit: &Limit, wanted: usize) -> Usage {
    let set = |size| strings(&[size], &[testkit::credential("db", b"secret")]);
    // The foreign string is large enough to have a structure to itself.
    let base = usage(&set(5000), way, None, limit).used;
    usage(&set(5000 + wanted - base), way, None, limit)
}

#[test]
fn every_limit_of_bytes_holds_at_it_and_not_above() {
    let cases: [(Route, &'static Limit, usize); 8] = [
        // QEMU's table has 65,535 bytes, less the bytes that QEMU needs for itself.
        (qemu::route(0), &qemu::TABLE_LIMIT, 61_439),
        (qemu::route(100), &qemu::TABLE_LIMIT, 61_339),
        (libvirt::route(), &qemu::TABLE_LIMIT, 61_439),
        (cloud_hypervisor::route(0), &cloud_hypervisor::TABLE_LIMIT, 65_398),
        (cloud_hypervisor::route(50), &cloud_hypervisor::TABLE_LIMIT, 65_348),
        (cloud_hypervisor::api_route(), &cloud_hypervisor::REQUEST_LIMIT, 51_200),
        (crosvm::route(0), &crosvm::TABLE_LIMIT, 65_424),
        (Route::anywhere(), &capacity::EVERYWHERE, 32_768),
    ];
    for (way, limit, available) in cases {
        let at = with_filler(&way, limit, available);
        assert_eq!((at.used, at.available, at.is_exceeded()), (available, available, false), "{way:?}");
        assert_eq!(at.to_string(), format!("{}: {available} bytes of {available}", limit.name));
        let above = with_filler(&way, limit, available + 1);
        assert!(above.is_exceeded());
        assert!(above.to_string().contains(&format!("1 more than the limit of {available}: ")), "{above}");
        assert_eq!((at.help(), above.help().as_deref()), (None, Some(limit.advice)));
    }
}

#[test]
fn what_is_counted_is_what_is_in_the_table() {
    // Sizes of two foreign strings with which the set fills one structure, or two.
    for foreign in [&[10, 200][..], &[3000, 3000], &[5000, 1]] {
        let strings = strings(foreign, &[testkit::credential("db", b"secret")]);
        let structures = strings.structures().unwrap();
        let texts: Vec<String> =
            strings.texts().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
        let one = testkit::host::one_structure(&texts);
        let used = |way: &Route, limit| usage(&strings, way, None, limit).used;
        let packed = qemu::route(0);
        let sizes = structures.iter().map(Secret::len);
        assert_eq!(used(&packed, &qemu::TABLE_LIMIT), sizes.clone().sum::<usize>());
        assert_eq!(used(&libvirt::route(), &qemu::TABLE_LIMIT), one.len());
        // Only the strings and their NUL bytes count, without the header and without the NUL byte that ends the set.
        for (way, limit) in [
            (cloud_hypervisor::route(0), &cloud_hypervisor::TABLE_LIMIT),
            (cloud_hypervisor::api_route(), &cloud_hypervisor::TABLE_LIMIT),
            (crosvm::route(0), &crosvm::TABLE_LIMIT),
            (Route::anywhere(), &capacity::EVERYWHERE),
        ] {
            assert_eq!(used(&way, limit), one.len() - 5 - 1, "{way:?}");
        }
        // In a request, two brackets, two quotes for each string, and the commas between the strings count too.
        let body = serde_json::to_string(&texts).unwrap();
        assert_eq!(used(&cloud_hypervisor::api_route(), &cloud_hypervisor::REQUEST_LIMIT), body.len());
        // An old systemd has to read all of a structure except the header.
        for way in [packed, Route::anywhere()] {
            assert_eq!(used(&way, &capacity::SYSTEMD_256), sizes.clone().max().unwrap() - 5, "{way:?}");
        }
        for way in [cloud_hypervisor::route(0), crosvm::route(0), libvirt::route()] {
            assert_eq!(used(&way, &capacity::SYSTEMD_256), one.len() - 5, "{way:?}");
        }
    }
}

#[test]
fn every_limit_of_strings_holds_at_it_and_not_above() {
    for (way, limit) in [
        (cloud_hypervisor::route(0), &cloud_hypervisor::STRINGS_LIMIT),
        (crosvm::route(0), &crosvm::STRINGS_LIMIT),
        (libvirt::route(), &libvirt::STRINGS_LIMIT),
    ] {
        // The manifest is one more string.
        let at = usage(&strings(&[1; 254], &[]), &way, None, limit);
        assert_eq!((at.used, at.is_exceeded()), (255, false));
        assert_eq!(at.to_string(), format!("{}: 255 strings of 255", limit.name));
        assert!(usage(&strings(&[1; 255], &[]), &way, None, limit).is_exceeded());
    }
}

#[test]
fn an_argument_in_plain_text_has_at_most_131071_bytes() {
    let strings = strings(&[], &[]);
    for (size, exceeded) in [(131_071, false), (131_072, true)] {
        let usage = usage(&strings, &libvirt::route(), Some(size), &capacity::ARGUMENT);
        assert_eq!(usage.is_exceeded(), exceeded);
    }
    let private = check(&strings, &cloud_hypervisor::route(0), None);
    assert!(private.iter().all(|usage| *usage.limit != capacity::ARGUMENT), "a private one is on the stack");
    // The limit is the kernel's own limit of the size of an argument.
    let start = |size: usize| std::process::Command::new("true").arg("x".repeat(size)).status();
    assert!(start(131_071).is_ok() && start(131_072).is_err());
}

#[test]
fn what_systemd_in_the_guest_takes_is_warned_of() {
    let way = qemu::route(0);
    let set = |sizes: &[usize]| -> OemStrings {
        let credential =
            |(i, &size): (usize, &usize)| testkit::credential(&format!("c{i}"), &vec![b'x'; size]);
        strings(&[], &sizes.iter().enumerate().map(credential).collect::<Vec<_>>())
    };
    let files = |sizes: &[usize]| usage(&set(sizes), &way, None, &capacity::SYSTEMD_FILES);
    assert!(!files(&[1; 256]).is_exceeded());
    assert!(files(&[1; 256]).to_string().ends_with(": 256 credentials of 256"));
    assert!(files(&[1; 257]).is_exceeded());
    let with_empty = [&[1; 256][..], &[0]].concat();
    assert!(!files(&with_empty).is_exceeded(), "one without a byte takes no page");
    let total = |sizes: &[usize]| usage(&set(sizes), &way, None, &capacity::SYSTEMD_TOTAL);
    assert!(!total(&[1_048_575, 1]).is_exceeded());
    assert!(total(&[1_048_575, 2]).is_exceeded());
    for limit in [&capacity::SYSTEMD_FILES, &capacity::SYSTEMD_TOTAL, &capacity::SYSTEMD_256] {
        assert_eq!(limit.excess, Excess::Warn, "the agent takes more");
    }
}

/// systemd 256 and older reads only one page of a structure, so the string area is one page less the header.
#[test]
fn structures_are_packed_for_systemd_256_and_older() {
    assert_eq!(STRING_AREA_MAX, 4096 - 5);
    // Two NUL bytes end the set: the largest string has two bytes less.
    let limit = STRING_AREA_MAX - 2;
    assert_eq!(structure_size(&[limit]), 4096);
    assert_eq!(pack(&[limit - 10, 9, 1]), [0..2, 2..3], "the first is exactly full");
    assert_eq!(pack(&[limit - 10, 10]), [0..1, 1..2], "one byte more");
    assert_eq!(pack(&[limit, 1]), [0..1, 1..2]);
    assert_eq!(pack(&[limit + 1, 1, 1]), [0..1, 1..3], "what is too large anyway is alone");
    assert_eq!(pack(&[1; STRINGS_MAX]).len(), 1);
    assert_eq!(pack(&[1; STRINGS_MAX + 1]), [0..255, 255..256]);
    assert_eq!(pack(&[]), []);
}

#[test]
fn what_an_old_systemd_would_lose_is_named() {
    let credentials = [testkit::credential("a", &[b'x'; 2400]), testkit::credential("b", &[b'y'; 2400])];
    let strings = strings(&[], &credentials);
    assert!(lost_in_systemd_256(&strings, Structures::Packed).is_empty(), "each has a structure");
    assert_eq!(lost_in_systemd_256(&strings, Structures::One), [testkit::credential("b", b"").name]);
    let order = order(CLOUD_HYPERVISOR, &["--kernel=k"], credentials.into());
    let plan = Plan::new(order).unwrap();
    assert!(
        plan.warnings[0].what().starts_with("systemd 256 and older in the guest: size of one structure: ")
    );
    assert!(plan.warnings[0].what().ends_with("(credentials b)"), "{:?}", plan.warnings);
    assert_eq!(plan.exceeded().count(), 0);
}

#[test]
fn an_old_systemd_loses_a_credential_that_ends_one_byte_behind_the_page() {
    // Returns the credentials that are lost if the credential `last`, with a string of `size` bytes, follows strings
    // of the sizes `before`.
    let lost = |before: &[usize], size: usize, way| {
        let prefix = "io.systemd.credential:last=";
        let last = Secret::from(format!("{prefix}{}", "x".repeat(size - prefix.len())).into_bytes());
        let before = before.iter().map(|&size| Secret::from(vec![b'x'; size]));
        let existing = Existing {
            kept: before.chain([last]).map(|text| (text, Origin::CommandLine)).collect(),
            ..Existing::default()
        };
        let strings = OemStrings::with_salt(existing, &[], [7; 16]).unwrap();
        lost_in_systemd_256(&strings, way).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for way in [qemu::route(0), Route::anywhere(), crosvm::route(0), libvirt::route()] {
        assert!(lost(&[], 4089, way.structures).is_empty(), "{way:?}");
        assert_eq!(lost(&[], 4090, way.structures), ["last"], "{way:?}");
    }
    // By these ways, all strings are in the same structure, each with a NUL byte.
    for way in [cloud_hypervisor::route(0), cloud_hypervisor::api_route(), libvirt::route()] {
        assert!(lost(&[100, 200], 4089 - 302, way.structures).is_empty(), "{way:?}");
        assert_eq!(lost(&[100, 200], 4090 - 302, way.structures), ["last"], "{way:?}");
    }
    assert!(lost(&[100, 200], 4089, Structures::Packed).is_empty(), "it gets a structure to itself");
}

#[test]
fn what_an_old_systemd_reads_is_at_the_limit_whole() {
    // Returns whether the first page of a structure of one string, which an old systemd reads, has the whole string,
    // and whether the limit is exceeded.
    let page = |size: usize| {
        let strings = strings(&[size], &[]);
        let structures = strings.structures().unwrap();
        let read = structures[0].expose().get(..4096).unwrap_or(structures[0].expose()).to_vec();
        let usage = usage(&strings, &qemu::route(0), None, &capacity::SYSTEMD_256);
        (read.ends_with(b"\0\0"), usage.is_exceeded())
    };
    assert_eq!(page(4089), (true, false));
    assert_eq!(page(4090), (false, true));
}

#[test]
fn fields_beside_the_strings_are_counted() {
    let available = |kind, arguments: &[&str]| {
        let plan = Plan::new(order(kind, arguments, vec![testkit::credential("db", b"x")])).unwrap();
        plan.usages[0].available
    };
    let ch = |platform| available(CLOUD_HYPERVISOR, &["--kernel=k", "--platform", platform]);
    assert_eq!(ch("num_pci_segments=4,iommu_segments=[1,2]"), 65_398);
    assert!(ch("serial_number=0123456789") <= 65_398 - 11);
    let qemu = |option| available(QEMU, &["-smbios", option]);
    assert_eq!(qemu("type=11,value=x"), 61_439);
    assert!(qemu("type=1,serial=0123456789") <= 61_439 - 11);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), testkit::oem(&[b"x"])).unwrap();
    assert_eq!(qemu(&format!("file={}", file.path().display())), 61_439 - 8);
}

#[test]
fn above_a_limit_nothing_is_started_and_nothing_is_written() {
    let folder = directory(&[("large", &vec![b'x'; 49_000])]);
    let marker = folder.path().join("started");
    let script = format!("touch '{}'", marker.display());
    for (kind, words) in [
        ("qemu", "QEMU: size of the structure table"),
        ("cloud-hypervisor", "cloud-hypervisor: size of the strings in the table"),
        ("crosvm", "crosvm: size of the strings in the table"),
    ] {
        // `sh` stands in for the hypervisor and ignores `run` and `--kernel=k`, which crosvm and cloud-hypervisor
        // need.
        let program = ["--hypervisor", kind, "--", "sh", "-c", &script, "run", "--kernel=k"];
        let select = ["--credential", "large"];
        let output =
            run(&mut host_with(folder.path(), &[&["run", "--allow-argv"], &select[..], &program].concat()));
        assert_eq!(code(&output), 3, "{}", stderr(&output));
        assert!(stderr(&output).contains(&format!("{words}: ")), "{}", stderr(&output));
        assert!(stderr(&output).contains("is not started"));
        let output = run(&mut host_with(folder.path(), &[&["plan"], &select[..], &program].concat()));
        assert_eq!(code(&output), 3);
        assert!(testkit::stdout(&output).contains("does not start\nerror: "), "{}", testkit::stdout(&output));
        let output = run(&mut host_with(folder.path(), &[&["emit", "--format", kind], &select[..]].concat()));
        assert_eq!((code(&output), output.stdout.len()), (3, 0), "{kind}");
    }
    assert!(!marker.exists());
}

#[test]
fn every_limit_says_where_it_is_known_from() {
    for limit in [
        &qemu::TABLE_LIMIT,
        &cloud_hypervisor::TABLE_LIMIT,
        &cloud_hypervisor::STRINGS_LIMIT,
        &cloud_hypervisor::REQUEST_LIMIT,
        &crosvm::TABLE_LIMIT,
        &crosvm::STRINGS_LIMIT,
        &libvirt::STRINGS_LIMIT,
        &incus::STRINGS_LIMIT,
        &capacity::ARGUMENT,
        &capacity::SYSTEMD_TOTAL,
        &capacity::SYSTEMD_FILES,
        &capacity::SYSTEMD_256,
        &capacity::EVERYWHERE,
    ] {
        assert!(!limit.source.is_empty() && !limit.above.is_empty() && !limit.advice.is_empty());
    }
}
