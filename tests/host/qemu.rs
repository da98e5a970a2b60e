//! QEMU's command line: which options are merged into our structures, which options stay, and which are refused.

use std::path::PathBuf;

use smbios_creds::format::credential::Credential;
use smbios_creds::host::hypervisor::{Hypervisor, of_program};
use smbios_creds::host::plan::{Order, Plan};
use smbios_creds::host::report::PlanReport;
use smbios_creds::text::help::Help as _;
use testkit::host::{
    CLOUD_HYPERVISOR, CROSVM, QEMU, delivered, directory, file_number, order, plan, refusal, render,
};

/// Returns arguments and files of a plan with one credential.
fn merged(arguments: &[&str]) -> (Vec<String>, Vec<Vec<u8>>) {
    render(&plan(QEMU, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}")).arguments)
}

/// Returns the strings of our structures without the last two, which are the credential and the manifest.
fn kept(arguments: &[&str]) -> Vec<String> {
    let (_, files) = merged(arguments);
    let strings = files.iter().flat_map(|file| testkit::walk(file, false)).flat_map(|s| s.strings);
    let mut strings: Vec<String> = strings.map(|s| String::from_utf8(s).unwrap()).collect();
    strings.truncate(strings.len() - 2);
    strings
}

#[test]
fn one_structure_goes_into_each_file() {
    let credentials = (0..20).map(|i| testkit::credential(&format!("c{i}"), &[b'x'; 600])).collect();
    let plan = Plan::new(order(QEMU, &["disk.img"], credentials)).unwrap();
    let (rendered, files) = render(&plan.arguments);
    assert!(files.len() >= 4 && files.iter().all(|file| testkit::walk(file, false).len() == 1));
    assert_eq!(rendered[..3], ["disk.img", "-smbios", "file=/proc/self/fd/0"]);
    assert_eq!(rendered.len(), 1 + 2 * files.len());
    assert!(delivered(&files).passed());
}

#[test]
fn existing_strings_are_folded_in_in_order() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file, with a comma\n").unwrap();
    let path = file.path().to_str().unwrap();
    let mixed = format!("type=11,value=a,,b,path={path},value=c=d");
    let cases: [(&[&str], &[&str]); 7] = [
        (&["-smbios", &mixed], &["a,b", "from a file, with a comma\n", "c=d"]),
        (&["--smbios", "type=11,value=x"], &["x"]),
        (&["-smbios", "value=x,type=0xb"], &["x"]),
        (&["-smbios", "type=1,type=013,value=x"], &["x"]),
        (&["-smbios", "type=11,value=1", "-S", "-smbios", "type=11,value=2"], &["1", "2"]),
        (&["-smbios", "type=11,value=,value=x", "-smbios", "type=11"], &["x"]),
        (&["-smbios", r#"type=11,value=it"s [a\b]"#], &[r#"it"s [a\b]"#]),
    ];
    for (arguments, strings) in cases {
        assert_eq!(kept(arguments), strings, "{arguments:?}");
        let (rendered, _) = merged(arguments);
        assert!(!rendered.iter().any(|argument| argument.contains("value=")), "{rendered:?}");
    }
}

#[test]
fn other_options_stay_as_they_are() {
    let arguments = [
        "-name",
        "guest=a,,b",
        "-smbios",
        "type=1,serial=x",
        "--smbios",
        "type=0,uefi=on",
        "-append",
        "-smbios-like text",
        "-kernel",
        "type=11,value=x",
        "-S",
        "-nographic",
        "disk",
    ];
    let (rendered, _) = merged(&arguments);
    assert_eq!(rendered[..arguments.len()], arguments);
}

#[test]
fn a_file_of_structures_stays_and_its_credentials_enter_the_manifest() {
    let mut structure = testkit::oem(&[b"io.systemd.credential:other=value", b"foreign"]);
    // The other program's structure has the handle that our first structure would have.
    structure[2..4].copy_from_slice(&smbios_creds::format::smbios::write::FIRST_HANDLE.to_le_bytes());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &structure).unwrap();
    let option = format!("file={}", file.path().display());
    let (rendered, mut files) = merged(&["-smbios", &option]);
    assert_eq!(rendered[..2], ["-smbios", option.as_str()]);
    files.insert(0, structure);
    let delivery = delivered(&files);
    assert!(delivery.passed() && delivery.proof.is_proven(), "{:?}", testkit::codes(&delivery));
    assert_eq!(testkit::intact(&delivery), [("other", &b"value"[..]), ("db", b"secret")]);
    let handles: Vec<u16> =
        files.iter().flat_map(|file| testkit::walk(file, false)).map(|s| s.handle).collect();
    assert_ne!(handles[0], handles[1], "no two structures have the same handle");
    assert!(
        refusal(QEMU, &["-smbios", "file=/nonexistent"]).contains("cannot read /nonexistent: No such file")
    );
}

#[test]
fn of_several_files_in_one_option_the_last_counts_as_in_qemu() {
    let file = |text: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), testkit::oem(&[text])).unwrap();
        file
    };
    let (first, last) = (file(b"io.systemd.credential:first=1"), file(b"io.systemd.credential:last=2"));
    let option = format!("file={},file={}", first.path().display(), last.path().display());
    let plan = plan(QEMU, &["-smbios", &option]).unwrap();
    let names: Vec<_> = plan.strings.credentials().map(|(name, _, _)| name.as_str().to_owned()).collect();
    assert_eq!(names, ["db", "last"]);
}

#[test]
fn the_same_name_on_the_command_line_is_refused() {
    for text in ["io.systemd.credential:db=other", "io.systemd.credential.binary:db=c2VjcmV0"] {
        let refusal = refusal(QEMU, &["-smbios", &format!("type=11,value={text}")]);
        assert!(refusal.contains("credential db: it would be sent twice"), "{refusal}");
        assert!(
            refusal.contains("the other is a file of the credentials directory; remove the string"),
            "{refusal}"
        );
        let twice = format!("type=11,value={0},value={0}", text.replace(":db=", ":x="));
        assert!(testkit::host::refusal(QEMU, &["-smbios", &twice]).contains("both are OEM strings"));
    }
    for option in [
        "name=opt/io.systemd.credentials/db,file=/dev/null",
        "opt/io.systemd.credentials/db,string=x",
        "name=x,string=x,name=opt/io.systemd.credentials/db",
    ] {
        let option = option.replace("/dev/null", file!());
        let refusal = refusal(QEMU, &["-fw_cfg", &option]);
        assert!(
            refusal.contains("one is given with -fw_cfg, the other is a file of the credentials directory"),
            "{refusal}"
        );
    }
    let existing = ["-fw_cfg", "opt/io.systemd.credentials/x,string=y"];
    let again = |more: &[&str]| refusal(QEMU, &[&existing[..], more].concat());
    let string = ["-smbios", "type=11,value=io.systemd.credential:x=y"];
    assert!(again(&string).contains("the other in an OEM string that is sent already; remove one"));
    assert!(again(&existing).contains("both are given with -fw_cfg; remove one"));
}

#[test]
fn strings_that_no_guest_would_read_are_refused_without_showing_them() {
    let cases = [
        ("type=11,value=io.systemd.credentials:x=Canary", "has a mistyped prefix"),
        ("type=11,value=io.systemd.credential:Canary", "has no '=' between name and value"),
        ("type=11,value=io.systemd.credential.binary:x=Canary!", "is not base64"),
        ("type=11,value=io.systemd.credential.binary:CanaryCanaryCA0=", "its name may be a secret in base64"),
        ("type=11,value=io.systemd.credential:x=", "its value on the command line is empty"),
        ("type=11,value=io.smbios-creds.manifest:Canary", "is a manifest, but a machine can have only one"),
        ("type=11,Canary=x", "accepts only 'value=' and 'path='"),
        ("type=11,value=a,Canary", "accepts only 'value=' and 'path='"),
        ("value=Canary", "neither 'type=NUMBER' nor 'file='"),
        ("type=Canary", "neither 'type=NUMBER' nor 'file='"),
        ("", "neither 'type=NUMBER' nor 'file='"),
        // QEMU reads a name without a value as `name=on`, and a name after `no` as `name=off`.
        ("type=11,value", "has no value"),
        ("type=11,value=Canary,path", "has no value"),
        ("type=1,serial=Canary,nofile", "has no value"),
        ("type=11,value=Canary,notype", "has no value"),
    ];
    for (option, message) in cases {
        let refusal = refusal(QEMU, &["-smbios", option]);
        assert!(refusal.contains(message) && !refusal.contains("Canary"), "{option}: {refusal}");
    }
    let nul = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(nul.path(), "a\0b").unwrap();
    let option = format!("type=11,path={}", nul.path().display());
    assert!(refusal(QEMU, &["-smbios", &option]).contains("NUL byte at position 1"));
    let folder = directory(&[]);
    let option = format!("type=11,path={}", folder.path().display());
    assert!(refusal(QEMU, &["-smbios", &option]).contains("it is a directory, not a regular file"));
    assert!(refusal(QEMU, &["-smbios"]).contains("-smbios is the last argument"));
}

#[test]
fn what_may_be_an_option_or_a_value_is_refused() {
    for arguments in [
        &["-append", "-smbios", "type=11,value=x"][..],
        &["-new-option", "-M", "microvm"],
        &["-name", "--machine", "x"],
    ] {
        assert!(refusal(QEMU, arguments).contains("may be an option or the value of an option"));
    }
    assert!(plan(QEMU, &["-nographic", "-M", "q35", "-enable-kvm", "-smbios", "type=1"]).is_ok());
}

#[test]
fn other_architectures_need_virt_and_firmware() {
    let plan = |program: &str, arguments: &[&str]| {
        let mut order = order(QEMU, arguments, vec![testkit::credential("db", b"secret")]);
        order.program = PathBuf::from(program);
        Plan::new(order).map(drop).map_err(|error| error.on_one_line())
    };
    let arm = "/usr/bin/qemu-system-aarch64";
    assert_eq!(plan(arm, &["-M", "virt", "-bios", "QEMU_EFI.fd"]), Ok(()));
    assert_eq!(plan(arm, &["-M", "virt-9.0", "-drive", "if=pflash,file=x"]), Ok(()));
    for other in ["loongarch64", "s390x"] {
        let refused = plan(&format!("qemu-system-{other}"), &["-M", "virt", "-kernel", "k"]).unwrap_err();
        assert!(refused.contains("on this architecture"), "{refused}");
    }
    assert!(plan(arm, &["-M", "raspi3b", "-bios", "x"]).unwrap_err().contains("only in its machine 'virt'"));
    assert!(plan(arm, &["-bios", "x"]).unwrap_err().contains("only in its machine 'virt'"));
    assert!(plan("qemu-system-s390x", &[]).unwrap_err().contains("no SMBIOS on this architecture"));
}

#[test]
fn what_cannot_be_decided_is_warned_of() {
    let cases = [
        (["-readconfig", "/dev/null"], "-readconfig is not a regular file, so it was not read"),
        (["-incoming", "tcp:0:1"], "migrated or restored"),
    ];
    for (arguments, warning) in cases {
        let plan = plan(QEMU, &arguments).unwrap();
        assert!(plan.warnings.len() == 1 && plan.warnings[0].what().contains(warning), "{:?}", plan.warnings);
    }
    let seen = plan(QEMU, &["-smbios", "type=11,value=io.systemd.credential:seen=x"]).unwrap();
    assert!(
        seen.warnings[0]
            .what()
            .contains("given on the command line, where other users could read them: credentials seen")
    );
}

#[test]
fn the_kind_is_told_by_the_name_of_the_program() {
    let kinds = [
        ("/usr/bin/qemu-system-x86_64", Some(QEMU)),
        (".qemu-system-x86_64-wrapped", Some(QEMU)),
        ("qemu-kvm", Some(QEMU)),
        ("/nix/store/x/bin/cloud-hypervisor", Some(CLOUD_HYPERVISOR)),
        ("cloud-hypervisor-static", Some(CLOUD_HYPERVISOR)),
        ("crosvm", Some(CROSVM)),
        ("qemu-img", None),
        ("firecracker", None),
        ("", None),
    ];
    for (program, kind) in kinds {
        let name = |hypervisor: &dyn Hypervisor| hypervisor.name();
        assert_eq!(of_program(program.as_ref()).map(name), kind.map(name), "{program}");
    }
}

/// Returns the items that a plan passes by `fw_cfg`: each item's name, as QEMU reads it, and content.
fn by_fw_cfg(arguments: &[&str], credentials: Vec<Credential>) -> Vec<(String, Vec<u8>)> {
    let plan = Plan::new(order(QEMU, arguments, credentials)).unwrap();
    let (rendered, files) = render(&plan.arguments);
    let options = rendered.windows(2).skip(arguments.len()).filter(|pair| pair[0] == "-fw_cfg");
    let read = |pair: &[String]| {
        let (name, path) = pair[1].strip_prefix("name=").unwrap().rsplit_once(",file=").unwrap();
        (name.replace(",,", ","), files[file_number(path)].clone())
    };
    options.map(read).collect()
}

#[test]
fn a_value_larger_than_a_page_is_passed_by_fw_cfg_as_well_for_an_old_systemd() {
    // With `largest`, the prefix, the name, '=' and base64 have at most 4089 bytes. With `larger`, they have more.
    let name = "a,b";
    let largest = vec![7; (4089 - 29 - name.len() - 1) / 4 * 3];
    assert_eq!(by_fw_cfg(&[], vec![testkit::credential(name, &largest)]), []);
    let larger = [largest.as_slice(), b"xxx"].concat();
    let both = || vec![testkit::credential("small", b"s"), testkit::credential(name, &larger)];
    assert_eq!(by_fw_cfg(&[], both()), [("opt/io.systemd.credentials/a,b".to_owned(), larger.clone())]);
    let plan = Plan::new(order(QEMU, &[], both())).unwrap();
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(plan.warnings[0].what().contains("also sent by fw_cfg"), "{:?}", plan.warnings);
    assert!(plan.warnings[0].what().ends_with("(credentials a,b)"), "{:?}", plan.warnings);
    assert!(!plan.visible().concat().contains("xxx"));
}

#[test]
fn fw_cfg_takes_no_longer_name_and_no_more_files_than_qemu_survives() {
    let large = [7; 5000];
    let longest = "n".repeat(28);
    let sent = by_fw_cfg(&[], vec![testkit::credential(&longest, &large)]);
    assert_eq!(sent[0].0.len(), 55);
    assert_eq!(by_fw_cfg(&[], vec![testkit::credential(&(longest + "n"), &large)]), []);
    let many = || (0..9).map(|n| testkit::credential(&format!("c{n}"), &large)).collect::<Vec<_>>();
    assert_eq!(by_fw_cfg(&[], many()).len(), 8);
    assert_eq!(by_fw_cfg(&["-fw_cfg", "name=opt/x,string=x"], many()).len(), 7);
    // The warning names the credential that is left out.
    let plan = Plan::new(order(QEMU, &[], many())).unwrap();
    assert!(plan.warnings[0].what().ends_with("(credentials c8)"), "{:?}", plan.warnings);
}

#[test]
fn newer_flags_take_no_value() {
    for flag in ["-async-teardown", "-perfmap", "--jitdump"] {
        let (rendered, _) = merged(&[flag, "-M", "microvm"]);
        assert_eq!(rendered[3], "-fw_cfg", "{flag}: {rendered:?}");
        assert!(plan(QEMU, &[flag, "-smbios", "type=11,value=x"]).is_ok(), "{flag}");
    }
}

#[test]
fn program_names_with_a_suffix_keep_their_architecture() {
    let plan = |program: &str| {
        let order = order(QEMU, &["-nographic"], vec![testkit::credential("db", b"x")]);
        Plan::new(Order { program: program.into(), ..order })
    };
    for suffix in [".real", "-headless", ".real-7.2"] {
        assert!(plan(&format!("qemu-system-x86_64{suffix}")).is_ok(), "{suffix}");
        let refusal = plan(&format!("/usr/bin/qemu-system-aarch64{suffix}")).unwrap_err().on_one_line();
        assert!(refusal.contains("use -M virt"), "{suffix}: {refusal}");
    }
}

/// Makes a file for `-smbios`: with one structure for `file=`, otherwise with one string.
fn file_of(option: &str, text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let is_structure = option == "file=";
    let content = if is_structure { testkit::oem(&[text.as_bytes()]) } else { text.as_bytes().to_vec() };
    std::fs::write(file.path(), content).unwrap();
    let option = format!("{option}{}", file.path().display());
    (file, option)
}

#[test]
fn credential_from_a_file_is_not_called_visible() {
    for option in ["type=11,path=", "file="] {
        let (_file, option) = file_of(option, "io.systemd.credential:seen=x");
        let plan = plan(QEMU, &["-smbios", &option]).unwrap();
        assert_eq!(testkit::texts(&plan.warnings), [""; 0], "{option}");
        let text = PlanReport::new(&plan).text().as_str().to_owned();
        assert!(text.contains("\nseen   1B SMBIOS  file of the command line\n"), "{text}");
    }
    let (_file, option) = file_of("type=11,path=", "io.systemd.credential:hidden=x");
    let both = format!("{option},value=io.systemd.credential:seen=x");
    let plan = plan(QEMU, &["-smbios", &both]).unwrap();
    assert_eq!(
        testkit::texts(&plan.warnings),
        ["given on the command line, where other users could read them: credentials seen"],
        "{option}"
    );
}

#[test]
fn refused_credential_of_a_file_is_not_called_one_of_the_command_line() {
    for option in ["type=11,path=", "file="] {
        let (_file, same) = file_of(option, "io.systemd.credential:db=other");
        let refused = refusal(QEMU, &["-smbios", &same]);
        assert!(refused.contains("one is in a file of OEM strings that the command line names"), "{refused}");
        let twice = refusal(QEMU, &["-smbios", &same, "-smbios", "type=11,value=io.systemd.credential:db=x"]);
        assert!(twice.contains("on the command line or in a file that the command line names"), "{twice}");
        let (_file, empty) = file_of(option, "io.systemd.credential:empty=");
        let refused = refusal(QEMU, &["-smbios", &empty]);
        assert!(
            refused.contains("empty: its value in a file that the command line names is empty"),
            "{refused}"
        );
    }
}
