//! Machines without SMBIOS, whose credentials go by `fw_cfg`, and command lines that already send credentials by
//! `fw_cfg`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use smbios_creds::format::credential::Credential;
use smbios_creds::format::fw_cfg::{Content, Item, MANIFEST};
use smbios_creds::guest::verify::delivery::Delivery;
use smbios_creds::guest::verify::fw_cfg::receive;
use smbios_creds::guest::verify::policy::{ManifestPolicy, Policy};
use smbios_creds::guest::verify::set::verify;
use smbios_creds::host::hypervisor::Channel;
use smbios_creds::host::plan::{Plan, PlanError};
use smbios_creds::text::help::Help;
use testkit::host::{QEMU, file_number, order, refusal, render};
use testkit::{credential, intact};

const MICROVM: [&str; 2] = ["-M", "microvm"];

fn planned(arguments: &[&str], credentials: Vec<Credential>) -> Result<Plan, PlanError> {
    Plan::new(order(QEMU, &[&MICROVM[..], arguments].concat(), credentials))
}

/// Returns path and content of a plan's items, as QEMU reads them from its options.
fn items(plan: &Plan) -> Vec<(String, Vec<u8>)> {
    let (rendered, files) = render(&plan.arguments);
    let options = rendered.windows(2).filter(|pair| pair[0] == "-fw_cfg");
    let read = |pair: &[String]| {
        let (name, path) = pair[1].strip_prefix("name=")?.rsplit_once(",file=/proc/self/fd/")?;
        let file = file_number(&format!("/proc/self/fd/{path}"));
        Some((name.replace(",,", ","), files[file].clone()))
    };
    options.filter_map(read).collect()
}

/// Verifies the items of a plan as a guest that requires a manifest does.
fn delivery(items: &[(String, Vec<u8>)]) -> Delivery {
    let items = items.iter().zip(32..).map(|((path, content), key)| Item {
        key,
        path: path.clone().into_bytes().into(),
        content: Content::Bytes(content.clone().into()),
    });
    let policy = Policy { manifest: ManifestPolicy::Require, ..Policy::default() };
    verify(receive(items.collect()), &policy)
}

#[test]
fn microvm_gets_every_value_as_it_is_and_a_manifest_that_proves_them() {
    let every: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = every.iter().copied().cycle().take(300_000).collect();
    let longest = "n".repeat(28);
    let values: [(&str, &[u8]); 5] =
        [("every", &every), ("large", &large), ("a,b", b"\n"), (&longest, b"1"), (" blank ", b"2")];
    let credentials = || values.map(|(name, value)| credential(name, value)).into();
    let plan = planned(&["-nodefaults"], credentials()).unwrap();
    assert!(plan.exceeded().next().is_none());
    let sent = items(&plan);
    let paths: Vec<String> =
        values.iter().map(|(name, _)| format!("opt/io.systemd.credentials/{name}")).collect();
    assert!(sent.iter().map(|(path, _)| path).eq(paths.iter().chain([&MANIFEST.to_owned()])), "{sent:?}");
    assert!(sent.iter().zip(values).all(|((_, content), (_, value))| content == value));
    let whole = delivery(&sent);
    assert!(whole.passed() && whole.proof.is_proven(), "{:?}", testkit::codes(&whole));
    assert_eq!(intact(&whole), values);
    for (name, _) in values {
        assert_eq!(plan.channels(&testkit::host::name(name)), [Channel::FwCfg]);
    }
    // The guest finds any item that is lost or cut on the way.
    for at in 0..values.len() {
        let mut lost = sent.clone();
        lost.remove(at);
        let delivery_of_lost = delivery(&lost);
        let codes = testkit::codes(&delivery_of_lost);
        assert!(!delivery_of_lost.passed() && codes.contains(&"missing".to_owned()), "{at}: {codes:?}");
        let mut cut = sent.clone();
        cut[at].1.pop();
        assert!(!delivery(&cut).passed(), "{at}");
    }
    // No value is among the arguments that others see.
    let text = plan.visible().join(" ");
    assert!(text.contains("name=opt/io.systemd.credentials/a,,b,file=/proc/self/fd/"), "{text}");
}

#[test]
fn arm_and_riscv_without_uefi_get_items_and_with_it_structures() {
    for architecture in ["aarch64", "arm", "riscv64", "riscv32"] {
        let plan = |arguments: &[&str]| {
            let mut order = order(QEMU, arguments, vec![credential("db", b"secret")]);
            order.program = format!("/usr/bin/qemu-system-{architecture}").into();
            Plan::new(order).unwrap()
        };
        for arguments in
            [&["-M", "virt", "-kernel", "Image"][..], &["-machine", "type=virt-9.0,gic-version=3"]]
        {
            let sent = items(&plan(arguments));
            assert!(sent.len() == 2 && delivery(&sent).proof.is_proven(), "{arguments:?}");
        }
        let with_firmware = plan(&["-M", "virt", "-bios", "QEMU_EFI.fd"]);
        assert!(items(&with_firmware).is_empty());
        assert_eq!(with_firmware.channels(&testkit::host::name("db")), [Channel::Smbios]);
    }
}

#[test]
fn name_that_fw_cfg_cannot_carry_is_refused_by_name() {
    let longer = "n".repeat(29);
    let error =
        planned(&[], vec![credential("db", b"1"), credential(&longer, b"2")]).unwrap_err().on_one_line();
    let expected = format!(
        "credential {longer}: its name has 29 characters, but fw_cfg, the only channel of this machine"
    );
    assert!(
        error.starts_with(&expected) && error.contains("carries at most 28; send it under a shorter name"),
        "{error}"
    );
    // SMBIOS can carry a credential with this name.
    assert!(Plan::new(order(QEMU, &["-M", "q35"], vec![credential(&longer, b"2")])).is_ok());
}

/// Returns the message about the first limit that a plan exceeds.
fn exceeded(arguments: &[&str], count: usize) -> Option<String> {
    let credentials = (0..count).map(|n| credential(&format!("c{n}"), b"x")).collect();
    planned(arguments, credentials).unwrap().exceeded().next().map(Help::on_one_line)
}

#[test]
fn more_items_than_qemu_survives_are_refused_with_numbers() {
    assert_eq!(exceeded(&[], 19), None);
    let refused = exceeded(&[], 20).unwrap();
    assert_eq!(
        refused,
        "QEMU: number of fw_cfg items: 21 items, 1 more than the limit of 20: QEMU ends with a failed assertion; send fewer \
         credentials, or raise the limit with -global fw_cfg.x-file-slots=64"
    );
    // Another program's items lower the limit, and a credential that the command line already sends counts as an
    // item.
    let others = ["-fw_cfg", "opt/org.example/a,string=x", "-fw_cfg", "opt/org.example/b,string=y"];
    assert_eq!(exceeded(&others, 17), None);
    assert!(exceeded(&others, 18).unwrap().contains("19 items, 1 more than the limit of 18"));
    let existing = ["-fw_cfg", "opt/io.systemd.credentials/x,string=y"];
    assert_eq!(exceeded(&existing, 18), None);
    assert!(exceeded(&existing, 19).unwrap().contains("21 items, 1 more than the limit of 20"));
}

#[test]
fn items_are_as_many_as_the_command_line_gives_qemu() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "[global]\n driver = \"fw_cfg_io\"\n property = \"x-file-slots\"\n value = \"64\"\n",
    )
    .unwrap();
    let file = file.path().to_str().unwrap();
    let spellings: [&[&str]; 6] = [
        &["-global", "fw_cfg.x-file-slots=64"],
        &["--global", "fw_cfg_io.x-file-slots=0x40"],
        &["-global", "driver=fw_cfg_io,property=x-file-slots,value=64"],
        &["-readconfig", file],
        &["-global", "fw_cfg.x-file-slots=16", "-global", "fw_cfg.x-file-slots=64"],
        &["-global", "fw_cfg.x-file-slots=64", "-global", "virtio-blk.x=1"],
    ];
    for arguments in spellings {
        assert_eq!(exceeded(arguments, 51), None, "{arguments:?}");
        let refused = exceeded(arguments, 52).unwrap();
        assert!(refused.contains("53 items, 1 more than the limit of 52"), "{arguments:?}: {refused}");
        assert!(refused.contains("use a larger x-file-slots"), "{refused}");
    }
    assert!(exceeded(&["-global", "fw_cfg.x-file-slots=16"], 4).unwrap().contains("than the limit of 4"));
    assert!(exceeded(&["-global", "other.x-file-slots=64"], 20).is_some());
}

#[test]
fn more_bytes_than_the_guest_reads_are_refused() {
    let plan = |last: usize| {
        planned(&[], vec![credential("a", &vec![b'x'; 1_048_576]), credential("b", &vec![b'y'; last])])
    };
    let exceeded = |last| plan(last).unwrap().exceeded().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(exceeded(65_000), [""; 0]);
    let refused = exceeded(65_536);
    assert!(refused.len() == 1 && refused[0].contains("the guest reads none of them"), "{refused:?}");
}

#[test]
fn credential_in_an_item_enters_the_manifest_of_either_channel() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let large = vec![b'z'; 300_000];
    std::fs::write(file.path(), &large).unwrap();
    let by_file = format!("name=opt/io.systemd.credentials/large,file={}", file.path().display());
    let existing = ["-fw_cfg", &by_file, "-fw_cfg", "opt/io.systemd.credentials/text,string=a,,b"];
    let ours = || vec![credential("db", b"secret")];
    let plan = planned(&existing, ours()).unwrap();
    let sent = items(&plan);
    let proven = delivery(&sent);
    assert!(proven.proof.is_proven(), "{:?}", testkit::codes(&proven));
    assert_eq!(intact(&proven), [("db", &b"secret"[..]), ("large", &large), ("text", b"a,b")]);
    let visible = plan.visible().concat();
    assert!(!visible.contains("a,,b") && !visible.contains(file.path().to_str().unwrap()), "{visible}");
    assert_eq!(
        testkit::texts(&plan.warnings),
        ["given on the command line, where other users could read them: credentials text"]
    );

    // In a machine with SMBIOS, the existing items stay items, so that no table has to hold them.
    let plan = Plan::new(order(QEMU, &[&["-M", "q35"], &existing[..]].concat(), ours())).unwrap();
    assert!(plan.exceeded().next().is_none());
    let sent = items(&plan);
    assert_eq!(sent.len(), 2);
    let (rendered, files) = render(&plan.arguments);
    let is_structure = |argument: &&String| argument.starts_with("file=/proc/self/fd/");
    let structures: Vec<u8> = rendered
        .iter()
        .filter(is_structure)
        .flat_map(|argument| files[file_number(&argument[5..])].clone())
        .collect();
    let folder = testkit::recording(&[structures.as_slice(), testkit::END].concat());
    for ((path, content), key) in sent.iter().zip(40..) {
        testkit::fw_cfg::write_item(folder.path(), key, path.as_bytes(), content);
    }
    let check = || testkit::run_on(folder.path(), &["check", "--manifest=require"]);
    assert_eq!(testkit::code(&check()), 0, "{}", testkit::stdout(&check()));
    std::fs::remove_dir_all(testkit::fw_cfg::item(folder.path(), 40)).unwrap();
    assert_eq!(testkit::code(&check()), 3);
    assert!(testkit::stdout(&check()).contains("credential large: missing"), "{}", testkit::stdout(&check()));
}

#[test]
fn item_that_cannot_enter_the_manifest_is_refused_without_its_value() {
    let cases = [
        ("opt/io.smbios-creds/manifest,string=Canary", "a machine can have one manifest only"),
        ("opt/io.systemd.credentials/Canary/Canary,string=x", "not the name of a credential"),
        ("opt/io.systemd.credentials/,string=Canary", "not the name of a credential"),
        ("opt/io.systemd.credentials/x,gen_id=Canary", "use file=PATH"),
        ("opt/io.systemd.credentials/x,string=Canary,file=x", "needs one of 'file' and 'string'"),
        ("opt/io.systemd.credentials/x,string=", "needs one of 'file' and 'string'"),
        ("opt/io.systemd.credentials/x", "needs one of 'file' and 'string'"),
        ("opt/io.systemd.credentials/x,string", "has no value"),
        ("opt/io.systemd.credentials/x,nofile,string=Canary", "has no value"),
        ("opt/io.systemd.credentials/x,file=/nonexistent", "cannot read /nonexistent"),
    ];
    for machine in ["microvm", "q35"] {
        for (option, message) in cases {
            let refusal = refusal(QEMU, &["-M", machine, "-fw_cfg", option]);
            assert!(refusal.contains(message) && !refusal.contains("Canary"), "{option}: {refusal}");
        }
        let plan = Plan::new(order(
            QEMU,
            &["-M", machine, "-fw_cfg", "opt/org.example/x,string=Canary"],
            vec![credential("db", b"secret")],
        ));
        assert!(plan.is_ok(), "another program's item stays");
    }
    let empty = tempfile::NamedTempFile::new().unwrap();
    let option = format!("opt/io.systemd.credentials/x,file={}", empty.path().display());
    assert!(refusal(QEMU, &["-fw_cfg", &option]).contains("credential x: its value in a file that"));
}

#[test]
fn oem_string_is_carried_as_an_item_or_refused_where_there_is_no_smbios() {
    let plan = planned(&["-smbios", "type=11,value=io.systemd.credential:x=y"], vec![credential("db", b"1")])
        .unwrap();
    let proven = delivery(&items(&plan));
    assert!(proven.proof.is_proven());
    assert_eq!(intact(&proven), [("x", &b"y"[..]), ("db", b"1")]);
    let refused = |option: &str| refusal(QEMU, &[&MICROVM[..], &["-smbios", option]].concat());
    let foreign = refused("type=11,value=io.systemd.credential:x=y,value=Canary");
    assert!(foreign.contains("OEM string 2 of the command line is not a credential"), "{foreign}");
    assert!(!foreign.contains("Canary"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), testkit::oem(&[b"io.systemd.credential:x=y"])).unwrap();
    let refused = refused(&format!("file={}", file.path().display()));
    assert!(refused.contains("this machine has no SMBIOS, and QEMU ignores the file"), "{refused}");
}

/// Returns whether the installed QEMU starts as `microvm` with this many items and these arguments.
fn qemu_starts(arguments: &[&str], items: usize) -> bool {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-display", "none", "-nodefaults", "-S", "-qmp", "stdio"]).args(MICROVM).args(arguments);
    for n in 0..items {
        command.args(["-fw_cfg", &format!("opt/org.example/{n},string=x")]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    _ = child.stdin.take().unwrap().write_all(br#"{"execute":"qmp_capabilities"}{"execute":"quit"}"#);
    child.wait().unwrap().success()
}

#[test]
fn real_qemu_starts_with_as_many_items_as_are_allowed_and_not_with_many_more() {
    assert!(qemu_starts(&["-device", "ramfb"], 20));
    assert!(!qemu_starts(&[], 28));
    let slots = ["-global", "fw_cfg.x-file-slots=64"];
    assert!(qemu_starts(&slots, 52));
    assert!(!qemu_starts(&slots, 60));
}
