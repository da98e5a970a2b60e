//! The command line of cloud-hypervisor: what is merged, and what is refused.

use smbios_creds::host::hypervisor::{Argument, Features, cloud_hypervisor};
use smbios_creds::host::plan::{Carrier, Plan};
use smbios_creds::text::help::Help as _;
use testkit::host::{CLOUD_HYPERVISOR, ch_list, delivered, one_structure, order, plan, refusal, render};

fn merged(arguments: &[&str]) -> Vec<String> {
    let plan = plan(CLOUD_HYPERVISOR, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    assert_eq!(plan.carrier, Carrier::PrivateArgument);
    render(&plan.arguments).0
}

#[test]
fn strings_are_merged_into_the_one_platform() {
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--kernel", "k"], &[]),
        (&["--kernel", "k", "--platform", ""], &[]),
        (&["--kernel", "k", "--platform="], &[]),
        (&["--kernel", "k", "--platform", "oem_strings=[]"], &[]),
        (&["--kernel", "k", "--platform", "oem_strings="], &[]),
        (&["--kernel", "k", "--platform", "oem_strings=alone"], &["alone"]),
        (&["--kernel", "k", "--platform=oem_strings=[a=1, b==]"], &["a=1", " b=="]),
        (&["--platform", "oem_strings=[a,b],uuid=x", "--firmware=k"], &["a", "b"]),
        (&["--kernel", "k", "--platform", r#"serial_number="x,y",oem_strings=[a]"#], &["a"]),
    ];
    for (arguments, kept) in cases {
        let merged = merged(arguments);
        let platforms: Vec<usize> = (0..merged.len()).filter(|&at| merged[at] == "--platform").collect();
        let [at] = platforms[..] else { panic!("one --platform: {merged:?}") };
        for new in [false, true] {
            let strings = ch_list(&merged[at + 1], "oem_strings", new).unwrap();
            assert_eq!(strings[..strings.len() - 2], *kept, "{arguments:?}");
            assert!(delivered(&[one_structure(&strings)]).proof.is_proven());
        }
        let others = |arguments: &[String]| -> Vec<String> {
            let is_other =
                |a: &&String| !a.contains("oem_strings") && !a.is_empty() && !a.starts_with("--platform");
            arguments.iter().filter(is_other).cloned().collect()
        };
        let before: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        assert_eq!(others(&merged), others(&before));
    }
    let value = &merged(&["--kernel", "k", "--platform", r#"serial_number="x,y",oem_strings=[a],uuid=u"#])[3];
    assert!(
        value.starts_with(r#"serial_number="x,y",uuid=u,oem_strings=[a,io.systemd.credential.binary:db="#)
    );
}

#[test]
fn what_versions_read_differently_is_refused_without_showing_it() {
    let cases = [
        (r#"oem_strings=["Canary,b"]"#, "'\"' in a list"),
        ("oem_strings=[Canary=[x,y]]", "brackets or '\"'"),
        ("oem_strings=[Canary[1]]", "brackets or '\"'"),
        ("oem_strings=[[Canary]]", "brackets or '\"'"),
        ("oem_strings=[Canary]y]", "not balanced"),
        ("oem_strings=[Canary[y]", "not balanced"),
        (r#"oem_strings=[Canary"s]"#, "'\"' in a list"),
        (r#"oem_strings="Canary""#, "brackets or '\"'"),
        (r#"serial_number="Canary"#, "not balanced"),
        (r#"serial_number="[Canary]""#, "brackets in quotes"),
        ("oem_strings=[ Canary,b]", "blanks at the ends"),
        ("oem_strings=[Canary,b ]", "blanks at the ends"),
        ("oem_strings=[Canary,b\n]", "blanks at the ends"),
        ("oem_strings=[Canary,,b]", "an empty OEM string"),
        ("oem_strings=[Canary,]", "an empty OEM string"),
        ("oem_strings=[Canary],oem_strings=[b]", "twice, and only the last would be used"),
        (" oem_strings=[Canary], oem_strings=[b]", "this spelling of oem_strings"),
        (r#""oem_strings"=[Canary]"#, "this spelling of oem_strings"),
        // cloud-hypervisor up to v47 removes quotes before it reads the key.
        (r#"oem_strin""gs=[Canary]"#, "this spelling of oem_strings"),
        ("oem_strings=[Canary]x", "there is text after the ']'"),
        // cloud-hypervisor reads ` uuid` as another key than `uuid`, except at the beginning of the value, where it
        // cuts off blanks. Merging could move the key there.
        ("oem_strings=[Canary], uuid=x", "a blank before a key"),
    ];
    for (platform, message) in cases {
        let refusal = refusal(CLOUD_HYPERVISOR, &["--kernel", "k", "--platform", platform]);
        assert!(!refusal.contains("Canary"), "{refusal}");
        assert!(refusal.contains(message), "{platform}: {refusal}");
    }
    let twice = refusal(CLOUD_HYPERVISOR, &["--kernel", "k", "--platform", "uuid=a", "--platform=uuid=b"]);
    assert!(twice.contains("--platform is given twice"), "{twice}");
    assert!(refusal(CLOUD_HYPERVISOR, &["--kernel", "k", "--platform"]).contains("is the last argument"));
}

#[test]
fn a_name_that_its_parser_would_split_is_refused() {
    for name in ["a,b", "a\"b", "[a", "a]"] {
        let order = order(CLOUD_HYPERVISOR, &["--kernel", "k"], vec![testkit::credential(name, b"x")]);
        let refusal = Plan::new(order).unwrap_err().on_one_line();
        assert!(refusal.contains("send it under another name (--credential GUEST=HOST)"), "{refusal}");
    }
}

#[test]
fn what_logs_the_strings_or_loses_them_is_refused() {
    for option in ["-v", "-vv", "-vvv"] {
        let refusal = refusal(CLOUD_HYPERVISOR, &["--kernel", "k", option]);
        assert!(refusal.contains(&format!("{option} makes cloud-hypervisor log its whole configuration")));
    }
    assert!(
        refusal(CLOUD_HYPERVISOR, &["--restore", "source_url=x", "--kernel=k"]).contains("of its snapshot")
    );
    assert!(refusal(CLOUD_HYPERVISOR, &["--api-socket", "s"]).contains("emit --format json"));
    let line = cloud_hypervisor::Platform::read("aarch64", &["--kernel=k".into()], &Features::default());
    assert!(line.unwrap_err().to_string().contains("this cloud-hypervisor has no SMBIOS on aarch64"));
    // A version of cloud-hypervisor that has code for SMBIOS on aarch64.
    let newer = Features(vec!["oem_strings", "SMBIOS"]);
    assert!(cloud_hypervisor::Platform::read("aarch64", &["--kernel=k".into()], &newer).is_ok());
    let plan = plan(CLOUD_HYPERVISOR, &["--kernel", "k", "--api-socket=path=s"]).unwrap();
    assert!(plan.warnings[0].what().contains("vm.info"), "{:?}", plan.warnings);
    for bus in [&["--dbus-service-name", "org.x"][..], &["--dbus-service-name=org.x", "--dbus-system-bus"]] {
        let plan = testkit::host::plan(CLOUD_HYPERVISOR, &[&["--kernel", "k"], bus].concat()).unwrap();
        assert!(
            plan.warnings[0].what().contains("D-Bus service can read all OEM strings"),
            "{:?}",
            plan.warnings
        );
    }
}

#[test]
fn values_that_mention_the_option_are_kept() {
    for other in ["serial_number=my oem_strings", "system_family=oem_strings=x", "uuid=oem_string_paths"] {
        let plan = plan(CLOUD_HYPERVISOR, &["--kernel", "k", "--platform", other]).unwrap();
        let (rendered, _) = render(&plan.arguments);
        assert!(
            rendered.iter().any(|text| text.starts_with(&format!("{other},oem_strings=["))),
            "{rendered:?}"
        );
    }
    for other in ["serial_number", "serial_number=", "a=b,uuid= "] {
        let refusal = refusal(CLOUD_HYPERVISOR, &["--kernel", "k", "--platform", other]);
        assert!(refusal.contains("has no value"), "{refusal}");
    }
}

#[test]
fn others_see_nothing_of_a_private_argument() {
    let plan = plan(CLOUD_HYPERVISOR, &["--kernel", "k"]).unwrap();
    let visible = plan.visible();
    assert_eq!(visible[..4], ["argv0", "--kernel", "k", "--platform"]);
    assert_eq!(visible[4], "smbios-creds-host:2-OEM-strings-that-only-the-hypervisor-sees");
    // No version of cloud-hypervisor can read the placeholder. If the placeholder ever stayed in place, no version
    // would start a machine without credentials.
    assert!(!visible[4].contains('='));
}

#[test]
fn files_are_used_where_cloud_hypervisor_reads_them() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "io.systemd.credential:theirs=1").unwrap();
    let platform = format!("oem_strings=[a],uuid=u,oem_string_paths=[{}]", file.path().display());
    let mut order = order(
        CLOUD_HYPERVISOR,
        &["--kernel", "k", "--platform", &platform],
        vec![testkit::credential("db", b"x")],
    );
    order.features = Features(vec!["oem_string_paths"]);
    let plan = Plan::new(order).unwrap();
    assert_eq!(plan.carrier, Carrier::SealedMemfds);
    assert!(!plan.arguments.iter().any(|argument| matches!(argument, Argument::Private(_))));
    let (rendered, files) = render(&plan.arguments);
    let paths = ch_list(&rendered[3], "oem_string_paths", true).unwrap();
    assert_eq!(paths.len(), 4, "theirs, the string that was there, the credential, the manifest");
    assert_eq!(paths[0], file.path().to_str().unwrap());
    assert_eq!(files[0], b"a");
    let strings = std::iter::once("io.systemd.credential:theirs=1".to_owned());
    let strings: Vec<String> =
        strings.chain(files.into_iter().map(|file| String::from_utf8(file).unwrap())).collect();
    assert!(delivered(&[one_structure(&strings)]).proof.is_proven(), "theirs is in the manifest");
}
