//! What QEMU's arguments say of its machine, in every spelling. The installed QEMU is asked the same, for comparison.

use std::io::Write as _;
use std::process::{Command, Stdio};

use smbios_creds::host::plan::Plan;
use testkit::host::{QEMU, delivered, order, plan, refusal, render};

/// A configuration file for `-readconfig`.
fn config(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// Returns whether credentials go by `fw_cfg` only, as into a machine without SMBIOS.
fn is_by_fw_cfg(arguments: &[&str]) -> bool {
    let plan = plan(QEMU, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    let (rendered, _) = render(&plan.arguments);
    let added = |option: &str| rendered[arguments.len()..].iter().any(|argument| argument == option);
    assert_ne!(added("-smbios"), added("-fw_cfg"), "{rendered:?}");
    added("-fw_cfg")
}

fn warnings(arguments: &[&str]) -> Vec<String> {
    let plan = plan(QEMU, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    testkit::texts(&plan.warnings)
}

/// Returns what a real QEMU answers if it is started with these arguments and does not run its guest.
fn qemu_says(arguments: &[&str], question: &str) -> String {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-display", "none", "-nodefaults", "-S", "-qmp", "stdio"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let questions = format!(r#"{{"execute":"qmp_capabilities"}}{question}{{"execute":"quit"}}"#);
    // A QEMU that refuses its arguments does not read the questions, so the write may fail.
    _ = child.stdin.take().unwrap().write_all(questions.as_bytes());
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// Returns the machine type with which QEMU starts with these arguments, if it starts.
fn qemus_machine(arguments: &[&str]) -> Option<String> {
    let question = r#"{"execute":"qom-get","arguments":{"path":"/machine","property":"type"}}"#;
    let answer = qemu_says(arguments, question);
    Some(answer.split_once(r#"{"return": ""#)?.1.split_once('"')?.0.to_owned())
}

#[test]
fn machine_type_is_the_one_that_qemu_takes() {
    let files = ["q35", "pc", "microvm"].map(|kind| config(&format!("[machine]\n  type = \"{kind}\"\n")));
    let [q35, pc, microvm] = files.each_ref().map(|file| file.path().to_str().unwrap());
    let cases: [&[&str]; 14] = [
        &["-M", "microvm"],
        &["--machine", "type=microvm"],
        &["-machine", "accel=tcg,type=microvm"],
        &["-machine", "microvm", "-machine", "accel=tcg"],
        &["-M", "microvm", "-M", "q35"],
        &["-M", "type=q35,type=microvm"],
        &["-M", "type=microvm,type=q35"],
        &["-readconfig", microvm],
        &["--readconfig", microvm, "-M", "pc"],
        &["-M", "microvm", "-readconfig", q35],
        &["-M", "q35", "-readconfig", microvm],
        &["-readconfig", microvm, "-readconfig", pc],
        &["-name", "microvm", "-machine", "usb=off"],
        &["-M", "pc", "-machine", "microvm,usb=off"],
    ];
    for arguments in cases {
        let machine = qemus_machine(arguments);
        let is_microvm = is_by_fw_cfg(arguments);
        let expected = if is_microvm { ["microvm-machine"; 2] } else { ["pc-q35-", "pc-i440fx-"] };
        let is_as_expected = |machine: &String| expected.iter().any(|kind| machine.starts_with(kind));
        assert!(machine.as_ref().is_some_and(is_as_expected), "{arguments:?}: {is_microvm}, {machine:?}");
    }
}

#[test]
fn object_is_of_the_type_that_qemu_takes() {
    let more = ",cbitpos=47,reduced-phys-bits=1";
    let json = r#","cbitpos":47,"reduced-phys-bits":1}"#;
    let options = [
        format!("sev-guest,id=x{more}"),
        format!("qom-type=sev-guest,id=x{more}"),
        format!("id=x,qom-type=sev-guest{more}"),
        format!("memory-backend-ram,qom-type=sev-guest,id=x{more}"),
        format!(r#"{{"qom-type":"sev-guest","id":"x"{json}"#),
        format!(r#"{{"id":"x","qom-type":"sev\u002dguest"{json}"#),
        format!(r#"{{'qom-type':'sev-guest','id':'x','dh-cert-file':'a"b'{json}"#),
        format!(r#"{{"dh-cert-file":"it\'s",'qom-type':'sev-guest','id':'x'{json}"#),
        "memory-backend-ram,size=1M,id=sev-guest".to_owned(),
        r#"{"qom-type":"memory-backend-ram","size":1000000,"id":"sev-guest"}"#.to_owned(),
    ];
    let question = r#"{"execute":"qom-list","arguments":{"path":"/objects"}}"#;
    let agrees = |arguments: &[&str]| {
        let answer = qemu_says(arguments, question);
        let is_guarded = answer.contains("child<sev-guest>");
        assert!(is_guarded || answer.contains("child<memory-backend-ram>"), "{arguments:?}: {answer}");
        let warnings = warnings(arguments);
        assert_eq!(
            warnings.iter().any(|w| w.contains("confidential")),
            is_guarded,
            "{arguments:?}: {warnings:?}"
        );
        is_guarded
    };
    let guarded = options.iter().filter(|option| agrees(&["-object", option.as_str()])).count();
    assert_eq!(guarded, options.len() - 2);
    let section =
        "[object \"x\"]\n qom-type =\"sev-guest\" tail\n cbitpos = \"47\"\n\n# x\n reduced-phys-bits = \"1";
    assert!(agrees(&["-readconfig", config(section).path().to_str().unwrap()]));
}

#[test]
fn microvm_gets_items_of_fw_cfg_in_every_spelling() {
    let spellings: [&[&str]; 8] = [
        &["-M", "microvm"],
        &["--M", "microvm"],
        &["-machine", "microvm,accel=kvm"],
        &["--machine", "type=microvm"],
        &["-machine", "accel=tcg,type=microvm"],
        &["-M", "q35", "-machine", "microvm"],
        &["-machine", "microvm", "-machine", "accel=kvm"],
        &["-M", "type=q35,type=microvm"],
    ];
    for arguments in spellings {
        assert!(is_by_fw_cfg(arguments), "{arguments:?}");
    }
    let others: [&[&str]; 5] = [
        &["-M", "microvm", "-M", "q35"],
        &["-M", "pc,usb=off"],
        &["-append", "microvm"],
        &["-name", "microvm"],
        &[],
    ];
    for arguments in others {
        assert!(!is_by_fw_cfg(arguments), "{arguments:?}");
        assert_eq!(warnings(arguments), [""; 0], "{arguments:?}");
    }
}

#[test]
fn last_machine_type_counts_across_configuration_files() {
    let (q35, microvm) =
        (config("[machine]\n  type = \"q35\"\n"), config("[machine]\n\ttype\t=\t\"microvm\"\n"));
    let [q35, microvm] = [&q35, &microvm].map(|file| file.path().to_str().unwrap());
    let of_microvm: [&[&str]; 3] = [
        &["-M", "q35", "-readconfig", microvm],
        &["-readconfig", q35, "-readconfig", microvm],
        &["-readconfig", q35, "-machine", "microvm"],
    ];
    for arguments in of_microvm {
        assert!(is_by_fw_cfg(arguments), "{arguments:?}");
    }
    let others: [&[&str]; 3] = [
        &["-M", "microvm", "-readconfig", q35],
        &["-readconfig", microvm, "-M", "pc"],
        &["--readconfig", microvm, "-machine", "type=q35", "-machine", "usb=off"],
    ];
    for arguments in others {
        assert!(!is_by_fw_cfg(arguments), "{arguments:?}");
        assert_eq!(warnings(arguments), [""; 0], "{arguments:?}");
    }
}

#[test]
fn configuration_file_is_read_as_qemu_reads_it() {
    let microvm = |text: &str| {
        let file = config(text);
        is_by_fw_cfg(&["-readconfig", file.path().to_str().unwrap()])
    };
    for text in [
        "# comment\n\n[machine] tail\n  type = \"microvm\" tail\n",
        "[machine]\ntype = \"q35\"\ntype = \"microvm\"",
        "[machine]]\n type  =\"microvm",
        "[machine]\n type = q35\n type = \"microvm\"\n",
        "[drive \"a\"]\n file = \"x\"\n[machine]\n type = \"microvm\"\n[device \"a\"]\n driver = \"e1000\"\n",
    ] {
        assert!(microvm(text), "{text:?}");
    }
    for text in [
        "",
        "[machine]\n# type = \"microvm\"\n",
        "[machine]\n type = \"microvm\"\n type = \"pc\"\n",
        "[device \"machine\"]\n type = \"microvm\"\n",
        // Without a blank before '=', QEMU reads the whole line as a key.
        "[machine]\ntype=\"microvm\"\n",
    ] {
        assert!(!microvm(text), "{text:?}");
    }
    // QEMU refuses these files too.
    for text in ["type = \"microvm\"\n", "[machine]\n  \n"] {
        let file = config(text);
        let refusal = refusal(QEMU, &["-readconfig", file.path().to_str().unwrap()]);
        assert!(refusal.contains("is neither a group nor a key of a group"), "{refusal}");
    }
    assert!(
        refusal(QEMU, &["-readconfig", "/nonexistent"]).contains("cannot read /nonexistent: No such file")
    );
}

#[test]
fn credential_in_an_item_of_a_configuration_file_is_refused() {
    for name in ["opt/io.systemd.credentials/other", "opt/io.smbios-creds/manifest"] {
        let file = config(&format!("[fw_cfg \"a\"]\n  name = \"{name}\"\n  string = \"Canary\"\n"));
        let refusal = refusal(QEMU, &["-readconfig", file.path().to_str().unwrap()]);
        assert!(refusal.contains(name) && refusal.contains("send it with the option -fw_cfg"), "{refusal}");
        assert!(!refusal.contains("Canary"), "{refusal}");
    }
    let file = config("[fw_cfg \"a\"]\n  name = \"opt/org.example/other\"\n  string = \"x\"\n");
    assert_eq!(warnings(&["-readconfig", file.path().to_str().unwrap()]), [""; 0]);
    // QEMU ignores a section `[smbios]`.
    let file = config("[smbios]\n  type = \"11\"\n  value = \"io.systemd.credential:db=other\"\n");
    assert_eq!(warnings(&["-readconfig", file.path().to_str().unwrap()]), [""; 0]);
}

#[test]
fn confidential_machine_is_warned_of_in_every_spelling() {
    let file = config("[object \"a\"]\n  qom-type = \"tdx-guest\"\n");
    let spellings: [&[&str]; 15] = [
        &["-object", "sev-snp-guest,id=x"],
        &["--object", "sev-guest,id=x"],
        &["-object", "qom-type=sev-guest,id=x"],
        &["-object", "id=x,qom-type=tdx-guest"],
        &["-object", r#"{"qom-type":"sev-snp-guest","id":"lsec0","cbitpos":51,"reduced-phys-bits":1}"#],
        &["-object", r#"{"id": "x", "qom-type": "sev\u002dguest"}"#],
        &["-object", r#"{'qom-type':'tdx-guest','id':'x','mrconfigid':'a"b'}"#],
        &["-machine", "q35,confidential-guest-support=lsec0"],
        &["-machine", "q35,confidential_guest_support=lsec0"],
        &["-machine", "memory-encryption=sev0"],
        &["-M", "pc", "-M", "memory-encryption=sev0", "-M", "usb=off"],
        &["-object", "sev-guest,id=x", "-machine", "confidential-guest-support=x"],
        &["-readconfig", file.path().to_str().unwrap()],
        &["-object", "memory-backend-ram,id=x,qom-type=tdx-guest"],
        &["-object", "rme-guest,id=x"],
    ];
    for arguments in spellings {
        let warnings = warnings(arguments);
        assert!(
            warnings.len() == 1 && warnings[0].starts_with("this is a confidential VM"),
            "{arguments:?}: {warnings:?}"
        );
    }
    let others: [&[&str]; 6] = [
        &["-object", "memory-backend-ram,id=sev-guest"],
        &["-object", r#"{"qom-type":"memory-backend-ram","id":"sev-guest","size":1}"#],
        &["-name", "sev-guest", "-append", "confidential-guest-support=x"],
        &["-machine", "confidential-guest-support=x", "-machine", "confidential-guest-support="],
        &["-device", "driver=x,memory-encryption=y"],
        &["-object", "{not JSON"],
    ];
    for arguments in others {
        assert_eq!(warnings(arguments), [""; 0], "{arguments:?}");
    }
}

/// Returns the files that a plan gives to a machine of this type.
fn files(kind: &str) -> Vec<Vec<u8>> {
    let credentials = (0..3).map(|n| testkit::credential(&format!("c{n}"), &[b'x'; 2000])).collect();
    let plan = Plan::new(order(QEMU, &["-M", kind], credentials)).unwrap();
    assert_eq!(testkit::texts(&plan.warnings), [""; 0], "{kind}");
    render(&plan.arguments).1
}

#[test]
fn old_machine_type_gets_structures_as_seabios_needs_them() {
    for kind in ["pc-i440fx-2.0", "pc-i440fx-1.7", "pc-q35-2.0", "pc-q35-1.4", "pc-1.3", "pc-0.15", "isapc"] {
        let mut files = files(kind);
        assert!(files.len() == 3 && files.iter().all(|file| !file.ends_with(&[0, 0])), "{kind}");
        // For these machine types, SeaBIOS adds a NUL byte to each structure.
        for file in &mut files {
            file.push(0);
        }
        assert!(delivered(&files).passed(), "{kind}");
    }
    for kind in ["pc", "pc-i440fx-2.1", "pc-i440fx-2.10", "pc-i440fx-10.0", "pc-q35-4.0.1", "q35"] {
        let files = files(kind);
        assert!(files.iter().all(|file| file.ends_with(&[0, 0])) && delivered(&files).passed(), "{kind}");
    }
}

#[test]
fn old_machine_type_has_a_table_of_32_kib() {
    let plan = |kind: &str, size: usize| {
        let value = vec![b'x'; size];
        Plan::new(order(QEMU, &["-M", kind], vec![testkit::credential("db", &value)])).unwrap()
    };
    let exceeded = |plan: &Plan| plan.exceeded().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(exceeded(&plan("pc-i440fx-2.0", 20_000)), [""; 0]);
    let too_large = exceeded(&plan("isapc", 22_000));
    assert!(
        too_large.len() == 1
            && too_large[0].contains("more than the limit of 28672: SeaBIOS omits structures"),
        "{too_large:?}"
    );
    assert_eq!(exceeded(&plan("pc-i440fx-2.1", 22_000)), [""; 0]);
}

#[test]
fn old_machine_type_is_refused_or_warned_of_where_strings_would_be_lost() {
    let whole = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(whole.path(), testkit::oem(&[b"foreign"])).unwrap();
    let option = format!("file={}", whole.path().display());
    let refused = refusal(QEMU, &["-M", "pc-i440fx-2.0", "-smbios", &option]);
    assert!(refused.contains("ends with two NUL bytes"), "{refused}");
    assert!(plan(QEMU, &["-M", "pc-i440fx-2.1", "-smbios", &option]).is_ok());
    let firmware: [&[&str]; 3] =
        [&["-bios", "OVMF.fd"], &["-drive", "if=pflash,file=OVMF.fd"], &["-machine", "pflash0=x"]];
    for arguments in firmware {
        let warnings = warnings(&[&["-M", "pc-i440fx-1.7"], arguments].concat());
        assert!(warnings.len() == 1 && warnings[0].contains("that only SeaBIOS reads"), "{warnings:?}");
        assert_eq!(self::warnings(arguments), [""; 0]);
    }
}
